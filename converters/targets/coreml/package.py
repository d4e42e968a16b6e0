"""Reading a saved `.mlpackage`: the manifest, the model description and program, the weights file.

Nothing here trusts what it reads: every path stays inside the package, every length is checked against the
file before it is used, and whatever does not fit is one `LoadError`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import LoadError
from converters.targets.coreml.schema import model_schema

HEADER_BYTES = 64  # of weight.bin, and of each record in it
RECORD = struct.Struct("<IIQQQ")  # sentinel, type, bytes, offset of the data, padding in bits
SENTINEL = 0xDEADBEEF
BLOB_VERSION = 2
MANIFEST_BYTES_MAX = 1 << 20
MODEL_BYTES_MAX = (1 << 31) - 1  # protobuf's own limit

# Number of the type in a weights record -> its name.
BLOB_TYPES = {
    1: "float16", 2: "float32", 3: "uint8", 4: "int8", 5: "bfloat16", 6: "int16", 7: "uint16", 8: "int4",
    9: "uint1", 10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
    16: "float8e4m3fn", 17: "float8e5m2",
}  # fmt: skip

BITS = {
    "bool": 8, "int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int8": 8, "uint8": 8,
    "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64, "float16": 16,
    "bfloat16": 16, "float32": 32, "float64": 64, "float8e4m3fn": 8, "float8e5m2": 8,
}  # fmt: skip


class Package:
    """A package on disk.

    Attributes:
        path: the folder `NAME.mlpackage`.
        model: the protobuf message Model.

    Raises:
        LoadError: missing, cut or damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self.specification = self._specification()
        self.model = _parse(self.specification)
        self._blobs: dict[str, np.ndarray] = {}

    def _specification(self) -> Path:
        manifest = self.path / "Manifest.json"
        if not self.path.is_dir():
            what = "is not there" if not self.path.exists() else "is a file; a Core ML package is a folder"
            raise LoadError(f"{self.path} {what}")
        try:
            if manifest.stat().st_size > MANIFEST_BYTES_MAX:
                raise LoadError(f"{manifest} is no manifest: it has {manifest.stat().st_size} bytes")
            entries = json.loads(manifest.read_text(encoding="utf-8"))
            root = entries["rootModelIdentifier"]
            relative = entries["itemInfoEntries"][root]["path"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise LoadError(f"{manifest} is no manifest of a Core ML package: {_reason(error)}") from error
        return inside(self.path, self.path / "Data", relative)

    def blob(self, name: str) -> np.ndarray:
        """The bytes of a weights file that the program names `@model_path/…`, mapped, not read."""
        if name not in self._blobs:
            prefix = "@model_path/"
            if not name.startswith(prefix):
                raise LoadError(f"{self.path}: weights file {name!r} does not start with {prefix}")
            file = inside(self.path, self.specification.parent, name.removeprefix(prefix))
            try:
                size = file.stat().st_size
                if size < HEADER_BYTES:
                    raise LoadError(f"{file} is cut: {size} bytes")
                data = np.memmap(file, np.uint8, "r")
            except (OSError, ValueError) as error:
                raise LoadError(f"{file} cannot be read: {_reason(error)}") from error
            version = int.from_bytes(data[4:8].tobytes(), "little")
            if version != BLOB_VERSION:
                raise LoadError(f"{file} is no weights file of version {BLOB_VERSION}, but {version}")
            self._blobs[name] = data
        return self._blobs[name]

    def weight(self, name: str, offset: int, dtype: str, shape: Sequence[int]) -> np.ndarray:
        """The tensor whose record is at `offset` of the weights file `name`; narrow elements unpacked."""
        data = self.blob(name)
        where = f"{self.path}: {name.rpartition('/')[2]} at {offset}"
        if not HEADER_BYTES <= offset <= len(data) - HEADER_BYTES:
            raise LoadError(f"{where} is outside the file of {len(data)} bytes")
        sentinel, kind, length, start, padding = RECORD.unpack(data[offset : offset + RECORD.size].tobytes())
        if sentinel != SENTINEL:
            raise LoadError(f"{where} is no record of a tensor")
        if BLOB_TYPES.get(kind) != dtype:
            raise LoadError(f"{where} holds {BLOB_TYPES.get(kind, f'type {kind}')}, the program says {dtype}")
        bits = math.prod(shape) * BITS[dtype]
        if length != -(-bits // 8) or (BITS[dtype] < 8 and padding != length * 8 - bits):
            raise LoadError(f"{where} has {length} bytes; {dtype} {tuple(shape)} is {-(-bits // 8)}")
        if start > len(data) or start + length > len(data):
            raise LoadError(f"{where} ends after the file of {len(data)} bytes")
        return elements(data[start : start + length], dtype, shape)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights files that were referred to."""
        return sum(len(data) for data in self._blobs.values())


def inside(package: Path, folder: Path, relative: Any) -> Path:
    """`folder / relative`, which must be a file inside `package`, symbolic links resolved."""
    if not isinstance(relative, str) or "\0" in relative:
        raise LoadError(f"{package} names a file by {relative!r}")
    file = folder / relative
    try:
        if not file.resolve().is_relative_to(package.resolve()):
            raise LoadError(f"{package} refers to {relative!r}, which is outside of it")
        if not file.is_file():
            raise LoadError(f"{package} is incomplete: {relative} is not there")
    except (OSError, RuntimeError) as error:
        raise LoadError(f"{package}: {relative!r} cannot be read: {_reason(error)}") from error
    return file


def _parse(file: Path) -> Any:
    from google.protobuf.message import DecodeError

    try:
        if file.stat().st_size > MODEL_BYTES_MAX:
            raise LoadError(f"{file} is too large: {file.stat().st_size} bytes")
        model = model_schema().Model.FromString(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise LoadError(f"{file} is no Core ML model: {_reason(error)}") from error
    if model.WhichOneof("Type") != "mlProgram":
        kind = model.WhichOneof("Type") or "nothing"
        raise LoadError(
            f"{file} holds {kind}, not an ML Program", hint="convert it again for iOS 15 or later"
        )
    return model


def storage_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype that holds the elements called `name`: a whole byte for the narrow ones."""
    if name in ("uint1", "uint2", "uint3", "uint4", "uint6"):
        return np.dtype(np.uint8)
    if name == "int4":
        return np.dtype(np.int8)
    if name in ("bfloat16", "float8e4m3fn", "float8e5m2"):
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name.replace("float8e", "float8_e")))
    return np.dtype(name)


def elements(data: np.ndarray, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Bytes as a tensor; the caller has checked that their number fits."""
    bits = BITS[dtype]
    if bits >= 8:
        return data.view(storage_dtype(dtype)).reshape(shape)
    return unpack(data, bits, math.prod(shape), signed=dtype.startswith("int")).reshape(shape)


def unpack(data: np.ndarray, bits: int, count: int, signed: bool = False) -> np.ndarray:
    """`count` elements of `bits` bits each, packed from each byte's low end, across bytes where need be."""
    data = np.asarray(data).view(np.uint8).reshape(-1)
    if bits in (2, 4):
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        values = ((data[:, None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(-1)[:count]
    elif bits == 8:
        values = data[:count]
    else:
        stream = np.unpackbits(data, bitorder="little")[: count * bits].reshape(count, bits)
        values = np.packbits(stream, axis=1, bitorder="little").reshape(count)
    if not signed:
        return values
    half = np.uint8(1 << (bits - 1))
    return ((values ^ half).astype(np.int16) - half).astype(np.int8)


def _reason(error: Exception) -> str:
    return (
        f"no {error}"
        if isinstance(error, KeyError)
        else (str(error).splitlines() or [type(error).__name__])[0]
    )
