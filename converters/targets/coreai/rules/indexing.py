"""Gathers and scatters at signed positions, and slices that begin where an input says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from converters.dtypes import is_integer
from converters.graph import Node, Value
from converters.sizes import Shape
from converters.targets.coreai.beta import Handle, shape_of
from converters.targets.coreai.rules.lowering import Lowering
from converters.targets.coreai.rules.whole import converted
from converters.targets.coreai.writer import Writer

Scattered = Callable[[Handle, Handle, str], Handle]
MODES = {"set": "update", "sum": "add", "prod": "mul", "max": "max", "min": "min"}


def signed(w: Writer, value: Value) -> Handle:
    """Positions as the operations take them, in at most 32 bits with a sign."""
    if value.dtype in ("int8", "int16", "int32"):
        return w.ref(value)
    return w.constant(w.known[value], "int32") if value in w.known else w.cast(w.ref(value), "int32")


def widened(w: Writer, handle: Handle, before: Shape, after: Shape) -> Handle:
    """An array repeated to a shape."""
    return handle if before == after else w.op("BroadcastTo", handle, w.shape(after, unsigned=True))


def _gather(w: Writer, node: Node) -> None:
    """Along the first axis; another one is brought there and back."""
    x, indices = node.inputs
    axis, rank, many = node.attrs["axis"], len(x.shape), len(indices.shape)
    front = w.transposed(w.ref(x), (axis, *(i for i in range(rank) if i != axis)))
    column = (*indices.shape, 1)
    if indices in w.known:
        places = w.constant(w.known[indices][..., None].astype(np.int32))
    else:
        places = w.reshaped(signed(w, indices), indices.shape, column)
    y = w.op("GatherNd", front, places)
    back = (*range(many, many + axis), *range(many), *range(many + axis, many + rank - 1))
    w.give(node.output, w.transposed(y, back))


def _gather_axis(w: Writer, node: Node) -> None:
    x, indices = node.inputs
    axis = node.attrs["axis"]
    shape = (*indices.shape[:axis], x.shape[axis], *indices.shape[axis + 1 :])
    source = widened(w, w.ref(x), x.shape, shape)
    w.give(node.output, w.op("GatherAlongAxis", source, signed(w, indices), np.int32(axis)))


def _gather_nd(w: Writer, node: Node) -> None:
    x, indices = node.inputs
    w.give(node.output, w.op("GatherNd", w.ref(x), signed(w, indices)))


def _scatter_nd(w: Writer, node: Node) -> None:
    x, indices, updates = node.inputs
    shape = (*indices.shape[:-1], *x.shape[indices.shape[-1] :])  # type: ignore[misc]
    given = widened(w, w.ref(updates), updates.shape, shape)
    target = w.ref(x)
    y = w.op("ScatterNd", target, signed(w, indices), given, result=(x.dtype, shape_of(target)))
    w.give(node.output, y)


def _refuse_scatter_axis(node: Node) -> str | None:
    whole = node.attrs["kind"] == "prod" and is_integer(node.output.dtype)
    return "products of integers, which may not wrap around" if whole else None


def _refuse_scatter_nd(node: Node) -> str | None:
    return None if node.attrs["kind"] == "set" else "it only replaces"


def _scatter_axis(w: Writer, node: Node) -> None:
    """Where the indices end before the other axes do, the rest of the array stays."""
    x, indices, updates = node.inputs
    axis, target = node.attrs["axis"], w.ref(x)
    given = widened(w, w.ref(updates), updates.shape, indices.shape)
    part = tuple(x.shape[i] if i == axis else size for i, size in enumerate(indices.shape))
    bounds = [np.zeros(len(part), np.int32), w.shape(part), np.ones(len(part), np.int32)]
    whole = part == x.shape
    inner = target if whole else w.op("Slice", target, *bounds)
    mode = f"#coreai.scatter_mode<{MODES[node.attrs['kind']]}>"
    places = signed(w, indices)

    def scattered(target: Handle, updates: Handle, dtype: str) -> Handle:
        operands = (target, places, updates, np.int32(axis))
        return w.op("ScatterAlongAxis", *operands, result=(dtype, shape_of(target)), scatter_mode=mode)

    wraps = node.attrs["kind"] == "sum" and is_integer(x.dtype)
    y = _wrapping(w, scattered, inner, given, x.dtype) if wraps else scattered(inner, given, x.dtype)
    w.give(node.output, y if whole else w.op("SliceUpdate", target, *bounds, y))


def _wrapping(w: Writer, scattered: Scattered, x: Handle, updates: Handle, dtype: str) -> Handle:
    """Sums of integers in 64 bits, those of 64 bits in two halves: a sum that passes the limits of its type
    ends the process."""
    if not dtype.endswith("64"):
        target, added = (converted(w, handle, dtype, "int64") for handle in (x, updates))
        return converted(w, scattered(target, added, "int64"), "int64", dtype)
    half, mask = w.constant(2**32, dtype), w.constant(2**32 - 1, dtype)
    low = (w.op("BroadcastingBitwiseAnd", handle, mask) for handle in (x, updates))
    high = (w.op("BroadcastingFloorDivide", handle, half) for handle in (x, updates))
    lower, upper = (scattered(target, added, dtype) for target, added in (tuple(low), tuple(high)))
    return w.op("BroadcastingAdd", w.op("BroadcastingMul", upper, half), lower)


def _bounds(w: Writer, start: Value, axes: Sequence[int], sizes: Shape) -> tuple[Any, Any]:
    """Vectors of where a window begins and ends along every axis."""
    if start not in w.known:
        first = _begin(w, start, axes, len(sizes))
        return first, w.op("BroadcastingAdd", first, w.shape(sizes))
    places = dict(zip(axes, w.known[start].reshape(-1).tolist(), strict=True))
    begin = tuple(places.get(axis, 0) for axis in range(len(sizes)))
    return w.shape(begin), w.shape(tuple(a + size for a, size in zip(begin, sizes, strict=True)))


def _begin(w: Writer, start: Value, axes: Sequence[int], rank: int) -> Handle:
    places = {axis: index for index, axis in enumerate(axes)}
    flat = w.reshaped(w.ref(start), start.shape, (len(axes),))
    flat = flat if start.dtype == "int32" else w.cast(flat, "int32")
    parts: list[Any] = []
    for axis in range(rank):
        if axis not in places:
            parts.append(w.constant(np.zeros(1, np.int32)))
            continue
        bounds = [np.array([places[axis] + more], np.int32) for more in (0, 1)]
        parts.append(w.op("Slice", flat, *bounds, np.ones(1, np.int32)))
    return w.op("Concat", np.int32(0), parts) if rank > 1 else parts[0]


def _dynamic_slice(w: Writer, node: Node) -> None:
    x, start = node.inputs
    rank, sizes = len(x.shape), node.attrs["sizes"]
    first, last = _bounds(w, start, node.attrs["axes"], sizes)
    w.give(node.output, w.op("Slice", w.ref(x), first, last, np.ones(rank, np.int32)))


def _dynamic_update(w: Writer, node: Node) -> None:
    x, update, start = node.inputs
    rank = len(x.shape)
    first, last = _bounds(w, start, node.attrs["axes"], update.shape)
    w.give(node.output, w.op("SliceUpdate", w.ref(x), first, last, np.ones(rank, np.int32), w.ref(update)))


def _refuse_constant_start(node: Node) -> str | None:
    return None if node.attrs["axes"] else "it begins where the array does"


def _slice_update(w: Writer, node: Node) -> None:
    from converters.ops.shape import slice_length

    x, update = node.inputs
    bounds = [node.attrs[name] for name in ("start", "end", "strides")]
    shape = tuple(slice_length(*one) for one in zip(*bounds, strict=True))
    given = widened(w, w.ref(update), update.shape, shape)
    handles = [w.shape(bound) for bound in bounds]
    w.give(node.output, w.op("SliceUpdate", w.ref(x), *handles, given))


def _refuse_slice_update(node: Node) -> str | None:
    if node.attrs["kind"] != "set":
        return "it only replaces"
    return "backwards" if min(node.attrs["strides"]) < 0 else None


RULES = {
    "Gather": Lowering(_gather),
    "GatherAxis": Lowering(_gather_axis),
    "GatherND": Lowering(_gather_nd),
    "ScatterND": Lowering(_scatter_nd, _refuse_scatter_nd),
    "ScatterAxis": Lowering(_scatter_axis, _refuse_scatter_axis),
    "DynamicSlice": Lowering(_dynamic_slice, _refuse_constant_start),
    "DynamicSliceUpdate": Lowering(_dynamic_update, _refuse_constant_start),
    "SliceUpdate": Lowering(_slice_update, _refuse_slice_update),
}
