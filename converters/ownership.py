"""Which folders are ours: each that we write holds `.edgevision.json`, the list of its files.

Only such a folder is replaced, and only the files on its list are removed. A file that is not on the list,
or a symbolic link, is foreign. A folder inside it that has a list of its own goes by that.

Core ML packages hold the list too: Core ML and Xcode find a package's parts by its `Manifest.json` and do not
look at the rest; coremltools loads, copies and saves such a package unchanged.
"""

import json
import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from converters.errors import ConversionError

MANIFEST = ".edgevision.json"
_BYTES_MAX = 16 * 2**20
_DESKTOP_FILES = frozenset({".DS_Store"})  # Finder leaves these in every folder that it shows


def manifest_text(names: set[str]) -> str:
    """The content of `.edgevision.json` for these files, given relative to the folder with `/`."""
    return (
        json.dumps({"format": 1, "writer": "edgevision", "files": sorted(names - {MANIFEST})}, indent=1)
        + "\n"
    )


def listed(folder: Path) -> set[str] | None:
    """The names on the list of `folder`; None where there is no list of ours."""
    manifest = folder / MANIFEST
    try:
        status = manifest.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _BYTES_MAX:
            return None
        content = json.loads(manifest.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("writer") != "edgevision" or content.get("format") != 1:
        return None
    names = content.get("files")
    if not isinstance(names, list) or not all(isinstance(name, str) and is_inside(name) for name in names):
        return None
    return set(names)


def is_inside(name: str) -> bool:
    """Whether a name on a list stays inside its folder."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name


def sorted_out(folder: Path) -> tuple[list[str], list[str]]:
    """The files of `folder` that are on its list, and the others; relative to it, with `/`."""
    return _sorted_out(folder, set(), "")


def _sorted_out(folder: Path, names: set[str], prefix: str) -> tuple[list[str], list[str]]:
    ours: list[str] = []
    foreign: list[str] = []
    own = listed(folder)
    if own is not None:
        names = {prefix + name for name in own} | {prefix + MANIFEST}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                below = _sorted_out(Path(entry.path), names, f"{name}/")
                ours += below[0]
                foreign += below[1]
            elif entry.is_file(follow_symlinks=False) and (name in names or entry.name in _DESKTOP_FILES):
                ours.append(name)
            else:
                foreign.append(name)
    return ours, foreign


def remove(folder: Path) -> bool:
    """Remove what is on the list, then the folder if nothing else is left; say whether it is gone.

    The list itself goes last, so that a removal that was cut short can be taken up again.
    """
    ours, foreign = sorted_out(folder)
    ours.sort(key=lambda name: PurePosixPath(name).name == MANIFEST)
    for name in ours:
        if not (foreign and name == MANIFEST):
            (folder / name).unlink(missing_ok=True)
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(place)
    return not folder.exists()


def files(folder: Path) -> set[str]:
    """All files below `folder`, relative to it, with `/`; a symbolic link is refused."""
    found: set[str] = set()
    for place, folders, names in os.walk(folder):
        for name in folders + names:
            if os.path.islink(os.path.join(place, name)):
                raise ConversionError(
                    f"{os.path.join(place, name)} is a symbolic link, an artefact holds none"
                )
        found.update(Path(place, name).relative_to(folder).as_posix() for name in names)
    return found


__all__ = ["MANIFEST", "files", "is_inside", "listed", "manifest_text", "remove", "sorted_out"]
