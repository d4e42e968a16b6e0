"""Streaming a model to a file: protobuf's wire format, with the weights written straight from their arrays.

`ModelProto.SerializeToString` would hold the weights twice more in memory, and fails beyond 2 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from onnx import ModelProto, StringStringEntryProto, TensorProto

from converters.targets.onnx.writer import ELEMENT_TYPES

GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9  # field numbers in onnx.proto
LENGTH_DELIMITED = 2
ALIGNMENT = 4096  # bytes; external tensors begin at pages, so that they can be mapped


def write_inline(model: ModelProto, tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """`model` (without weights) and the weights as one file."""
    graph = model.graph.SerializeToString()
    heads = {name: tensor_header(name, array).SerializeToString() for name, array in tensors.items()}
    length = len(graph)
    for name, array in tensors.items():
        array = stored(array)
        inner = len(heads[name]) + len(_prefix(RAW_DATA, array.nbytes)) + array.nbytes
        length += len(_prefix(INITIALIZER, inner)) + inner
    shell = ModelProto()
    shell.CopyFrom(model)
    shell.ClearField("graph")
    with path.open("wb") as file:
        file.write(shell.SerializeToString() + _prefix(GRAPH, length) + graph)
        for name, array in tensors.items():
            array = stored(array)
            raw = _prefix(RAW_DATA, array.nbytes)
            file.write(_prefix(INITIALIZER, len(heads[name]) + len(raw) + array.nbytes) + heads[name] + raw)
            write_elements(file, array)


def write_external(model: ModelProto, tensors: Mapping[str, np.ndarray], path: Path, data: Path) -> None:
    """The weights into `data`, which `model`, written to `path`, names."""
    with data.open("wb") as file:
        for name, array in tensors.items():
            tensor = tensor_header(name, array)
            array = stored(array)
            if array.nbytes < 1024:
                tensor.raw_data = np.ascontiguousarray(array).tobytes()
            else:
                file.write(b"\0" * (-file.tell() % ALIGNMENT))
                tensor.data_location = TensorProto.EXTERNAL
                entries = {"location": data.name, "offset": str(file.tell()), "length": str(array.nbytes)}
                tensor.external_data.extend(
                    StringStringEntryProto(key=k, value=v) for k, v in entries.items()
                )
                write_elements(file, array)
            model.graph.initializer.append(tensor)
    path.write_bytes(model.SerializeToString())


def tensor_header(name: str, array: np.ndarray) -> TensorProto:
    """A TensorProto without its elements."""
    return TensorProto(name=name, dims=array.shape, data_type=ELEMENT_TYPES[array.dtype.name])


def stored(array: np.ndarray) -> np.ndarray:
    """What the file holds: codes of 4 bits two to a byte, the first one low; everything else as it is."""
    if array.dtype.name != "uint4":
        return array
    flat = array.reshape(-1).astype(np.uint8)
    flat = np.append(flat, np.uint8(0)) if len(flat) % 2 else flat
    return flat[::2] | flat[1::2] << 4


def write_elements(file: IO[bytes], array: np.ndarray) -> None:
    """The elements in C order, without a copy where they lie so."""
    for part in _parts(array):
        file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)


def _parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of an array that is not contiguous, so that only a part of it is copied at a time."""
    if array.size == 0:
        return
    if array.flags.c_contiguous or array.ndim < 2:
        yield array
        return
    rows = max(1, (1 << 24) * len(array) // array.nbytes)
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _prefix(field: int, length: int) -> bytes:
    """Tag and length of a length-delimited field."""
    return _varint(field << 3 | LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
