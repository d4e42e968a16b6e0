"""`weight.bin`: a header, then for each tensor a record that says what it is and where its bytes are.

    header   64 bytes: count u32, version u32 (2)
    record   64 bytes: 0xDEADBEEF u32, type u32, bytes u64, offset u64, padding in bits u64
    data     at the offset, aligned to 64 bytes

An operation refers to a tensor by the offset of its record.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from converters.targets.onnx.protobuf import write_elements

ALIGNMENT = 64
SENTINEL = 0xDEADBEEF
VERSION = 2
RECORD = struct.Struct("<IIQQQ")
TYPES = {
    "float16": 1,
    "float32": 2,
    "uint8": 3,
    "int8": 4,
    "int16": 6,
    "uint16": 7,
    "int32": 14,
    "uint32": 15,
}


class BlobFile:
    """Collects arrays, tells each one's record offset, and writes them in order."""

    def __init__(self) -> None:
        self.arrays: list[tuple[int, np.ndarray]] = []
        self.end = ALIGNMENT

    def add(self, array: np.ndarray) -> int:
        """The offset of the record that this array will have."""
        offset = self.end
        self.arrays.append((offset, array))
        self.end = aligned(offset + ALIGNMENT + array.nbytes)
        return offset

    def write(self, path: Path) -> None:
        """Write the file; one array at a time is in memory where it is not contiguous."""
        with path.open("wb") as file:
            file.write(struct.pack("<II", len(self.arrays), VERSION).ljust(ALIGNMENT, b"\0"))
            for offset, array in self.arrays:
                file.seek(offset)
                record = RECORD.pack(SENTINEL, TYPES[array.dtype.name], array.nbytes, offset + ALIGNMENT, 0)
                file.write(record.ljust(ALIGNMENT, b"\0"))
                write_elements(file, array)
            file.write(b"\0" * (-file.tell() % ALIGNMENT))


def aligned(offset: int) -> int:
    """The next multiple of the alignment."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


NAMES: Mapping[int, str] = {number: name for name, number in TYPES.items()}
