"""A person's own pictures: found, checked, split and trained with; what is wrong is one clear line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision import runs
from edgevision.cli import main
from edgevision.data import load_as_trained
from edgevision.data.folder import PictureFiles, decode, load_pictures
from edgevision.errors import UserError

SHAPE = (16, 16, 3)
COLOURS = {"green": (20, 200, 20), "red": (200, 20, 20), "sky blue": (20, 120, 220)}


def save(path: Path, colour: tuple[int, int, int], seed: int = 0, size: tuple[int, int] = (24, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 21, (*size, 3))
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures of each of three colours."""
    root = tmp_path / "pictures"
    for name, colour in COLOURS.items():
        for index in range(10):
            save(root / name / f"{index}.png", colour, index)
    return root


def told(path: Path) -> str:
    return " | ".join(load_pictures(path, SHAPE).notes)


def test_subfolders_are_classes(folder: Path) -> None:
    found = load_pictures(folder, SHAPE)
    assert found.train.classes == found.test.classes == ("green", "red", "sky blue")
    assert (len(found.train), len(found.test)) == (24, 6)
    assert np.bincount(found.test.labels).tolist() == [2, 2, 2], "the same share of each class"
    assert found.train.labels.tolist() != sorted(found.train.labels.tolist())
    for part in (found.train, found.test):
        assert part.images.shape == (len(part), *SHAPE)
        brightest = part.images[:].mean(axis=(1, 2)).argmax(axis=1)
        assert brightest.tolist() == [{0: 1, 1: 0, 2: 2}[int(label)] for label in part.labels]
    assert found.notes == ("green: 10; red: 10; sky blue: 10", "24 to train with, 6 held out")


def test_the_seed_and_the_names_decide_the_split(folder: Path, tmp_path: Path) -> None:
    def held(path: Path, seed: int) -> bytes:
        return load_pictures(path, SHAPE, seed).test.images[:].tobytes()

    shutil.copytree(folder, tmp_path / "elsewhere")
    assert held(folder, 3) == held(tmp_path / "elsewhere", 3)
    assert held(folder, 3) != held(folder, 4)


def test_a_csv_file_does_the_same(folder: Path, tmp_path: Path) -> None:
    rows = [f"pictures/{name}/{index}.png,{name}" for name in COLOURS for index in range(10)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["File,Label", *rows, ""]))
    found = load_pictures(table, SHAPE)
    assert (len(found.train), len(found.test)) == (24, 6)
    assert found.train.classes == tuple(sorted(COLOURS))


def test_pictures_of_every_kind_are_read_alike(tmp_path: Path) -> None:
    """16 bits, CMYK, a palette, transparency, and a photograph that its camera held sideways."""
    save(tmp_path / "plain.png", (200, 20, 20))
    picture = Image.new("RGB", (24, 20), (200, 20, 20))
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    picture.quantize(4).save(tmp_path / "palette.gif")
    picture.putalpha(255)
    picture.save(tmp_path / "transparent.png")
    for path in ("cmyk.jpg", "palette.gif", "transparent.png"):
        assert np.abs(decode(tmp_path / path, SHAPE).astype(int) - (200, 20, 20)).max() < 12, path
    Image.fromarray(np.full((20, 24), 40_000, np.uint16)).save(tmp_path / "deep.png")
    assert np.abs(decode(tmp_path / "deep.png", SHAPE).astype(int) - 156).max() <= 1
    halves = Image.new("L", (20, 20))
    halves.paste(255, (0, 0, 20, 10))  # white above
    entries = halves.getexif()
    entries[0x0112] = 3  # upside down
    halves.save(tmp_path / "turned.jpg", exif=entries)
    assert decode(tmp_path / "turned.jpg", (20, 20, 1))[0].max() < 20


def test_what_cannot_be_read_is_told_and_left_out(folder: Path) -> None:
    (folder / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    (folder / "red" / "notes.txt").write_text("these are red")
    (folder / ".cache").mkdir()
    save(folder / ".cache" / "1.png", (0, 0, 0))
    assert "1 of 31 files left out" in told(folder)
    assert str(folder / "red" / "broken.jpg") in told(folder)


def test_uneven_classes_are_told(folder: Path) -> None:
    assert "uneven" not in told(folder)
    for index in range(7):
        (folder / "green" / f"{index}.png").unlink()
    assert "uneven: 3 times as many of 'red' as of 'green'" in told(folder)


def make(root: Path, kind: str) -> Path:
    match kind:
        case "empty":
            root.mkdir()
        case "no pictures":
            (root / "cats").mkdir(parents=True)
            (root / "cats" / "list.txt").write_text("none")
        case "no subfolders":
            save(root / "1.png", (0, 0, 0))
        case "one class":
            save(root / "cats" / "1.png", (0, 0, 0))
            save(root / "cats" / "2.png", (0, 0, 0))
        case "a single picture":
            for name in ("cats/1", "cats/2", "dogs/1"):
                save(root / f"{name}.png", (0, 0, 0))
        case "all damaged":
            for name in ("cats", "dogs"):
                (root / name).mkdir(parents=True)
                (root / name / "1.png").write_bytes(b"PNG")
        case _:
            root = root.with_suffix(".csv")
            text = {"csv head": "a,b\n", "csv label": "file,label\nx.png,\n", "csv gone": None}[kind]
            if text is not None:
                root.write_text(text)
    return root


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "holds no pictures in subfolders"),
        ("no pictures", "holds no pictures in subfolders"),
        ("no subfolders", "holds no pictures in subfolders"),
        ("one class", "are of one class, 'cats'"),
        ("a single picture", "only one picture of 'dogs'"),
        ("all damaged", "no picture of"),
        ("csv head", "does not begin with the line 'file,label'"),
        ("csv label", "row 2 has no label"),
        ("csv gone", "cannot be read"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, words: str
) -> None:
    path = make(tmp_path / "pictures", kind)
    assert main(["train", "cnn", "--data", str(path), "--out", str(tmp_path / "run")]) == 1
    last = capsys.readouterr().err
    assert last.count("\n") == 1
    assert words in last
    assert str(path) in last
    assert not runs.is_run(tmp_path / "run")


def test_files_stand_for_an_array(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(folder.rglob("*.png"))
    kept = {path: decode(path, SHAPE) for path in paths[:7]}
    files = PictureFiles(paths, SHAPE, kept)
    array = np.stack([decode(path, SHAPE) for path in paths])
    assert (files.shape, files.dtype, len(files)) == (array.shape, array.dtype, 30)
    for chosen in (slice(None), slice(3, 9), np.array([29, 0, 7]), 11, slice(0, 0)):
        assert np.array_equal(files[chosen], array[chosen])


def test_trained_evaluated_and_exported_with_its_labels(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["train", "cnn", "--variant", "tiny", "--data", str(folder), "--image-size", "16"]
    options = ["--steps", "12", "--batch-size", "8", "--out", str(run), "--tensorboard"]
    assert main([*command, *options]) == 0
    shown = capsys.readouterr()
    assert "24 to train with, 6 held out" in " ".join(shown.err.split())
    config = json.loads((run / "config.json").read_text())
    assert config["input"]["shape"] == [16, 16, 3]
    assert config["training"]["keep"] == "best"
    assert (run / "tensorboard" / "events.out.tfevents.edgevision").is_file()
    loaded = runs.load(run)
    assert loaded.labels == ("green", "red", "sky blue")
    test = load_as_trained(loaded.config, "test")
    assert len(test) == 6
    assert main(["evaluate", str(run), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["accuracy"]
    assert measured == pytest.approx(config["result"]["test_accuracy"])
    assert main([*command, "--out", str(run), "--resume"]) == 0
    assert "is finished already" in " ".join(capsys.readouterr().err.split())
    assert main([*command[:-1], "24", "--out", str(run), "--resume"]) == 1
    assert "image_size was 16, is 24" in " ".join(capsys.readouterr().err.split())


def test_models_of_one_size_refuse_another(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "lenet", "--data", str(folder), "--image-size", "32", "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "takes pictures of 28 x 28" in capsys.readouterr().err


def test_damaged_pictures_may_be_all_of_a_class(folder: Path) -> None:
    for path in (folder / "red").iterdir():
        path.write_bytes(b"")
    found = load_pictures(folder, SHAPE)
    assert found.train.classes == ("green", "sky blue")
    assert "10 of 30 files left out" in found.notes[0]
    assert "and 7 more" in found.notes[0]
    with pytest.raises(UserError, match="is not there"):
        load_pictures(folder / "nowhere", SHAPE)
