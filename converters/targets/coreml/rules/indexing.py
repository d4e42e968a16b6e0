"""Gathers and scatters at int32 positions, which from iOS 17 on must not be negative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.graph import Node, Value
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import Ref, Writer, slice_defaults

MODES = {"set": "update", "sum": "add", "prod": "mul", "max": "max", "min": "min"}


def unchecked(w: Writer) -> dict[str, Any]:
    """The parameter by which newer systems would check the positions."""
    return {"validate_indices": False} if w.ios >= 17 else {}


def _gather(w: Writer, node: Node) -> None:
    x, indices = (w.ref(value) for value in node.inputs)
    batch = {"batch_dims": 0} if w.ios >= 16 else {}
    w.emit("gather", node, x=x, indices=indices, axis=node.attrs["axis"], **batch, **unchecked(w))


def _gather_axis(w: Writer, node: Node) -> None:
    x, indices = node.inputs
    axis = node.attrs["axis"]
    shape = (*indices.shape[:axis], x.shape[axis], *indices.shape[axis + 1 :])
    source = w.widened(w.ref(x), x.shape, shape, x.dtype)
    w.emit("gather_along_axis", node, x=source, indices=w.ref(indices), axis=axis, **unchecked(w))


def _gather_nd(w: Writer, node: Node) -> None:
    x, indices = (w.ref(value) for value in node.inputs)
    batch = {"batch_dims": 0} if w.ios >= 16 else {}
    w.emit("gather_nd", node, x=x, indices=indices, **batch, **unchecked(w))


def _scatter_nd(w: Writer, node: Node) -> None:
    x, indices, updates = node.inputs
    mode = MODES[node.attrs["kind"]]
    shape = (*indices.shape[:-1], *x.shape[indices.shape[-1] :])  # type: ignore[misc]
    given = w.widened(w.ref(updates), updates.shape, shape, updates.dtype)
    w.emit(
        "scatter_nd", node, data=w.ref(x), indices=w.ref(indices), updates=given, mode=mode, **unchecked(w)
    )


def _scatter_axis(w: Writer, node: Node) -> None:
    x, indices, updates = node.inputs
    given: Ref = w.widened(w.ref(updates), updates.shape, indices.shape, updates.dtype)
    w.emit(
        "scatter_along_axis",
        node,
        data=w.ref(x),
        indices=w.ref(indices),
        updates=given,
        axis=node.attrs["axis"],
        mode=MODES[node.attrs["kind"]],
        **unchecked(w),
    )


def _begin(w: Writer, start: Value, axes: Sequence[int], rank: int) -> Ref:
    """A vector of where a window begins along every axis."""
    flat = w.op("reshape", (len(axes),), "int32", x=w.ref(start), shape=np.array([-1], np.int32))
    places = dict(zip(axes, range(len(axes)), strict=True))
    parts = [
        w.size(0) if axis not in places else _entry(w, flat, places[axis], len(axes)) for axis in range(rank)
    ]
    return w.op("concat", (rank,), "int32", values=parts, axis=0, interleave=False) if rank > 1 else parts[0]


def _entry(w: Writer, vector: Ref, index: int, count: int) -> Ref:
    if count == 1:
        return vector
    bounds = {"begin": np.array([index], np.int32), "end": np.array([index + 1], np.int32)}
    return w.op("slice_by_index", (1,), "int32", name="start", x=vector, **bounds, **slice_defaults(1))


def _dynamic_slice(w: Writer, node: Node) -> None:
    x, start = node.inputs
    begin = _begin(w, start, node.attrs["axes"], len(x.shape))
    w.emit("slice_by_size", node, x=w.ref(x), begin=begin, size=w.shape(node.attrs["sizes"]))


def _dynamic_update(w: Writer, node: Node) -> None:
    x, update, start = node.inputs
    rank = len(x.shape)
    begin = _begin(w, start, node.attrs["axes"], rank)
    end = w.op("add", (rank,), "int32", name="end", x=begin, y=w.shape(update.shape))
    w.emit(
        "slice_update", node, x=w.ref(x), update=w.ref(update), begin=begin, end=end, **slice_defaults(rank)
    )


def _refuse_old(ios: int, node: Node) -> str | None:
    return None if ios >= 18 else "slice_update came with iOS 18"


RULES = {
    "Gather": Lowering(_gather),
    "GatherAxis": Lowering(_gather_axis),
    "GatherND": Lowering(_gather_nd),
    "ScatterND": Lowering(_scatter_nd),
    "ScatterAxis": Lowering(_scatter_axis),
    "DynamicSlice": Lowering(_dynamic_slice),
    "DynamicSliceUpdate": Lowering(_dynamic_update, _refuse_old),
}
