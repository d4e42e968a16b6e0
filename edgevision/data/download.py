"""Fetching data sets from their public mirrors: resumed where it stopped, checked, then moved into place."""

from __future__ import annotations

import fcntl
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from converters.storage import replacing_file
from edgevision.data.sources import CHUNK, DataSet, Source, cache, check, damage, locate
from edgevision.errors import UserError

TIMEOUT_SECONDS = 30  # without an answer
NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    ConnectionError,
    TimeoutError,
)

Report = Callable[[str, int, int], None]


def get(data: DataSet, report: Report | None = None) -> Path:
    """The folder of the set, downloaded into the cache if it is nowhere yet; every file is checked.

    A damaged file in the cache is fetched anew; one in another place is an error.

    Args:
        report: called with a file's name, the bytes that are there, and the bytes in all.

    Raises:
        UserError: no mirror gives the right file; what was fetched so far is kept and resumed next time.
    """
    own = cache() / data.folder
    folder = locate(data) or own
    for source in data.sources:
        path = folder / source.name
        if folder == own and (not path.is_file() or damage(path, source)):
            _fetch(data, source, folder, report)
        else:
            check(path, source, data)
    return folder


def _fetch(data: DataSet, source: Source, folder: Path, report: Report | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{source.name}.partial"
    reasons = []
    with partial.open("ab") as file:
        if not _lock(file, partial):
            raise UserError(f"another process is downloading {source.name}", hint="wait until it is done")
        for mirror in data.mirrors:
            reason = _from_mirror(mirror + source.name, source, file, report)
            if reason is None:
                with replacing_file(folder / source.name) as new:
                    partial.rename(new)
                return
            reasons.append(f"{mirror}: {reason}")
    if not partial.stat().st_size:
        partial.unlink()
    raise UserError(
        f"{source.name} of {data.name} cannot be downloaded: {'; '.join(reasons)}",
        hint=f"put the files into {folder}, or set EDGEVISION_DATA to the folder that holds {data.folder}/",
    )


def _lock(file: BinaryIO, path: Path) -> bool:
    """Whether `file` is ours alone and still the one at `path`; closing it frees it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _from_mirror(address: str, source: Source, file: BinaryIO, report: Report | None) -> str | None:
    """Complete `file` from one address; why that failed, or None. What is right so far stays in it."""
    resumed = file.tell() > 0
    while True:
        try:
            _download(address, source, file, report)
        except NETWORK_ERRORS as error:
            return str(getattr(error, "reason", error))
        file.flush()
        if (reason := damage(Path(file.name), source)) is None:
            return None
        file.truncate(0)
        if not resumed:
            return reason
        resumed = False  # what was there before may be what was wrong: once more from the start


def _download(address: str, source: Source, file: BinaryIO, report: Report | None) -> None:
    """Append what is missing to `file`, never beyond the expected size."""
    there = file.seek(0, os.SEEK_END)
    if there >= source.size:
        return
    headers = {"User-Agent": "edgevision"} | ({"Range": f"bytes={there}-"} if there else {})
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status != 206:
            there = 0
            file.truncate(0)
        promised = answer.headers.get("Content-Length")
        if promised is not None and there + int(promised) != source.size:
            raise ConnectionError(f"offers {there + int(promised):,} bytes, expected {source.size:,}")
        while there < source.size:
            chunk = answer.read(min(CHUNK, source.size - there))
            if not chunk:
                raise ConnectionError(f"ended after {there:,} of {source.size:,} bytes")
            file.write(chunk)
            there += len(chunk)
            if report is not None:
                report(source.name, there, source.size)


__all__ = ["get"]
