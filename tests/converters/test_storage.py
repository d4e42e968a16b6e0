"""Whole or not at all, ours or refused: files and folders."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters import disk, ownership, storage
from converters.errors import ConversionError, OutputExists


def write_package(path: Path, content: str, overwrite: bool = True) -> None:
    with storage.replacing_folder(path, overwrite) as new:
        (new / "Data").mkdir()
        (new / "Data" / "weights.bin").write_text(content)
        (new / f"{content}.json").write_text(content)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Files


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    with storage.replacing_file(target) as new:
        assert new.name == "a.txt"
        new.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["a.txt"]


def test_file_is_replaced_and_kept_on_error(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), storage.replacing_file(target) as new:
        new.write_text("half")
        _ = 1 / 0
    assert tree(tmp_path) == {"a.txt": "old"}
    with storage.replacing_file(target) as new:
        new.write_text("new")
    assert tree(tmp_path) == {"a.txt": "new"}


def test_failure_leaves_no_new_parents(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), storage.replacing_file(tmp_path / "x" / "y" / "a") as new:
        new.write_text("half")
        _ = 1 / 0
    assert os.listdir(tmp_path) == []


def test_file_mode_follows_umask(tmp_path: Path) -> None:
    with storage.replacing_file(tmp_path / "a") as new:
        new.write_text("a")
    (tmp_path / "plain").write_text("a")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_file_not_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, storage.replacing_file(tmp_path / "a"):
        pass
    assert caught.value.filename == str(tmp_path / "a")


def test_existing_file_needs_overwrite(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(OutputExists, match="exists"),
        storage.replacing_file(tmp_path / "a", overwrite=False),
    ):
        pytest.fail("the block must not run")
    assert tree(tmp_path) == {"a": "old"}


def test_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(OutputExists), storage.replacing_file(tmp_path / "a", overwrite=False) as new:
        new.write_text("ours")
        (tmp_path / "a").write_text("theirs")
    assert tree(tmp_path) == {"a": "theirs"}


@pytest.mark.parametrize("writer", [storage.replacing_file, storage.replacing_folder])
@pytest.mark.parametrize("dangling", [False, True])
def test_symbolic_link_is_refused(tmp_path: Path, writer, dangling: bool) -> None:
    write_package(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / ("nowhere" if dangling else "real"))
    with pytest.raises(OutputExists, match="symbolic link"), writer(tmp_path / "link"):
        pytest.fail("the block must not run")
    assert (tmp_path / "real" / "old.json").read_text() == "old"


def test_file_onto_folder_and_folder_onto_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputExists, match="is a folder"), storage.replacing_file(tmp_path / "folder"):
        pytest.fail("the block must not run")
    with pytest.raises(OutputExists, match="is a file"), storage.replacing_folder(tmp_path / "file"):
        pytest.fail("the block must not run")


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    target = tmp_path / "file" / "a.onnx"
    with pytest.raises(NotADirectoryError) as caught, storage.replacing_file(target):
        pytest.fail("the block must not run")
    assert caught.value.filename == str(tmp_path / "file")


# Folders


def test_folder_is_written_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.mlpackage"
    write_package(target, "old")
    assert storage.foreign_files(target) == []
    write_package(target, "new")
    assert set(tree(target)) == {"Data/weights.bin", "new.json", ownership.MANIFEST}
    assert os.listdir(tmp_path) == ["a.mlpackage"]


def test_folder_is_kept_on_error(tmp_path: Path) -> None:
    target = tmp_path / "a.mlpackage"
    write_package(target, "old")
    before = tree(target)
    with pytest.raises(ZeroDivisionError), storage.replacing_folder(target) as new:
        (new / "half").write_text("half")
        _ = 1 / 0
    assert tree(target) == before
    assert os.listdir(tmp_path) == ["a.mlpackage"]


def test_block_may_make_the_folder_anew(tmp_path: Path) -> None:
    with storage.replacing_folder(tmp_path / "a") as new:
        shutil.rmtree(new)
        shutil.copytree(Path(__file__).parent, new, ignore=shutil.ignore_patterns("__pycache__"))
    assert storage.foreign_files(tmp_path / "a") == []


def test_existing_folder_needs_overwrite(tmp_path: Path) -> None:
    write_package(tmp_path / "a", "old")
    before = tree(tmp_path)
    with pytest.raises(OutputExists, match="exists"):
        write_package(tmp_path / "a", "new", overwrite=False)
    assert tree(tmp_path) == before


def test_folder_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with pytest.raises(OutputExists), storage.replacing_folder(target, overwrite=False):
        target.mkdir()
        (target / "theirs").write_text("x")
    assert tree(tmp_path) == {"a/theirs": "x"}


MANIFESTS_OF_OTHERS = {
    "none": None,
    "not JSON": "hello",
    "a list": "[]",
    "another program's": '{"format": 1, "writer": "other", "files": ["precious"]}',
    "outside": '{"format": 1, "writer": "edgevision", "files": ["../precious"]}',
    "absolute": '{"format": 1, "writer": "edgevision", "files": ["/etc/passwd"]}',
    "numbers": '{"format": 1, "writer": "edgevision", "files": [1]}',
    "nested too deep": "[" * 100_000,
}


@pytest.mark.parametrize("manifest", MANIFESTS_OF_OTHERS.values(), ids=MANIFESTS_OF_OTHERS.keys())
def test_folder_of_others_is_never_replaced(tmp_path: Path, manifest: str | None) -> None:
    target = tmp_path / "a"
    target.mkdir()
    (target / "precious").write_text("x")
    if manifest is not None:
        (target / ownership.MANIFEST).write_text(manifest)
    before = tree(tmp_path)
    with pytest.raises(OutputExists, match="not written by edgevision"):
        write_package(target, "new")
    assert tree(tmp_path) == before


def test_manifest_that_is_a_link_proves_nothing(tmp_path: Path) -> None:
    write_package(tmp_path / "real", "old")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ownership.MANIFEST).symlink_to(tmp_path / "real" / ownership.MANIFEST)
    with pytest.raises(OutputExists, match="not written by edgevision"):
        write_package(tmp_path / "a", "new")


@pytest.mark.parametrize("name", ["notes.txt", "Data/notes.txt", "deep/er/notes.txt"])
def test_foreign_file_stops_the_replacement(tmp_path: Path, name: str) -> None:
    target = tmp_path / "a"
    write_package(target, "old")
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    (target / name).write_text("mine")
    before = tree(tmp_path)
    assert storage.foreign_files(target) == [name]
    with pytest.raises(OutputExists, match=r"notes\.txt"):
        write_package(target, "new")
    assert tree(tmp_path) == before


def test_link_in_place_of_a_listed_file_is_foreign(tmp_path: Path) -> None:
    target, outside = tmp_path / "a", tmp_path / "outside"
    write_package(target, "old")
    outside.write_text("x")
    (target / "old.json").unlink()
    (target / "old.json").symlink_to(outside)
    with pytest.raises(OutputExists, match=r"old\.json"):
        write_package(target, "new")
    assert outside.read_text() == "x"


def test_finder_files_are_not_foreign(tmp_path: Path) -> None:
    write_package(tmp_path / "a", "old")
    (tmp_path / "a" / "Data" / ".DS_Store").write_text("x")
    write_package(tmp_path / "a", "new")
    assert "Data/.DS_Store" not in tree(tmp_path / "a")


def test_folder_inside_goes_by_its_own_list(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with storage.replacing_folder(out) as new:
        write_package(new / "lenet.mlpackage", "old")
    write_package(out / "lenet.mlpackage", "new")
    assert storage.foreign_files(out) == []
    write_package(out, "flat")
    assert set(tree(out)) == {"Data/weights.bin", "flat.json", ownership.MANIFEST}


def test_foreign_file_that_comes_during_the_block_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a"
    write_package(target, "old")
    with pytest.raises(OutputExists, match="mine"), storage.replacing_folder(target) as new:
        (new / "new.json").write_text("new")
        (target / "mine").write_text("x")
    assert (target / "mine").exists()
    assert (target / "old.json").exists()
    assert os.listdir(tmp_path) == ["a"]


def test_link_in_a_new_folder_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ConversionError, match="symbolic link"),
        storage.replacing_folder(tmp_path / "a") as new,
    ):
        (new / "link").symlink_to("/etc/passwd")
    assert os.listdir(tmp_path) == []


def test_folder_with_its_list_is_an_apple_package(tmp_path: Path) -> None:
    """coremltools loads, and saves again, a package that holds our list."""
    import coremltools
    import numpy as np
    from coremltools.converters.mil import Builder as mb

    def double(x):
        return mb.matmul(x=x, y=np.eye(64, dtype=np.float32) * 2)

    target = coremltools.target.iOS18
    program = mb.program(input_specs=[mb.TensorSpec(shape=(1, 64))], opset_version=target)(double)
    model = coremltools.convert(program, convert_to="mlprogram", minimum_deployment_target=target)
    with storage.replacing_folder(tmp_path / "a.mlpackage") as new:
        model.save(str(new))
    assert len(tree_names(tmp_path / "a.mlpackage")) == 4
    again = coremltools.models.MLModel(str(tmp_path / "a.mlpackage"), skip_model_load=True)
    assert again.get_spec() == model.get_spec()
    with storage.replacing_folder(tmp_path / "a.mlpackage") as new:
        again.save(str(new))
    assert storage.foreign_files(tmp_path / "a.mlpackage") == []


def tree_names(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


# Folders that grow


def test_claimed_files_are_ours(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    storage.claim(run, ["metrics.jsonl", "checkpoints/1/weights.safetensors"])
    (run / "metrics.jsonl").write_text("1")
    (run / "curve.png").write_text("2")
    assert storage.foreign_files(run) == ["curve.png"]
    storage.claim(run, ["curve.png"])
    assert storage.foreign_files(run) == []
    write_package(run, "new")
    assert "metrics.jsonl" not in tree(run)


def test_claim_takes_an_empty_folder_but_no_full_one(tmp_path: Path) -> None:
    storage.claim(tmp_path, [])
    assert storage.foreign_files(tmp_path) == []
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x").write_text("x")
    with pytest.raises(OutputExists, match="not written by edgevision"):
        storage.claim(tmp_path / "theirs", ["x"])
    (tmp_path / "link").symlink_to(tmp_path)
    for place in ("link", "theirs/x"):
        with pytest.raises(OutputExists, match="not a folder"):
            storage.claim(tmp_path / place, ["x"])
    for name in ("../x", "/x", "a/../../x", ""):
        with pytest.raises(ValueError, match="not a path inside"):
            storage.claim(tmp_path, [name])


# Two renames, and what a killed process leaves


@contextlib.contextmanager
def no_exchange(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a file system without the system calls answers."""
    with patch.context() as inner:
        inner.setattr(disk, "_call", lambda *_: errno.ENOTSUP)
        yield


def test_two_renames_where_folders_cannot_be_exchanged(tmp_path: Path, monkeypatch) -> None:
    with no_exchange(monkeypatch):
        write_package(tmp_path / "a", "old")
        write_package(tmp_path / "a", "new")
        with pytest.raises(OutputExists):
            write_package(tmp_path / "a", "third", overwrite=False)
        with storage.replacing_file(tmp_path / "file", overwrite=False) as new:
            new.write_text("x")
        with pytest.raises(OutputExists), storage.replacing_file(tmp_path / "late", overwrite=False) as new:
            new.write_text("x")
            (tmp_path / "late").write_text("theirs")
    assert "new.json" in tree(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "file", "late"]


def test_exchange_is_one_call_here(tmp_path: Path) -> None:
    """On the disks of the supported systems the fallback is not what is used."""
    for name in ("a", "b"):
        write_package(tmp_path / name, name)
    assert disk.rename(tmp_path / "a", tmp_path / "b", "swap")
    assert (tmp_path / "a" / "b.json").exists()
    assert not disk.rename(tmp_path / "a", tmp_path / "b", "exclusive")
    with pytest.raises(OSError, match="No such file"):
        disk.rename(tmp_path / "missing", tmp_path / "c", "exclusive")


def test_live_writer_is_left_alone(tmp_path: Path) -> None:
    with storage.replacing_folder(tmp_path / "a") as new:
        (new / "x").write_text("x")
        storage.recover(tmp_path / "a")
        assert (new / "x").exists()


def test_folder_that_looks_like_scratch_but_is_not(tmp_path: Path) -> None:
    names = [".a.0123456789abcdef.replacing.txt", ".ab.0123456789abcdef.replacing", ".a.xyz.replacing"]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / ".a.0123456789abcdef.replacing").symlink_to(tmp_path / names[0])
    storage.recover(tmp_path / "a")
    assert len(os.listdir(tmp_path)) == 4
