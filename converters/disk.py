"""What the operating system gives for atomic writing: renames with conditions, and waiting for the disk."""

import errno
import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

_NO_SUCH_CALL = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def rename(source: Path, target: Path, kind: Literal["exclusive", "swap"]) -> bool:
    """Rename, never onto something (`exclusive`), or exchange the two (`swap`), in one step.

    False: for `exclusive`, `target` is there; for `swap`, the system or this file system cannot do it. Where
    `exclusive` cannot be had, a look before a plain rename decides.
    """
    code = _call(source, target, kind)
    if code == 0:
        return True
    if code == errno.EEXIST and kind == "exclusive":
        return False
    if code not in _NO_SUCH_CALL:
        raise OSError(code, os.strerror(code), str(target))
    if kind == "swap" or os.path.lexists(target):
        return False
    os.rename(source, target)
    return True


def _call(source: Path, target: Path, kind: str) -> int:
    """The errno of renameat2 (Linux) or renamex_np (macOS); ENOSYS where the C library lacks it."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    before, after = os.fsencode(source), os.fsencode(target)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(before, after, {"swap": 2, "exclusive": 4}[kind])
        else:
            working_folder = -100
            flag = {"swap": 2, "exclusive": 1}[kind]
            failed = library.renameat2(working_folder, before, working_folder, after, flag)
    except AttributeError:
        return errno.ENOSYS
    return ctypes.get_errno() if failed else 0


def sync_tree(folder: Path) -> None:
    """Wait until everything below `folder` is on the disk."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(place, name))
        sync(Path(place))


def sync(path: Path) -> None:
    """Wait until the file or folder is on the disk; macOS has a stronger call than fsync for that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        full = getattr(fcntl, "F_FULLFSYNC", None)
        if full is not None:
            with suppress(OSError):
                fcntl.fcntl(descriptor, full)
                return
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # folders on some network disks
            raise
    finally:
        os.close(descriptor)


__all__ = ["rename", "sync", "sync_tree"]
