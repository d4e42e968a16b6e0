"""Files that come into a folder, found by looking again and again: the same on every system and disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from edgevision.errors import UserError

PAUSE_SECONDS = 0.5
Stamp = tuple[int, int]  # modified, in ns; bytes


def look(folder: Path) -> dict[Path, Stamp]:
    """The files of a folder but hidden ones, sorted by name.

    Raises:
        UserError: it is no folder, or no more.
    """
    found: dict[Path, Stamp] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.name.startswith(".") or not entry.is_file():
                        continue
                    about = entry.stat()
                except FileNotFoundError:  # gone since it was listed
                    continue
                found[folder / entry.name] = (about.st_mtime_ns, about.st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is not a folder", hint="give a folder that is there") from None
    return dict(sorted(found.items()))


def arrivals(folder: Path, pause: float = PAUSE_SECONDS) -> Iterator[Path]:
    """Each file that is new in `folder` or written anew, once it is complete: no byte and no time changed
    between two looks. What is there at the call is left alone. Ends only by an error.

    Raises:
        UserError: it is no folder, or no more.
    """
    return _changes(folder, look(folder), pause)


def _changes(folder: Path, told: dict[Path, Stamp], pause: float) -> Iterator[Path]:
    before = told
    while True:
        time.sleep(pause)
        now = look(folder)
        for path, stamp in now.items():
            if stamp[1] > 0 and before.get(path) == stamp and told.get(path) != stamp:
                told = {**told, path: stamp}
                yield path
        told = {path: stamp for path, stamp in told.items() if path in now}
        before = now


__all__ = ["arrivals", "look"]
