"""Ops that move elements without computing: reshapes, slices, joins, and the arrays made from sizes alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, size_as
from converters.sizes import AnySize, Shape, floor_divide, product


def _reshape_shape(x: Value, shape: Shape) -> Inferred:
    before, after = product(x.shape), product(shape)
    if before != after:
        raise ShapeError(f"{x.shape} has {before} elements, {shape} has {after}")
    return [(shape, x.dtype)]


def unit_change(before: Shape, after: Shape) -> list[int] | None:
    """The axes of one element that a reshape adds (places in `after`) or takes away (places in `before`),
    where it does nothing else."""
    if len(after) == len(before):
        return None
    short, long = (before, after) if len(after) > len(before) else (after, before)
    axes, rest = [], list(short)
    for axis, size in enumerate(long):
        if rest and rest[0] == size:
            rest.pop(0)
        elif size == 1:
            axes.append(axis)
        else:
            return None
    return None if rest else axes


def _concatenate_shape(*values: Value, axis: int) -> Inferred:
    shape = list(values[0].shape)
    shape[axis] = sum((value.shape[axis] for value in values[1:]), shape[axis])  # type: ignore[arg-type]
    return [(tuple(shape), values[0].dtype)]


def _split_shapes(x: Value, sizes: tuple[AnySize, ...], axis: int) -> Inferred:
    return [((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype) for size in sizes]


def _split(x: np.ndarray, sizes: tuple[int, ...], axis: int) -> tuple[np.ndarray, ...]:
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


def slice_length(start: AnySize, end: AnySize, stride: int) -> AnySize:
    """How many elements a slice has; bounds are normalised, an end of -1 is before the first element."""
    span = end - start if stride > 0 else start - end
    if isinstance(span, int):
        return max(0, -(-span // abs(stride)))
    return floor_divide(span + (abs(stride) - 1), abs(stride))


def _slice_shape(x: Value, start: Shape, end: Shape, strides: tuple[int, ...]) -> Inferred:
    return [(tuple(slice_length(*bounds) for bounds in zip(start, end, strides, strict=True)), x.dtype)]


def _slice(x: np.ndarray, start: Any, end: Any, strides: Any) -> np.ndarray:
    return x[tuple(slice(b, None if e < 0 else e, s) for b, e, s in zip(start, end, strides, strict=True))]


def _pad_shape(x: Value, value: Value, low: Shape, high: Shape) -> Inferred:
    return [(tuple(s + a + b for s, a, b in zip(x.shape, low, high, strict=True)), x.dtype)]


def _pad(x: np.ndarray, value: np.ndarray, low: Any, high: Any) -> np.ndarray:
    return np.pad(x, list(zip(low, high, strict=True)), constant_values=value[()])


def _expand_split(b: Builder, x: Value, sizes: tuple[AnySize, ...], axis: int) -> tuple[Value, ...]:
    """A slice for each part."""
    parts: list[Value] = []
    begin: AnySize = 0
    for size in sizes:
        start = tuple(begin if index == axis else 0 for index in range(len(x.shape)))
        end = tuple(begin + size if index == axis else whole for index, whole in enumerate(x.shape))
        parts.append(b("Slice", x, start=start, end=end, strides=(1,) * len(start)))
        begin = begin + size
    return tuple(parts)


def _expand_pad(b: Builder, x: Value, value: Value, low: Shape, high: Shape) -> Value:
    """Axis by axis joined to blocks of the value."""
    value = b("Reshape", value, shape=())
    for axis, sides in enumerate(zip(low, high, strict=True)):
        shapes = [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sides]
        blocks = [b("Broadcast", value, shape=shape) if shape[axis] != 0 else None for shape in shapes]
        parts = [part for part in (blocks[0], x, blocks[1]) if part is not None]
        x = b("Concatenate", *parts, axis=axis) if len(parts) > 1 else x
    return x


def _as_strided(x: np.ndarray, shape: Any, strides: Any, offset: int) -> np.ndarray:
    reach = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
    first, last = offset + sum(min(r, 0) for r in reach), offset + sum(max(r, 0) for r in reach)
    if all(shape) and (first < 0 or last >= x.size):
        raise ValueError(f"elements {first} to {last} of {x.size}")
    flat = np.ascontiguousarray(x).reshape(-1)[offset:]
    return np.lib.stride_tricks.as_strided(flat, shape, [s * x.itemsize for s in strides]).copy()


def _expand_as_strided(b: Builder, x: Value, shape: Shape, strides: Shape, offset: AnySize) -> Value:
    """Elements of the flat array at positions that are known, or computed from the sizes."""
    rank = len(shape)
    flat = b("Reshape", x, shape=(product(x.shape),))
    positions = size_as(b, offset, "int32")
    for axis, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        steps = b("Arange", start=0, step=1, size=size, dtype="int32")
        steps = b("Multiply", steps, size_as(b, stride, "int32"))
        spread = tuple(size if i == axis else 1 for i in range(rank))
        positions = b("Add", positions, b("Reshape", steps, shape=spread))
    return b("Gather", flat, positions, axis=0)


def _arange(start: Any, step: Any, size: int, dtype: str) -> np.ndarray:
    return (start + step * np.arange(size)).astype(numpy_dtype(dtype))


def _transpose_shape(x: Value, axes: tuple[int, ...]) -> Inferred:
    return [(tuple(x.shape[axis] for axis in axes), x.dtype)]


def inverse_permutation(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `axes`."""
    return tuple(int(i) for i in np.argsort(axes))


def _repeat(x: np.ndarray, repeats: tuple[int, ...]) -> np.ndarray:
    for axis, times in enumerate(repeats):
        x = np.repeat(x, times, axis) if times != 1 else x
    return x


def _repeat_shape(x: Value, repeats: tuple[int, ...]) -> Inferred:
    return [(tuple(size * times for size, times in zip(x.shape, repeats, strict=True)), x.dtype)]


def _expand_repeat(b: Builder, x: Value, repeats: tuple[int, ...]) -> Value:
    single, wide = [], []
    for size, times in zip(x.shape, repeats, strict=True):
        single += [size] if times == 1 else [size, 1]
        wide += [size] if times == 1 else [size, times]
    repeated = b("Broadcast", b("Reshape", x, shape=tuple(single)), shape=tuple(wide))
    return b("Reshape", repeated, shape=_repeat_shape(x, repeats)[0][0])


OPS = (
    Op("Reshape", ("shape",), lambda x, shape: x.reshape(shape), _reshape_shape),
    Op("Transpose", ("axes",), lambda x, axes: x.transpose(axes), _transpose_shape),
    Op(
        "Broadcast",
        ("shape",),
        lambda x, shape: np.broadcast_to(x, shape),
        lambda x, shape: [(shape, x.dtype)],
    ),
    Op("Repeat", ("repeats",), _repeat, _repeat_shape, _expand_repeat),
    Op("Concatenate", ("axis",), lambda *xs, axis: np.concatenate(xs, axis), _concatenate_shape),
    Op("Split", ("sizes", "axis"), _split, _split_shapes, _expand_split),
    Op("Slice", ("start", "end", "strides"), _slice, _slice_shape),
    Op("Pad", ("low", "high"), _pad, _pad_shape, _expand_pad),
    Op(
        "AsStrided",
        ("shape", "strides", "offset"),
        _as_strided,
        lambda x, shape, **_: [(shape, x.dtype)],
        _expand_as_strided,
    ),
    Op("Arange", ("start", "step", "size", "dtype"), _arange, lambda size, dtype, **_: [((size,), dtype)]),
    Op(
        "Dimension",
        ("size", "dtype"),
        lambda size, dtype: np.asarray(size, numpy_dtype(dtype)),
        lambda size, dtype: [((), dtype)],
    ),
)
