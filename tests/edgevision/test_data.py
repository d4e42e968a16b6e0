"""Data sets: what is read, what is refused and in which words; batches as a function of seed and epoch."""

import gzip
import hashlib
import io
import tarfile
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image
from tiny_set import TinySet, idx

from edgevision.cli import main
from edgevision.data import CLASSES, DATA_SETS, ImageSet, load
from edgevision.data.batches import Ahead, Batch, Batches, normalized
from edgevision.data.cifar import read_jpegs
from edgevision.data.idx import read_idx
from edgevision.data.sources import Source, cache, locate
from edgevision.errors import UsageError, UserError

SIZES = {
    "mnist": (60_000, 10_000),
    "fashion-mnist": (60_000, 10_000),
    "digits": (12_000, 2_000),
    "cifar10": (50_000, 10_000),
}


def present(name: str) -> str:
    if locate(DATA_SETS[name]) is None:
        pytest.skip(f"{name} is nowhere here: edgevision data get {name}")
    return name


# Reading


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", DATA_SETS)
def test_sets_are_whole(name: str, split: str) -> None:
    data = load(present(name), split)
    pixels = (32, 32, 3) if name == "cifar10" else (28, 28, 1)
    assert data.images.shape == (SIZES[name][split == "test"], *pixels)
    assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int32)
    assert data.classes == CLASSES[name]
    counts = np.bincount(data.labels, minlength=10)
    assert counts.min() > 0.8 * len(data) / 10, "every class is there about as often"


def test_mnist_begins_as_everybody_knows_it() -> None:
    test = load(present("mnist"), "test", 10)
    assert test.labels.tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert test.images[0].sum() == 18454


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_round_trip(tmp_path: Path, suffix: str) -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(idx(array)) if suffix else idx(array))
    assert np.array_equal(read_idx(path), array)


GOOD = idx(np.zeros((5, 4, 4)))
DAMAGED_IDX = {
    "wrong magic": (b"\x89PNG" + GOOD[4:], "begins with 89 50 4e 47"),
    "wrong type": (idx(np.zeros((5, 4)), kind=0x0D), "begins with 00 00 0d 02"),
    "empty": (b"", "not an IDX file"),
    "no sizes": (GOOD[:9], "its sizes are missing"),
    "cut": (GOOD[:-1], "holds 79 elements, its sizes say 80"),
    "too long": (GOOD + b"\0", "its sizes say 80"),
    "huge": (GOOD[:4] + b"\xff" * 12, "too many"),
}


@pytest.mark.parametrize("case", DAMAGED_IDX)
def test_damaged_idx_is_refused(tmp_path: Path, case: str) -> None:
    content, words = DAMAGED_IDX[case]
    for name, written in (("x", content), ("x.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(written)
        with pytest.raises(UserError, match=words):
            read_idx(tmp_path / name)


@pytest.mark.parametrize(
    "content", [GOOD, gzip.compress(GOOD, mtime=0)[:-9], gzip.compress(GOOD, mtime=0)[:-8] + b"\0" * 8]
)
def test_damaged_gzip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(UserError, match="cut or no gzip file"):
        read_idx(tmp_path / "x.gz")


# What is wrong with a data set on the disk, in one line


def test_own_folder_comes_before_the_cache(tiny: TinySet, tmp_path: Path) -> None:
    data = tiny.data_set()
    assert locate(data) is None
    tiny.write(cache() / "tiny")
    assert locate(data) == cache() / "tiny"
    tiny.write(tmp_path / "own" / "tiny")
    assert locate(data) == tmp_path / "own" / "tiny"
    assert len(load("tiny", "test")) == 20
    (tmp_path / "own" / "tiny" / tiny.sources[3].name).unlink()
    assert locate(data) == cache() / "tiny", "an incomplete folder is passed over"


DAMAGES = {
    "cut": (lambda content: content[:-7], "it is cut, or another file"),
    "one bit": (lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:], "its SHA-256 is"),
    "another": (lambda content: b"<html>" + content[6:], "its SHA-256 is"),
}


@pytest.mark.parametrize(
    "command", [["show", "tiny", "--split", "test"], ["get", "tiny"]], ids=lambda c: c[0]
)
@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_file_is_one_line(
    tiny: TinySet, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, command: list[str]
) -> None:
    change, words = DAMAGES[case]
    tiny.write(tmp_path / "own" / "tiny")
    damaged = tmp_path / "own" / "tiny" / "t10k-labels-idx1-ubyte.gz"
    damaged.write_bytes(change(damaged.read_bytes()))
    out = ["--out", str(tmp_path / "x.png")] if command[0] == "show" else []
    assert main(["data", *command, *out]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert words in told
    assert str(damaged) in told
    assert "remove it, then: edgevision data get tiny" in told
    assert not (tmp_path / "x.png").exists()


def test_files_that_do_not_belong_together(
    tiny: TinySet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write(tmp_path / "own" / "tiny")
    monkeypatch.setitem(CLASSES, "tiny", ("a", "b"))
    with pytest.raises(UserError, match="do not belong together"):
        load("tiny", "test")


def test_missing_set_names_the_command(
    tiny: TinySet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "show", "tiny", "--out", str(tmp_path / "x.png")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"tiny is not there, looked in {tmp_path / 'own' / 'tiny'}" in told
    assert "edgevision data get tiny" in told


def test_missing_file_is_named(tiny: TinySet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write(tmp_path / "own" / "tiny")
    missing = tmp_path / "own" / "tiny" / "train-labels-idx1-ubyte.gz"
    missing.unlink()
    assert main(["data", "show", "tiny", "--out", str(tmp_path / "x.png")]) == 1
    assert f"lacks {missing}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "cats"],
        ["show", "cats"],
        ["show", "digits", "--split", "validation"],
        ["show", "digits", "--count", "0"],
        ["show", "digits", "--out", "sheet.jpg"],
        ["show"],
        ["lists"],
    ],
    ids=" ".join,
)
def test_wrong_usage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_unknown_names_are_listed() -> None:
    with pytest.raises(
        UsageError, match=r"'cats' is unknown \(choose from mnist, fashion-mnist, cifar10, digits\)"
    ):
        load("cats")
    with pytest.raises(UsageError, match="split"):
        load("digits", "dev")


# The commands


def test_list_says_where_each_set_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    told = capsys.readouterr().out
    for name in DATA_SETS:
        assert name in told
    assert "drawn when used" in told


def test_contact_sheet_shows_the_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    out = tmp_path / "new" / "sheet.png"
    command = ["data", "show", "digits", "--count", "30", "--out", str(out)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{out}\n"
    sheet = np.asarray(Image.open(out).convert("L"))
    cell = sheet.shape[1] // 12
    first = load("digits", "train", 1).images[0, :, :, 0]
    left = (cell - 56) // 2
    assert np.array_equal(sheet[4:60:2, left : left + 56 : 2], first)
    assert sheet.shape[0] // 3 > 56, "three rows of twelve, with room for the labels"
    before = out.read_bytes()
    assert main([*command[:4], "8", "--out", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main([*command[:4], "8", "--out", str(out), "--force"]) == 0
    assert out.read_bytes() != before


def test_unwritable_place_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["data", "show", "digits", "--out", str(tmp_path / "file" / "x.png")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "link.png").symlink_to(tmp_path / "elsewhere.png")
    assert main(["data", "show", "digits", "--out", str(tmp_path / "link.png"), "--force"]) == 1
    assert "symbolic link" in capsys.readouterr().err
    assert main(["data", "show", "digits", "--out", "/proc/nowhere/x.png"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# Drawn digits


def test_drawn_digits_are_the_same_every_time() -> None:
    few, more = load("digits", "train", 20), load("digits", "train", 40)
    assert np.array_equal(few.images, more.images[:20])
    assert np.array_equal(few.labels, more.labels[:20])
    test = load("digits", "test", 40)
    assert not np.array_equal(more.images, test.images)


def test_drawn_digits_look_like_mnist() -> None:
    data = load("digits", "test", 500)
    seen = {hashlib.sha256(image.tobytes()).digest() for image in data.images}
    assert len(seen) == 500, "no two are the same"
    share = (data.images > 64).mean(axis=(1, 2, 3))
    assert (share > 0.03).all(), "there is a digit on each"
    assert (share < 0.5).all(), "it is not a blot"
    assert np.median(data.images[:, [0, -1]]) == 0, "white on black"


# Batches


def numbered(count: int) -> ImageSet:
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return ImageSet(images, np.arange(count, dtype=np.int32), tuple(map(str, range(count))))


def epoch_of(batches: Batches, epoch: int) -> list[int]:
    first = epoch * batches.per_epoch
    return [int(label) for step in range(first, first + batches.per_epoch) for label in batches.at(step)[1]]


def test_an_epoch_is_a_permutation() -> None:
    batches = Batches(numbered(103), 10, seed=5)
    assert batches.per_epoch == 10
    first, second = epoch_of(batches, 0), epoch_of(batches, 1)
    assert len(set(first)) == 100, "each picture at most once; three fill no batch"
    assert first != second, "another order in each epoch"
    assert first != sorted(first)
    assert first != epoch_of(Batches(numbered(103), 10, seed=6), 0), "the seed decides"


def test_images_and_labels_belong_together() -> None:
    images, labels = Batches(numbered(50), 7, seed=1).at(23)
    assert images.dtype == np.uint8
    assert images.ravel().tolist() == labels.tolist()


def noisy(batch: Batch, random: np.random.Generator) -> Batch:
    images, labels = batch
    return images + random.integers(0, 9, images.shape, np.uint8), labels


def test_a_step_has_the_same_batch_whatever_came_before() -> None:
    straight, resumed = (Batches(numbered(100), 8, seed=9, change=noisy) for _ in range(2))
    steps = [straight.at(step) for step in range(40)]
    for step in (39, 13, 25):
        for one, other in zip(resumed.at(step), steps[step], strict=True):
            assert np.array_equal(one, other)
    assert not np.array_equal(steps[0][0].ravel(), steps[0][1]), "the pictures were changed"


def test_parts_make_up_the_whole() -> None:
    whole = Batches(numbered(50), 7, seed=1, change=noisy)
    parts = [Batches(numbered(50), 7, seed=1, change=noisy, part=(number, 3)) for number in range(3)]
    for kind in (0, 1):
        merged = [array.tolist() for batches in parts for array in batches.at(4)[kind]]
        assert sorted(merged) == sorted(whole.at(4)[kind].tolist())


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_made_ahead_come_in_order(threads: int) -> None:
    batches = Batches(numbered(100), 8, seed=9, change=noisy)
    found = list(Ahead(batches.at, 5, 40, threads))
    assert len(found) == 35
    for step, batch in enumerate(found, 5):
        assert all(np.array_equal(one, other) for one, other in zip(batch, batches.at(step), strict=True))


def test_waiting_is_counted_only_where_the_loader_is_slow() -> None:
    def slow(step: int) -> tuple[np.ndarray, ...]:
        time.sleep(0.02)
        return (np.array(step),)

    starved, fed = Ahead(slow, 0, 10, threads=1), Ahead(slow, 0, 10, threads=2)
    for _ in starved:
        pass
    for index, _ in enumerate(fed):
        time.sleep(0.03 if index else 0.1)
    assert starved.waited > 0.15
    assert fed.waited < 0.1


def test_what_a_loader_meets_ends_the_training() -> None:
    def broken(step: int) -> tuple[np.ndarray, ...]:
        raise UserError("no picture")

    with pytest.raises(UserError, match="no picture"):
        list(Ahead(broken, 0, 3))


def test_small_sets_fill_one_batch() -> None:
    batches = Batches(numbered(5), 64, seed=0)
    assert (batches.size, batches.per_epoch) == (5, 1)
    assert sorted(epoch_of(batches, 0)) == [0, 1, 2, 3, 4]


def test_normalized_is_a_255th() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    values = np.array(normalized(mx.array(every)))
    assert values.dtype == np.float32
    assert np.array_equal(values, every.astype(np.float32) / np.float32(255))


# CIFAR-10


def archive(path: Path, members: dict[str, bytes]) -> Source:
    with tarfile.open(path, "w:xz") as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return Source(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def jpeg(grey: int, side: int = 32) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side), (grey, grey, grey)).save(content, "JPEG")
    return content.getvalue()


def test_pictures_of_an_archive_are_decoded_once(tiny: TinySet, tmp_path: Path) -> None:
    members = {f"train/{name}/{i:04}.jpg": jpeg(100 * (name == "b") + i) for name in "ab" for i in range(5)}
    source = archive(tmp_path / "pictures.tar.xz", members)
    images, labels = read_jpegs(tmp_path / "pictures.tar.xz", source, ("a", "b"))
    assert images.shape == (10, 32, 32, 3)
    assert labels.tolist() != sorted(labels.tolist()), "the classes are mixed"
    assert ((images[:, 0, 0, 0] > 50) == (labels == 1)).all()
    (tmp_path / "pictures.tar.xz").unlink()
    again, same = read_jpegs(tmp_path / "pictures.tar.xz", source, ("a", "b"))
    assert np.array_equal(again, images)
    assert np.array_equal(same, labels)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"train/c/0000.jpg": jpeg(0)}, "no picture of CIFAR-10"),
        ({"train/a/0000.jpg": jpeg(0, side=31)}, "pictures of 32 x 32 were expected"),
        ({"train/a/0000.jpg": b"no jpeg"}, "is damaged"),
        ({}, "were expected"),
    ],
    ids=["class", "size", "content", "empty"],
)
def test_other_archives_are_refused(
    tiny: TinySet, tmp_path: Path, members: dict[str, bytes], words: str
) -> None:
    source = archive(tmp_path / "pictures.tar.xz", members)
    with pytest.raises(UserError, match=words):
        read_jpegs(tmp_path / "pictures.tar.xz", source, ("a", "b"))


def test_cut_archives_are_refused(tiny: TinySet, tmp_path: Path) -> None:
    path = tmp_path / "pictures.tar.xz"
    source = archive(path, {f"train/a/{i:04}.jpg": jpeg(i) for i in range(50)})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="is damaged"):
        read_jpegs(path, source, ("a", "b"))
