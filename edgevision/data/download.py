"""Fetching data sets from their public mirrors: resumed where it stopped, checked, and then moved into
place."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from converters.storage import replacing_file
from edgevision.data.sources import CHUNK, DataSet, Source, cache, check, locate
from edgevision.errors import UserError

TIMEOUT = 30  # seconds without an answer


def get(data: DataSet, report: Callable[[str, int, int], None] | None = None) -> Path:
    """The folder of the set, downloaded into the cache if it is nowhere yet; every file is checked.

    Args:
        report: called with a file's name, the bytes that are there, and the bytes in all.

    Raises:
        UserError: no mirror gives the right file; what was fetched so far is kept and resumed next time.
    """
    folder = locate(data)
    if folder is None:
        folder = cache() / data.folder
        folder.mkdir(parents=True, exist_ok=True)
        for source in data.sources:
            if not (folder / source.name).is_file():
                _fetch(data, source, folder, report)
    for source in data.sources:
        check(folder / source.name, source, data)
    return folder


def _fetch(
    data: DataSet, source: Source, folder: Path, report: Callable[[str, int, int], None] | None
) -> None:
    partial = folder / f"{source.name}.partial"
    reasons = []
    for mirror in data.mirrors:
        try:
            _download(mirror + source.name, partial, source, report)
            check(partial, source, data)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reasons.append(f"{mirror}: {getattr(error, 'reason', error)}")
            continue
        except UserError as error:
            partial.unlink(missing_ok=True)
            reasons.append(f"{mirror}: {error.message.split(': ', 1)[-1]}")
            continue
        with replacing_file(folder / source.name) as new:
            partial.rename(new)
        return
    raise UserError(
        f"{source.name} of {data.name} cannot be downloaded: {'; '.join(reasons) or 'it has no mirror'}",
        hint=f"put the files into {folder}, or set EDGEVISION_DATA to the folder that holds {data.folder}/",
    )


def _download(
    address: str, partial: Path, source: Source, report: Callable[[str, int, int], None] | None
) -> None:
    """Append to `partial` what is missing; never more than the expected size."""
    there = partial.stat().st_size if partial.is_file() else 0
    if there >= source.size:
        partial.unlink()
        there = 0
    headers = {"Range": f"bytes={there}-"} if there else {}
    request = urllib.request.Request(address, headers={**headers, "User-Agent": "edgevision"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # https addresses of this package
        there = there if answer.status == 206 else 0
        with partial.open("ab" if there else "wb") as file:
            while there < source.size and (chunk := answer.read(min(CHUNK, source.size - there))):
                file.write(chunk)
                there += len(chunk)
                if report is not None:
                    report(source.name, there, source.size)
