"""CIFAR-10 from archives of JPEG files (`train/<class>/0000.jpg`): decoded once, then kept as an array."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np

from converters.storage import replacing_file
from edgevision.data.sources import Source, cache
from edgevision.errors import UserError

SIDE = 32
FILE_BYTES_MAX = 1 << 16  # of one picture of 32 x 32


def read_jpegs(path: Path, source: Source, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 (N, 32, 32, 3), labels int32 (N,)) of an archive, in an order that mixes the classes.

    The decoded array is kept in the user's cache under the archive's SHA-256, and read from there next time.

    Raises:
        UserError: the archive is damaged, or holds other pictures.
    """
    kept = cache() / "decoded" / f"{source.sha256}.npy"
    try:
        images = np.load(kept, allow_pickle=False)
        labels = np.load(kept.with_suffix(".labels.npy"), allow_pickle=False)
        if images.shape == (len(labels), SIDE, SIDE, 3) and images.dtype == np.uint8:
            return images, labels
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or damaged: decoded anew
    images, labels = _decode(path, classes)
    for array, place in ((labels, kept.with_suffix(".labels.npy")), (images, kept)):
        with replacing_file(place) as new, new.open("wb") as file:
            np.save(file, array)
    return images, labels


def _decode(path: Path, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    found: dict[PurePosixPath, np.ndarray] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if not member.isfile() or name.suffix != ".jpg":
                    continue
                file = archive.extractfile(member)
                if file is None or member.size > FILE_BYTES_MAX or name.parent.name not in classes:
                    raise UserError(f"{path} holds {str(name)!r}, which is no picture of CIFAR-10")
                with Image.open(io.BytesIO(file.read()), formats=["JPEG"]) as picture:
                    found[name] = np.asarray(picture.convert("RGB"))
    except (tarfile.TarError, lzma.LZMAError, OSError, EOFError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    ordered = sorted(found)
    names = [ordered[i] for i in np.random.default_rng(0).permutation(len(found))]
    images = np.stack([found[name] for name in names]) if names else np.zeros((0, 0, 0, 0), np.uint8)
    if images.shape != (len(names), SIDE, SIDE, 3):
        raise UserError(f"{path}: pictures of 32 x 32 were expected, these are {images.shape}")
    return images, np.array([classes.index(name.parent.name) for name in names], np.int32)


__all__ = ["read_jpegs"]
