"""Files and folders that are there completely or not at all.

    with replacing_file("lenet.onnx") as new:          # write to `new`; the file appears in one step
    with replacing_folder("lenet.mlpackage") as new:   # the same for a folder
    claim("runs/lenet", ["metrics.jsonl"])             # a folder that grows while it is in use
    recover("lenet.mlpackage")                         # before reading: mends what a killed process left

What is new is written in a scratch folder beside the target, synced to the disk, then renamed:

    .lenet.mlpackage.1f0c….replacing/     mode 0700
        lock                              locked for as long as its writer lives
        new/lenet.mlpackage               what is being written, under its own name
        old/lenet.mlpackage               the previous one, only where two renames are needed

A file is replaced by one rename. Two folders are exchanged by one call of the system; a file system without
it takes two renames, and `recover` finishes the second where a process died between them. A scratch folder
whose lock is free belongs to a dead process: `recover`, and every later write, removes it.

A folder is replaced only if we wrote it and nothing foreign has come into it: `converters.ownership`.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from converters import disk, ownership
from converters.errors import ConversionError, OutputExists

PathLike = str | os.PathLike[str]


@contextmanager
def replacing_file(path: PathLike, overwrite: bool = True) -> Iterator[Path]:
    """Yield a path to write to; at the end of the block it becomes `path`, in one step.

    The yielded path has the name of `path` and lies on the same disk. Missing parent folders are made. If the
    block raises, nothing remains; a library's complaint about a full disk becomes the OSError that it is.

    Raises:
        OutputExists: `path` is there and `overwrite` is false, or it is a folder or a symbolic link.
        OSError: with the name of `path`, where it cannot be written.
    """
    target = _absolute(path)
    _check_file(target, overwrite)
    with _scratch(target) as scratch:
        new = scratch / "new" / target.name
        yield new
        if new.is_symlink() or not new.is_file():
            raise FileNotFoundError(errno.ENOENT, "nothing was written", str(target))
        disk.sync(new)
        _check_file(target, overwrite)
        if overwrite:
            os.replace(new, target)
        elif not disk.rename(new, target, "exclusive"):
            raise _exists(target)
        disk.sync(target.parent)


@contextmanager
def replacing_folder(path: PathLike, overwrite: bool = True) -> Iterator[Path]:
    """Yield a new empty folder to fill; at the end of the block it becomes `path`, in one step.

    The yielded folder has the name of `path` and lies on the same disk; the block may also remove it and make
    it anew. The list of its files is added. Missing parent folders are made. If the block raises, nothing
    remains; a library's complaint about a full disk becomes the OSError that it is.

    Raises:
        OutputExists: `path` is there and `overwrite` is false; or it is a file, a symbolic link, a folder
            that we did not write, or one that holds a file which is not on its list.
        OSError: with the name of `path`, where it cannot be written.
    """
    target = _absolute(path)
    _check_folder(target, overwrite)
    with _scratch(target) as scratch:
        new = scratch / "new" / target.name
        new.mkdir()
        yield new
        (new / ownership.MANIFEST).write_text(ownership.manifest_text(ownership.files(new)), encoding="utf-8")
        disk.sync_tree(new)
        _check_folder(target, overwrite)
        old = _exchange(scratch, target)
        disk.sync(target.parent)
        if old is not None and not ownership.remove(old):
            kept = target.with_name(f"{target.name}.{secrets.token_hex(4)}.kept")
            os.rename(old, kept)
            raise ConversionError(
                f"{target} is replaced, but foreign files came into the old folder meanwhile",
                hint=f"they are in {kept}",
            )


def claim(folder: PathLike, names: Iterable[str]) -> None:
    """Put `names` on the list of `folder`, before or after the files themselves are written.

    For folders that grow while they are in use, such as a training run. A missing folder is made.

    names: paths relative to `folder`, with `/`.

    Raises:
        OutputExists: `folder` is a file or a symbolic link, or holds files and is not ours.
        ValueError: a name leaves the folder.
    """
    target = _absolute(folder)
    names = set(names)
    outside = sorted(name for name in names if not ownership.is_inside(name))
    if outside:
        raise ValueError(f"{outside[0]!r} is not a path inside a folder")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputExists(f"{target} is not a folder", hint="choose another name")
    listed = ownership.listed(target)
    if listed is None and target.exists() and any(target.iterdir()):
        raise _foreign_folder(target)
    if listed is None or not names <= listed:
        with replacing_file(target / ownership.MANIFEST) as new:
            new.write_text(ownership.manifest_text(names | (listed or set())), encoding="utf-8")


def foreign_files(folder: PathLike) -> list[str] | None:
    """The files of `folder` that are not on its list, sorted, relative to it; None where it has no list."""
    target = _absolute(folder)
    if target.is_symlink() or not target.is_dir() or ownership.listed(target) is None:
        return None
    return sorted(ownership.sorted_out(target)[1])


def recover(path: PathLike) -> None:
    """Finish or undo what a killed process left at `path`; call it before reading what this module wrote.

    Afterwards `path` is the old or the new one, complete, and the scratch folders of dead processes are gone.
    Where the folder cannot be written, they stay. A live writer is waited for only between its two renames.
    """
    target = _absolute(path)
    for scratch in _scratches(target):
        with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            _recover_scratch(scratch, target)


# What may be replaced


def _check_file(target: Path, overwrite: bool) -> None:
    if target.is_symlink():
        raise OutputExists(f"{target} is a symbolic link", hint="remove it, or choose another name")
    if target.is_dir():
        raise OutputExists(f"{target} is a folder, a file was to be written", hint="choose another name")
    if target.exists() and not overwrite:
        raise _exists(target)


def _check_folder(target: Path, overwrite: bool) -> None:
    if target.is_symlink():
        raise OutputExists(f"{target} is a symbolic link", hint="remove it, or choose another name")
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputExists(f"{target} is a file, a folder was to be written", hint="choose another name")
    if not overwrite:
        raise _exists(target)
    foreign = foreign_files(target)
    if foreign is None:
        raise _foreign_folder(target)
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise OutputExists(
            f"{target} holds {foreign[0]!r}{more}, which edgevision did not write",
            hint="move it away, or choose another name",
        )


def _exists(target: Path) -> OutputExists:
    return OutputExists(f"{target} exists", hint="--force (in Python overwrite=True) replaces it")


def _foreign_folder(target: Path) -> OutputExists:
    return OutputExists(
        f"{target} was not written by edgevision and is never replaced",
        hint="remove it yourself, or choose another name",
    )


# The scratch folder


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Make, lock and at last remove the scratch folder of `target`; on failure its new parents too."""
    made = [folder for folder in target.parents if not folder.exists()]
    lock = None
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            recover(target)
            scratch, lock = _locked_scratch(target)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)) from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from None
        try:
            yield scratch
        except OSError as error:
            if str(error.filename).startswith(str(scratch)):
                error.filename = str(target)
            raise
        except RuntimeError as error:
            _raise_if_full(scratch, target, error)
            raise
        finally:
            _remove_scratch(scratch)
    finally:
        if lock is not None:
            os.close(lock)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()  # succeeds only if nothing came into it


def _locked_scratch(target: Path) -> tuple[Path, int]:
    while True:
        scratch = target.with_name(f".{target.name}.{secrets.token_hex(8)}.replacing")
        scratch.mkdir(mode=0o700)
        lock = None
        try:
            lock = os.open(scratch / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (scratch / "new").mkdir()
            return scratch, lock
        except (FileNotFoundError, BlockingIOError):  # another process took it for a dead one's: once more
            if lock is not None:
                os.close(lock)
        except BaseException:
            if lock is not None:
                os.close(lock)
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def _scratches(target: Path) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{16}}\.replacing")
    try:
        with os.scandir(target.parent) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if pattern.fullmatch(entry.name)
                and entry.is_dir(follow_symlinks=False)
                and entry.stat(follow_symlinks=False).st_uid == os.getuid()
            ]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _recover_scratch(scratch: Path, target: Path) -> None:
    old, new = scratch / "old" / target.name, scratch / "new" / target.name
    between_renames = old.exists() and not os.path.lexists(target)
    lock = os.open(scratch / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if between_renames else fcntl.LOCK_NB))
        except BlockingIOError:
            return
        if old.exists() and not os.path.lexists(target):
            os.rename(new if new.exists() else old, target)
            disk.sync(target.parent)
        _remove_scratch(scratch)
    finally:
        os.close(lock)


def _remove_scratch(scratch: Path) -> None:
    """Remove a scratch folder whose lock is ours; an artefact in it loses only what is on its list."""
    for artefact in [*(scratch / "new").glob("*"), *(scratch / "old").glob("*")]:
        is_folder = artefact.is_dir() and not artefact.is_symlink()
        if is_folder and ownership.listed(artefact) is not None and not ownership.remove(artefact):
            return
    shutil.rmtree(scratch, ignore_errors=True)


def _raise_if_full(scratch: Path, target: Path, error: RuntimeError) -> None:
    """Libraries in C++ report a full disk as a RuntimeError: see whether a little more can be written."""
    try:
        (scratch / "probe").write_bytes(bytes(2**16))
    except OSError as full:
        raise OSError(full.errno, full.strerror, str(target)) from error


def _exchange(scratch: Path, target: Path) -> Path | None:
    """Put the new folder of `scratch` at `target`; return where the old one is now."""
    new, old = scratch / "new" / target.name, scratch / "old" / target.name
    if not os.path.lexists(target):
        if not disk.rename(new, target, "exclusive"):
            raise _exists(target)
        return None
    if disk.rename(new, target, "swap"):
        return new
    old.parent.mkdir()
    os.rename(target, old)
    os.rename(new, target)
    return old


def _absolute(path: PathLike) -> Path:
    """`path` without following a link at its end, so that a link can be seen and refused."""
    return Path(os.path.abspath(path))


__all__ = ["claim", "foreign_files", "recover", "replacing_file", "replacing_folder"]
