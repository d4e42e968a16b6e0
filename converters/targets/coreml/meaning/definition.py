"""What the entries of the tables of meanings are, and what the functions in them share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.errors import LoadError

ELEMENTS_MAX = 1 << 30  # of one tensor: what is larger is taken for damage

# Names of types as `cast` and its kin write them.
DTYPES = {
    "fp16": "float16", "fp32": "float32", "fp64": "float64", "int8": "int8", "uint8": "uint8",
    "int16": "int16", "uint16": "uint16", "int32": "int32", "uint32": "uint32", "int64": "int64",
    "bool": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Meaning:
    """An operation's meaning.

    Attributes:
        compute: takes the operation's parameters by name, float16 already widened to float32, and returns the
            output or a tuple of outputs; they are rounded to their dtypes afterwards.
        dtype: whose dtype the outputs have: the name of a parameter, or "=" and a dtype, one per output where
            they differ; or a function of the parameters as they were given.
        same: parameters that must have the same dtype.
        allowed: dtypes that `same`, or else the parameter named by `dtype`, may have; empty allows all.
        versioned: `compute` takes the iOS version as `ios`.
        moves: elements are only moved: nothing is widened, nothing rounded.
    """

    compute: Callable[..., Any]
    dtype: str | tuple[str, ...] | Callable[..., tuple[str, ...]] = "x"
    same: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()
    versioned: bool = False
    moves: bool = False


FLOATS = frozenset({"float16", "float32"})
NUMBERS = FLOATS | {"int32"}


def ints(values: Any, length: int | None = None) -> list[int]:
    """A small tensor of integers as a list; ValueError where it is not of `length`."""
    array = np.asarray(values)
    if array.ndim > 1 or array.dtype.kind not in "iub":
        raise ValueError(f"integers expected, got {array.dtype.name} of shape {array.shape}")
    result = [int(value) for value in array.reshape(-1)]
    if length is not None and len(result) != length:
        raise ValueError(f"{length} integers expected, got {len(result)}")
    return result


def axis_of(axis: Any, rank: int) -> int:
    """`axis` counted from the front; ValueError where there is no such axis."""
    index = int(axis)
    if not -rank <= index < rank:
        raise ValueError(f"axis {index} of rank {rank}")
    return index % rank if rank else 0


def axes_of(axes: Any, rank: int) -> tuple[int, ...]:
    """Several axes counted from the front, each at most once."""
    result = tuple(axis_of(axis, rank) for axis in ints(axes))
    if len(set(result)) != len(result):
        raise ValueError(f"axes {result} repeat")
    return result


def limited(shape: Iterable[int]) -> tuple[int, ...]:
    """`shape`, or LoadError where a tensor of that shape is beyond what is plausible."""
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes):
        raise ValueError(f"a tensor of shape {sizes}")
    if math.prod(sizes) > ELEMENTS_MAX:
        raise LoadError(f"a tensor of shape {sizes} is too large")
    return sizes


def limited_broadcast(*arrays: np.ndarray) -> tuple[int, ...]:
    """The common shape of arrays, checked as `limited` does; ValueError where there is none."""
    return limited(np.broadcast_shapes(*(array.shape for array in arrays)))


def chosen(value: str, allowed: Sequence[str]) -> str:
    """`value`, which must be one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return value
