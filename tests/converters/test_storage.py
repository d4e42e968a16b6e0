"""Whole or not at all, ours or refused: files, folders, killed processes, full disks."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
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


# In the child every line that storage, ownership and disk execute is counted; at the line given the process
# kills itself with SIGKILL. The parent forks one child per line, until one lives to the end.
KILL_AT_EVERY_LINE = """
import errno, os, signal, sys
from pathlib import Path
from converters import disk, ownership, storage

folder, kind, fallback = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "fallback"
if fallback:
    disk._call = lambda *_: errno.ENOTSUP
watched = {module.__file__ for module in (disk, ownership, storage)}

def write(content):
    if kind == "file":
        with storage.replacing_file(folder / "a") as new:
            new.write_text(content * 1000)
        return
    with storage.replacing_folder(folder / "a") as new:
        (new / "sub").mkdir()
        (new / "sub" / "x").write_text(content)
        (new / f"{content}.json").write_text(content)

def read():
    storage.recover(folder / "a")
    left = sorted(os.listdir(folder))
    assert left in ([], ["a"]), left
    if not left:
        return None
    if kind == "file":
        text = (folder / "a").read_text()
        assert text in ("old" * 1000, "new" * 1000)
        return text[:3]
    content = (folder / "a" / "sub" / "x").read_text()
    names = {path.relative_to(folder / "a").as_posix() for path in (folder / "a").rglob("*")}
    assert names == {"sub", "sub/x", f"{content}.json", ownership.MANIFEST}, names
    assert storage.foreign_files(folder / "a") == []
    return content

def killed_at(line):
    count = 0
    def trace(frame, event, argument):
        nonlocal count
        if frame.f_code.co_filename not in watched:
            return trace
        if event == "line":
            count += 1
            if count == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    write("new")
    sys.settrace(None)

for first in (None, "old"):
    seen = {}
    line = 0
    while True:
        line += 1
        for path in folder.iterdir():
            assert path.name == "a"
            path.unlink() if kind == "file" else ownership.remove(path)
        if first:
            write(first)
        child = os.fork()
        if child == 0:
            try:
                killed_at(line)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0, line
            assert read() == "new"
            break
        content = read()
        assert content in (first, "new"), (line, content)
        seen[content] = seen.get(content, 0) + 1
    assert set(seen) == {first, "new"}, seen
    print(first, line, seen)
"""


@pytest.mark.parametrize("fallback", ["exchange", "fallback"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_kill_9_at_every_line(tmp_path: Path, kind: str, fallback: str) -> None:
    """Whichever line is the last, a reader finds the old one or the new one, complete, and no debris."""
    command = [sys.executable, "-c", KILL_AT_EVERY_LINE, str(tmp_path), kind, fallback]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


RESTLESS = """
import sys
from converters import storage
for content in 10_000 * ["old", "new"]:
    with storage.replacing_folder(sys.argv[1]) as new:
        (new / "x").write_text(content * 1000)
        (new / "y").write_text(content * 1000)
    print(content, flush=True)
"""


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    """A process that replaces a folder again and again is killed at moments that nobody chose."""
    target = tmp_path / "a"
    for moment in range(8):
        with subprocess.Popen([sys.executable, "-c", RESTLESS, target], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(1 + moment):
                process.stdout.readline()
            process.kill()
        storage.recover(target)
        assert os.listdir(tmp_path) == ["a"]
        assert (target / "x").read_text() == (target / "y").read_text()
        assert storage.foreign_files(target) == []


# Disks that are full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte, where the system lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or os.getuid() != 0 or mount is None:
        pytest.skip("mounting needs root on Linux")
    if subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True
    ).returncode:
        pytest.skip("this system does not let root mount")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_full_disk(small_disk: Path) -> None:
    write_package(small_disk / "a", "old")
    before = tree(small_disk)
    with (
        pytest.raises(OSError, match="No space") as caught,
        storage.replacing_folder(small_disk / "a") as new,
    ):
        (new / "weights").write_bytes(bytes(2**21))
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space"), storage.replacing_file(small_disk / "b") as new:
        new.write_bytes(bytes(2**21))
    assert tree(small_disk) == before


def test_full_disk_as_a_library_in_cpp_tells_it(small_disk: Path) -> None:
    import mlx.core as mx

    target = small_disk / "weights.safetensors"
    with pytest.raises(OSError, match="No space") as caught, storage.replacing_file(target) as new:
        mx.save_safetensors(str(new), {"a": mx.zeros(2**20)})
    assert caught.value.filename == str(target)
    assert os.listdir(small_disk) == []


OVER_THE_LIMIT = """
import resource, signal, sys
from converters import storage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    with storage.replacing_file(sys.argv[1]) as new:
        new.write_bytes(bytes(2**21))
except OSError as error:
    sys.exit(f"{error.filename}: {error.strerror}")
"""


def test_file_over_the_limit(tmp_path: Path) -> None:
    """The same for a user who cannot mount anything."""
    (tmp_path / "a").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", OVER_THE_LIMIT, tmp_path / "a"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert tree(tmp_path) == {"a": "old"}


AS_NOBODY = """
import os, sys
os.setgid(65534)
os.setuid(65534)
from converters import storage
storage.recover(sys.argv[1])
with storage.replacing_file(sys.argv[1]) as new:
    new.write_text("new")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_folder_of_somebody_else(tmp_path: Path) -> None:
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        (place / "a").write_text("old")
        place.chmod(0o755)
        program = AS_NOBODY.replace("import os, sys", "import os, sys; import converters.storage", 1)
        done = subprocess.run([sys.executable, "-c", program, place / "a"], capture_output=True, text=True)
        assert f"PermissionError: [Errno 13] Permission denied: '{place / 'a'}'" in done.stderr
        assert tree(place) == {"a": "old"}
    finally:
        shutil.rmtree(place)
