"""Ops that pick or replace elements at positions that are data, or inside a slice.

MLX's general Gather and Scatter are recorded as `Gather` (one axis), `GatherND` and `ScatterND` (leading axes
at the positions along the last axis of `indices`), which every target has. Indices are int32 or int64,
and may be negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, same, size_as
from converters.ops.shape import slice_length
from converters.sizes import AnySize, Shape, product

ELEMENTWISE = {"sum": "Add", "prod": "Multiply", "max": "Maximum", "min": "Minimum"}
UFUNCS: dict[str, Any] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def _gather_shape(x: Value, indices: Value, axis: int) -> Inferred:
    return [((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)]


def _gather_axis_shape(x: Value, indices: Value, axis: int) -> Inferred:
    if len(x.shape) != len(indices.shape):
        raise ShapeError(f"indices of shape {indices.shape} do not pick along axis {axis} of {x.shape}")
    return [(indices.shape, x.dtype)]


def _signed(indices: np.ndarray) -> np.ndarray:
    return indices.astype(np.int64)


def _gather_nd(x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return x[tuple(np.moveaxis(_signed(indices), -1, 0))]


def _gather_nd_shape(x: Value, indices: Value) -> Inferred:
    depth = indices.shape[-1]
    if not isinstance(depth, int) or depth > len(x.shape):
        raise ShapeError(f"positions of shape {indices.shape} do not index {x.shape}")
    return [((*indices.shape[:-1], *x.shape[depth:]), x.dtype)]


def _update(target: np.ndarray, where: Any, updates: np.ndarray, kind: str) -> np.ndarray:
    result: np.ndarray = np.array(target)
    if kind == "set":
        result[where] = updates
    else:
        UFUNCS[kind].at(result, where, updates)
    return result


def _scatter_nd(x: np.ndarray, indices: np.ndarray, updates: np.ndarray, kind: str) -> np.ndarray:
    return _update(x, tuple(np.moveaxis(_signed(indices), -1, 0)), updates, kind)


def _expand_scatter_nd(b: Builder, x: Value, indices: Value, updates: Value, kind: str) -> Value | None:
    """The indexed axes taken as one."""
    depth = len(x.shape) - (len(updates.shape) - len(indices.shape) + 1)
    count, rest = product(indices.shape[:-1]), x.shape[depth:]
    flat = b("Reshape", x, shape=(product(x.shape[:depth]), *rest))
    where = None
    for axis in range(depth):
        place = b("Reshape", along(b, indices, -1, axis, axis + 1, 1), shape=(count,))
        size = size_as(b, x.shape[axis], indices.dtype)
        if depth > 1:
            negative = b("Less", place, size_as(b, 0, indices.dtype))
            place = b("Select", negative, b("Add", place, size), place)
        where = place if where is None else b("Add", b("Multiply", where, size), place)
    if where is None:
        return None
    where = b("Reshape", where, shape=(count, *[1] * len(rest)))
    where = b("Broadcast", where, shape=(count, *rest))
    updates = b("Reshape", updates, shape=(count, *rest))
    y = b("ScatterAxis", flat, where, updates, kind=kind, axis=0)
    return b("Reshape", y, shape=x.shape)


def _scatter_axis(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, kind: str, axis: int
) -> np.ndarray:
    where: list[Any] = list(np.indices(indices.shape, sparse=True))
    where[axis] = _signed(indices)
    return _update(x, tuple(where), np.broadcast_to(updates, indices.shape), kind)


def _masked_scatter(x: np.ndarray, mask: np.ndarray, source: np.ndarray) -> np.ndarray:
    result: Any = np.array(x)
    for index, chosen in enumerate(mask):
        result[index][chosen] = source[index].reshape(-1)[: chosen.sum()]
    return result


def _expand_masked_scatter(b: Builder, x: Value, mask: Value, source: Value) -> Value:
    """The n-th true element takes the n-th of the source, row by row."""
    rows, count, available = x.shape[0], product(x.shape[1:]), product(source.shape[1:])
    chosen = b("Reshape", mask, shape=(rows, count))
    order = b(
        "Scan",
        b("AsType", chosen, dtype="int32"),
        kind="sum",
        axis=1,
        reverse=False,
        inclusive=False,
        dtype="int32",
    )
    order = b("Minimum", order, size_as(b, available - 1, "int32"))
    values = b("GatherAxis", b("Reshape", source, shape=(rows, available)), order, axis=1)
    y = b("Select", chosen, values, b("Reshape", x, shape=(rows, count)))
    return b("Reshape", y, shape=x.shape)


def _window(start: Any, end: Any, strides: Any) -> tuple[slice, ...]:
    return tuple(slice(a, None if z < 0 else z, s) for a, z, s in zip(start, end, strides, strict=True))


def _slice_update(
    x: np.ndarray, update: np.ndarray, kind: str, start: Any, end: Any, strides: Any
) -> np.ndarray:
    result: np.ndarray = np.array(x)
    where = _window(start, end, strides)
    update = np.broadcast_to(update, result[where].shape)
    result[where] = update if kind == "set" else UFUNCS[kind](result[where], update)
    return result


def _expand_slice_update(
    b: Builder,
    x: Value,
    update: Value,
    kind: str,
    start: Shape,
    end: Shape,
    strides: tuple[int, ...],
) -> Value:
    shape = tuple(slice_length(*bounds) for bounds in zip(start, end, strides, strict=True))
    if 0 in shape:
        return x
    if update.shape != shape:
        update = b("Broadcast", update, shape=shape)
    if kind != "set":
        current = b("Slice", x, start=start, end=end, strides=strides)
        update = b(ELEMENTWISE[kind], current, update)
    return _replace_slice(b, x, update, start, end, strides, 0)


def _replace_slice(
    b: Builder, x: Value, update: Value, start: Shape, end: Shape, strides: tuple[int, ...], axis: int
) -> Value:
    """Axis by axis: what lies inside the slice is replaced in turn, then joined to what lies around it."""
    if 0 in update.shape:
        return x
    while axis < len(x.shape) and (start[axis], end[axis], strides[axis]) == (0, x.shape[axis], 1):
        axis += 1
    if axis == len(x.shape):
        return update
    inside = along(b, x, axis, start[axis], end[axis], strides[axis])
    inside = _replace_slice(b, inside, update, start, end, strides, axis + 1)
    if strides[axis] != 1:
        indices = b("Arange", start=start[axis], step=strides[axis], size=inside.shape[axis], dtype="int32")
        return replace_along(b, x, inside, indices, axis)
    before = along(b, x, axis, 0, start[axis], 1)
    after = along(b, x, axis, end[axis], x.shape[axis], 1)
    parts = [part for part in (before, inside, after) if part.shape[axis] != 0]
    return parts[0] if len(parts) == 1 else b("Concatenate", *parts, axis=axis)


def along(b: Builder, x: Value, axis: int, start: AnySize, end: AnySize, stride: int) -> Value:
    """A slice of one axis."""
    rank = len(x.shape)
    axis %= rank
    starts = tuple(start if i == axis else 0 for i in range(rank))
    ends = tuple(end if i == axis else size for i, size in enumerate(x.shape))
    return b(
        "Slice", x, start=starts, end=ends, strides=tuple(stride if i == axis else 1 for i in range(rank))
    )


def replace_along(b: Builder, x: Value, update: Value, indices: Value, axis: int) -> Value:
    """x with the places `indices` (a vector) of one axis replaced by `update`."""
    order = (axis, *(i for i in range(len(x.shape)) if i != axis))
    positions = b("Reshape", indices, shape=(indices.shape[0], 1))
    if axis == 0:
        return b("ScatterND", x, positions, update, kind="set")
    moved = [b("Transpose", value, axes=order) for value in (x, update)]
    y = b("ScatterND", moved[0], positions, moved[1], kind="set")
    return b("Transpose", y, axes=tuple(int(i) for i in np.argsort(order)))


def _dynamic_window(start: np.ndarray, axes: Any, sizes: Any) -> tuple[slice, ...]:
    where = [slice(0, size) for size in sizes]
    for axis, first in zip(axes, start.reshape(-1).tolist(), strict=True):
        where[axis] = slice(first, first + sizes[axis])
    return tuple(where)


def _dynamic_slice(x: np.ndarray, start: np.ndarray, axes: Any, sizes: Any) -> np.ndarray:
    return x[_dynamic_window(start, axes, sizes)]


def _dynamic_slice_update(x: np.ndarray, update: np.ndarray, start: np.ndarray, axes: Any) -> np.ndarray:
    result = np.array(x)
    result[_dynamic_window(start, axes, update.shape)] = update
    return result


def positions_from(b: Builder, start: Value, index: int, size: AnySize) -> Value:
    """The vector start[index], start[index] + 1, … of `size` int32 elements."""
    flat = b("Reshape", start, shape=(product(start.shape),))
    first = b("Slice", flat, start=(index,), end=(index + 1,), strides=(1,))
    first = first if first.dtype == "int32" else b("AsType", first, dtype="int32")
    return b("Add", b("Arange", start=0, step=1, size=size, dtype="int32"), first)


def _expand_dynamic_slice(b: Builder, x: Value, start: Value, axes: Any, sizes: Shape) -> Value:
    for axis, size in enumerate(sizes):
        if axis not in axes and size != x.shape[axis]:
            x = along(b, x, axis, 0, size, 1)
    for index, axis in enumerate(axes):
        x = b("Gather", x, positions_from(b, start, index, sizes[axis]), axis=axis)
    return x


def _expand_dynamic_slice_update(b: Builder, x: Value, update: Value, start: Value, axes: Any) -> Value:
    cut = [axis for axis, size in enumerate(update.shape) if size != x.shape[axis]]
    places = {axis: positions_from(b, start, index, update.shape[axis]) for index, axis in enumerate(axes)}
    for axis in cut:
        if axis not in places:
            places[axis] = b("Arange", start=0, step=1, size=update.shape[axis], dtype="int32")
    inner, chain = x, []
    for axis in sorted(places):
        chain.append((axis, inner))
        inner = b("Gather", inner, places[axis], axis=axis)
    result = update
    for axis, outer in reversed(chain):
        result = replace_along(b, outer, result, places[axis], axis)
    return result


def _search_sorted(x: np.ndarray, values: np.ndarray, right: bool) -> np.ndarray:
    side = "right" if right else "left"
    if x.dtype.kind not in "iub":
        x, values = x.astype(np.float64), values.astype(np.float64)
    return np.searchsorted(x, values, side=side).astype(np.uint32)


def _expand_search_sorted(b: Builder, x: Value, values: Value, right: bool) -> Value:
    """How many elements lie before each value, counted; nan comes last."""
    each = b("Reshape", values, shape=(*values.shape, 1))

    def before(first: Value, second: Value) -> Value:
        less = b("Less", first, second)
        if x.dtype not in ("float16", "bfloat16", "float32"):
            return less
        last = b("LogicalAnd", b("NotEqual", second, second), b("Equal", first, first, equal_nan=False))
        return b("LogicalOr", less, last)

    counted = b("LogicalNot", before(each, x)) if right else before(x, each)
    ones = b("AsType", counted, dtype="int32")
    total = b("Reduce", ones, kind="sum", axes=(len(values.shape),), keepdims=False, dtype="int32")
    return b("AsType", total, dtype="uint32")


OPS = (
    Op("Gather", ("axis",), lambda x, i, axis: np.take(x, _signed(i), axis=axis), _gather_shape),
    Op(
        "GatherAxis",
        ("axis",),
        lambda x, i, axis: np.take_along_axis(x, _signed(i), axis=axis),
        _gather_axis_shape,
    ),
    Op("GatherND", (), _gather_nd, _gather_nd_shape),
    Op("ScatterND", ("kind",), _scatter_nd, same, _expand_scatter_nd),
    Op("ScatterAxis", ("kind", "axis"), _scatter_axis, same),
    Op("MaskedScatter", (), _masked_scatter, same, _expand_masked_scatter),
    Op("SliceUpdate", ("kind", "start", "end", "strides"), _slice_update, same, _expand_slice_update),
    Op(
        "DynamicSlice",
        ("axes", "sizes"),
        _dynamic_slice,
        lambda x, start, axes, sizes: [(sizes, x.dtype)],
        _expand_dynamic_slice,
    ),
    Op("DynamicSliceUpdate", ("axes",), _dynamic_slice_update, same, _expand_dynamic_slice_update),
    Op(
        "SearchSorted",
        ("right",),
        _search_sorted,
        lambda x, values, right: [(values.shape, "uint32")],
        _expand_search_sorted,
    ),
)
