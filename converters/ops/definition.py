"""What an entry of the op tables is, and the shape rules that many entries share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.sizes import AnySize, Shape

Inferred = list[tuple[Shape, str]]
Expansion = Callable[..., "Value | tuple[Value, ...] | None"]


@dataclass(frozen=True)
class Op:
    """One op of the representation.

    Attributes:
        name: MLX's primitive name, or for fused ops the name in `mx.fast` or `mlx.nn`.
        attrs: the names of its attributes.
        meaning: NumPy arrays and attributes to the result (a tuple where there are several).
        infer: values and attributes to [(shape, dtype)] of the outputs.
        expand: builder, values and attributes to the same result in simpler ops (None where this case
        has none); None for a primitive op.
    """

    name: str
    attrs: tuple[str, ...]
    meaning: Callable[..., Any]
    infer: Callable[..., Inferred]
    expand: Expansion | None = None

    def evaluate(self, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
        """The outputs for concrete arrays; bfloat16 and float16 are rounded once, after the op."""
        with np.errstate(all="ignore"):
            results = self.meaning(*arrays, **attrs)
        return tuple(np.asarray(r) for r in (results if isinstance(results, tuple) else (results,)))


def broadcast(*shapes: Shape) -> Shape:
    """NumPy's broadcasting rule, for shapes with named sizes."""
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[AnySize] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size == 1 or size == result[axis]:
                continue
            if result[axis] != 1:
                raise ShapeError(f"shapes {', '.join(map(str, shapes))} do not broadcast")
            result[axis] = size
    return tuple(result)


def same(x: Value, *_: Value, **__: Any) -> Inferred:
    """Shape and type of the first operand."""
    return [(x.shape, x.dtype)]


def broadcasting(*values: Value, **_: Any) -> Inferred:
    """Operands broadcast, the type is the last operand's (the first may be a condition)."""
    return [(broadcast(*(value.shape for value in values)), values[-1].dtype)]


def comparing(*values: Value, **_: Any) -> Inferred:
    """Operands broadcast, the result is bool."""
    return [(broadcast(*(value.shape for value in values)), "bool")]


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """A meaning computed in float32 (float64 for float64) and rounded once to the first operand's type."""

    def rounded(*arrays: np.ndarray, **attrs: Any) -> Any:
        dtype = arrays[0].dtype
        wide = [a.astype(np.float32) if a.dtype in _NARROW else a for a in arrays]
        return np.asarray(function(*wide, **attrs)).astype(dtype)

    return rounded


_NARROW = (np.dtype(np.float16), numpy_dtype("bfloat16"))


def positive_axis(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis


def scalar(builder: Builder, value: Any, like: Value) -> Value:
    """A rank-0 constant of the type of `like`."""
    return builder.constant(np.asarray(value), dtype=like.dtype)


def size_as(builder: Builder, size: AnySize, dtype: str) -> Value:
    """A rank-0 value that holds a size, known now or when the artefact runs."""
    if isinstance(size, int):
        return builder.constant(size, dtype=dtype)
    return builder("Dimension", size=size, dtype=dtype)
