"""Where the files of the data sets are: looked for, downloaded, and always checked by their SHA-256.

Search order: $EDGEVISION_DATA, `../shared/data` beside a checkout, the user's cache, then the public mirrors.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from edgevision.errors import UserError

CHUNK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Source:
    """One file of a data set.

    Attributes:
        name: file name inside the set's folder.
        size: bytes.
        sha256: of the file as it is downloaded.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class DataSet:
    """A data set that is found or downloaded, or drawn by this package (no sources).

    Attributes:
        name: as the command line takes it.
        title: one line for people.
        folder: its folder under each place that is searched.
        sources: the files; mirrors: base addresses, each followed by a file's name.
        licence: the terms, as far as they are stated.
    """

    name: str
    title: str
    folder: str
    sources: tuple[Source, ...] = ()
    mirrors: tuple[str, ...] = ()
    licence: str = ""


def places() -> list[Path]:
    """The folders that hold data sets, in search order; they need not exist."""
    found = []
    if os.environ.get("EDGEVISION_DATA"):
        found.append(Path(os.environ["EDGEVISION_DATA"]).expanduser())
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        found.append(checkout.parent / "shared" / "data")
    return [*found, cache()]


def cache() -> Path:
    """Where downloads are kept."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgevision" / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgevision" / "data"


def locate(data: DataSet) -> Path | None:
    """The folder with every file of the set, or None; the files are not checked yet."""
    for place in places():
        folder = place / data.folder
        if all((folder / source.name).is_file() for source in data.sources):
            return folder
    return None


def checked(data: DataSet, source: Source) -> Path:
    """The path of one file of the set, after its size and SHA-256 were compared.

    Raises:
        UserError: the set is not there, or the file is damaged; the message names the file.
    """
    folder = locate(data)
    if folder is None:
        raise missing(data)
    path = folder / source.name
    check(path, source, data)
    return path


def missing(data: DataSet) -> UserError:
    """The error for a set that is nowhere complete."""
    folders = [place / data.folder for place in places()]
    lacking = [
        str(folder / source.name)
        for folder in folders
        if folder.is_dir()
        for source in data.sources
        if not (folder / source.name).is_file()
    ]
    what = f"lacks {lacking[0]}" if lacking else f"is not there, looked in {', '.join(map(str, folders))}"
    return UserError(f"data set {data.name} {what}", hint=f"edgevision data get {data.name}")


def check(path: Path, source: Source, data: DataSet) -> None:
    """UserError where size or SHA-256 differ from what they should be."""
    if reason := damage(path, source):
        raise UserError(f"{path} {reason}", hint=f"remove it, then: edgevision data get {data.name}")


def damage(path: Path, source: Source) -> str | None:
    """How a file differs from what it should be, or None."""
    size = path.stat().st_size
    if size != source.size:
        return f"has {size:,} bytes, expected {source.size:,}: it is cut, or another file"
    found = digest(path)
    if found != source.sha256:
        return f"is damaged: its SHA-256 is {found[:12]}…, expected {source.sha256[:12]}…"
    return None


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
    return sha.hexdigest()
