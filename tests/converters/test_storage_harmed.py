"""What processes that are killed, disks that are full and folders of others do to what is being written."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters import storage


def tree(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


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
    with storage.replacing_folder(small_disk / "a") as new:
        (new / "weights").write_text("old")
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
