"""Gathers and scatters at int32 positions, which from iOS 17 on must not be negative."""

from __future__ import annotations

from typing import Any

from converters.graph import Node
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import Ref, Writer

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


RULES = {
    "Gather": Lowering(_gather),
    "GatherAxis": Lowering(_gather_axis),
    "GatherND": Lowering(_gather_nd),
    "ScatterND": Lowering(_scatter_nd),
    "ScatterAxis": Lowering(_scatter_axis),
}
