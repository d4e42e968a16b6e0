"""Gathers and scatters: Gather and GatherElements take int32 positions, the ND forms int64 ones."""

from __future__ import annotations

from converters.graph import Node, Value
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.writer import ELEMENT_TYPES, Writer

REDUCTIONS = {"set": "none", "sum": "add", "prod": "mul", "max": "max", "min": "min"}


def _gather(w: Writer, node: Node) -> None:
    w.emit("Gather", node, axis=node.attrs["axis"])


def _gather_axis(w: Writer, node: Node) -> None:
    w.emit("GatherElements", node, axis=node.attrs["axis"])


def _long(w: Writer, value: Value) -> str:
    """Positions as int64."""
    if value in w.graph.constants:
        return w.constant(w.graph.constants[value], "int64", name=w.name(value))
    return (
        w.name(value) if value.dtype == "int64" else w.node("Cast", w.name(value), to=ELEMENT_TYPES["int64"])
    )


def _gather_nd(w: Writer, node: Node) -> None:
    x, indices = node.inputs
    w.give("GatherND", [w.name(x), _long(w, indices)], [w.name(node.output)])


def _refuse_scatter_nd(opset: int, node: Node) -> str | None:
    if node.attrs["kind"] != "set":
        return "onnxruntime's threads lose updates where places are equal; ScatterElements loses none"
    return None


def _refuse_scatter_axis(opset: int, node: Node) -> str | None:
    if opset < 18 and node.attrs["kind"] in ("max", "min"):
        return "scattering by maximum or minimum came with opset 18"
    return None


def _scatter_nd(w: Writer, node: Node) -> None:
    x, indices, updates = node.inputs
    operands = [w.name(x), _long(w, indices), w.name(updates)]
    w.give("ScatterND", operands, [w.name(node.output)])


def _scatter_axis(w: Writer, node: Node) -> None:
    w.emit("ScatterElements", node, axis=node.attrs["axis"], reduction=REDUCTIONS[node.attrs["kind"]])


def _dynamic_slice(w: Writer, node: Node) -> None:
    x, start = node.inputs
    axes, sizes = node.attrs["axes"], node.attrs["sizes"]
    first = w.node("Reshape", _long(w, start), w.int64([len(axes)]))
    last = w.node("Add", first, w.shape(tuple(sizes[axis] for axis in axes)))
    w.give("Slice", [w.name(x), first, last, w.int64(axes)], [w.name(node.output)])


def _refuse_dynamic_slice(opset: int, node: Node) -> str | None:
    x, sizes = node.inputs[0], node.attrs["sizes"]
    whole = all(x.shape[axis] == size for axis, size in enumerate(sizes) if axis not in node.attrs["axes"])
    return None if whole and node.attrs["axes"] else "it also cuts at the end of other axes"


def _refuse_dynamic_update(opset: int, node: Node) -> str | None:
    x, update, _ = node.inputs
    cut = [axis for axis, size in enumerate(update.shape) if size != x.shape[axis]]
    return None if cut == list(node.attrs["axes"]) and len(cut) == 1 else "it replaces a part of several axes"


def _dynamic_update(w: Writer, node: Node) -> None:
    """What lies before, the update, what lies after."""
    x, update, start = node.inputs
    (axis,) = node.attrs["axes"]
    first = w.node("Reshape", _long(w, start), w.int64([1]))
    last = w.node("Add", first, w.shape((update.shape[axis],)))
    before = w.node("Slice", w.name(x), w.int64([0]), first, w.int64([axis]))
    after = w.node("Slice", w.name(x), last, w.int64([2**62]), w.int64([axis]))
    w.give("Concat", [before, w.name(update), after], [w.name(node.output)], axis=axis)


RULES = {
    "Gather": Lowering(_gather),
    "GatherAxis": Lowering(_gather_axis),
    "GatherND": Lowering(_gather_nd),
    "ScatterND": Lowering(_scatter_nd, _refuse_scatter_nd),
    "ScatterAxis": Lowering(_scatter_axis, _refuse_scatter_axis),
    "DynamicSlice": Lowering(_dynamic_slice, _refuse_dynamic_slice),
    "DynamicSliceUpdate": Lowering(_dynamic_update, _refuse_dynamic_update),
}
