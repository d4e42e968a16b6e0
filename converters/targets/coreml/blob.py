"""`weight.bin`: a header, then for each tensor a record that says what it is and where its bytes are.

    header   64 bytes: count u32, version u32 (2)
    record   64 bytes: 0xDEADBEEF u32, type u32, bytes u64, offset u64, padding in bits u64 (of narrow types)
    data     at the offset, aligned to 64 bytes

An operation refers to a tensor by the offset of its record.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from hashlib import blake2b
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
NARROW = {1: ("uint1", 9), 2: ("uint2", 10), 3: ("uint3", 12), 4: ("uint4", 11), 6: ("uint6", 13)}


class BlobFile:
    """Collects arrays, tells each one's record offset, and writes them in order.

    Args:
        shared: an array that equals an earlier one is not stored again.
    """

    def __init__(self, shared: bool = False) -> None:
        self.shared, self.known = shared, dict[bytes, int]()
        self.arrays: list[tuple[int, np.ndarray]] = []
        self.narrow: dict[int, tuple[int, int]] = {}  # offset to type and padding in bits
        self.end = ALIGNMENT

    def add(self, array: np.ndarray) -> int:
        """The offset of the record that this array will have."""
        if self.shared:
            content = blake2b(array.dtype.str.encode())
            content.update(np.ascontiguousarray(array).data)
            known = self.known.setdefault(content.digest(), self.end)
            if known != self.end:
                return known
        offset = self.end
        self.arrays.append((offset, array))
        self.end = aligned(offset + ALIGNMENT + array.nbytes)
        return offset

    def add_narrow(self, codes: np.ndarray, bits: int) -> int:
        """The same for codes of fewer than 8 bits, which are packed."""
        packed = packed_codes(codes, bits)
        offset = self.add(packed)
        self.narrow[offset] = (NARROW[bits][1], 8 * packed.size - bits * codes.size)
        return offset

    def write(self, path: Path) -> None:
        """Write the file; one array at a time is in memory where it is not contiguous."""
        with path.open("wb") as file:
            file.write(struct.pack("<II", len(self.arrays), VERSION).ljust(ALIGNMENT, b"\0"))
            for offset, array in self.arrays:
                file.seek(offset)
                kind, padding = self.narrow.get(offset) or (TYPES[array.dtype.name], 0)
                record = RECORD.pack(SENTINEL, kind, array.nbytes, offset + ALIGNMENT, padding)
                file.write(record.ljust(ALIGNMENT, b"\0"))
                write_elements(file, array)
            file.write(b"\0" * (-file.tell() % ALIGNMENT))


def packed_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes in bytes, each from the low end on, across bytes where need be."""
    flat = codes.reshape(-1).astype(np.uint8)
    if bits == 8:
        return flat
    stream = np.unpackbits(flat[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(stream.reshape(-1), bitorder="little")


def aligned(offset: int) -> int:
    """The next multiple of the alignment."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


NAMES: Mapping[int, str] = {number: name for name, number in TYPES.items()}
