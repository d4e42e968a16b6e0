"""The IDX format of MNIST: two zero bytes, an element type, the rank, then the sizes in big-endian 32 bits.

Source: the format's description on the page of LeCun, Cortes and Burges.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np

from edgevision.errors import UserError

UNSIGNED_BYTE = 0x08
LIMIT = 1 << 30  # bytes; larger arrays are not of the sets that we read


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of a (gzipped) IDX file.

    Raises:
        UserError: wrong magic number, cut, or more bytes than its sizes say.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            magic = file.read(4)
            if len(magic) != 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTE or not 1 <= magic[3] <= 4:
                raise UserError(f"{path} is not an IDX file of bytes: it begins with {magic.hex(' ')}")
            head = file.read(4 * magic[3])
            if len(head) != 4 * magic[3]:
                raise UserError(f"{path} is cut: its sizes are missing")
            shape = struct.unpack(f">{magic[3]}I", head)
            if prod(shape) > LIMIT:
                raise UserError(
                    f"{path} claims {' x '.join(map(str, shape))} elements, too many for such a file"
                )
            data = file.read(prod(shape) + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is cut or no gzip file: {error}") from error
    if len(data) != prod(shape):
        raise UserError(f"{path} holds {len(data)} elements, its sizes say {prod(shape)}")
    return np.frombuffer(data, np.uint8).reshape(shape)
