"""Pictures squeezed to one size: from files, or from an archive, which is decoded once and then kept."""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from converters.storage import replacing_file
from edgevision.data.sources import Source, cache
from edgevision.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

FILE_BYTES_MAX = 1 << 20  # of one picture in an archive


@dataclass(frozen=True)
class Pictures:
    """uint8 (N, side, side, 3), and the sorted names of the files."""

    array: np.ndarray
    names: tuple[str, ...]


def squeezed(picture: Image.Image, side: int) -> np.ndarray:
    """uint8 (side, side, 3): the whole picture, whatever its aspect ratio, on white where it is clear."""
    from PIL import Image

    from edgevision.pictures import on_background

    picture = on_background(picture, 255).convert("RGB")
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(picture)


def read_pictures(paths: Sequence[Path], side: int) -> np.ndarray:
    """uint8 (N, side, side, 3) of picture files.

    Raises:
        UserError: one of them is no picture.
    """
    from edgevision.pictures import open_picture

    return np.stack([squeezed(open_picture(path), side) for path in paths])


def read_archive(path: Path, source: Source, side: int) -> Pictures:
    """All pictures of a tar archive of JPEG files.

    The decoded array is kept in the user's cache under the archive's SHA-256, and read from there next time.

    Raises:
        UserError: the archive is damaged.
    """
    kept = cache() / "decoded" / f"{source.sha256}-{side}.npy"
    try:
        array = np.load(kept, allow_pickle=False)
        names = tuple(json.loads(kept.with_suffix(".json").read_bytes()))
        if array.shape == (len(names), side, side, 3) and array.dtype == np.uint8:
            return Pictures(array, names)
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or damaged: decoded anew
    found = _decode(path, side)
    names = tuple(sorted(found))
    array = np.stack([found[name] for name in names])
    with replacing_file(kept.with_suffix(".json")) as new:
        new.write_text(json.dumps(names))
    with replacing_file(kept) as new, new.open("wb") as file:
        np.save(file, array)
    return Pictures(array, names)


def _decode(path: Path, side: int) -> dict[str, np.ndarray]:
    from PIL import Image

    found: dict[str, np.ndarray] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if not member.isfile() or name.suffix != ".jpg":
                    continue
                file = archive.extractfile(member)
                if file is None or member.size > FILE_BYTES_MAX or name.name in found:
                    raise UserError(f"{path} holds {str(name)!r}, which does not belong there")
                with Image.open(io.BytesIO(file.read()), formats=["JPEG"]) as picture:
                    found[name.name] = squeezed(picture, side)
    except (tarfile.TarError, lzma.LZMAError, OSError, EOFError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not found:
        raise UserError(f"{path} holds no pictures")
    return found


__all__ = ["Pictures", "read_archive", "read_pictures", "squeezed"]
