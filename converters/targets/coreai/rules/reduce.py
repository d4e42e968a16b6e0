"""Reductions, scans, sorting. Reduced axes are kept with one element, and taken away afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import UNSIGNED, is_float, is_integer, numpy_dtype
from converters.graph import Node
from converters.ops.reduce import scan_identity
from converters.targets.coreai.beta import Handle
from converters.targets.coreai.rules.lowering import Lowering
from converters.targets.coreai.rules.whole import converted
from converters.targets.coreai.writer import Writer

KINDS = {
    "sum": "ReduceSum",
    "prod": "ReduceProduct",
    "mean": "ReduceMean",
    "max": "ReduceMax",
    "min": "ReduceMin",
}
QUANTIFIERS = {"and": "All", "or": "Any", "min": "All", "max": "Any"}
COMBINERS = {"sum": 0, "prod": 1, "min": 2, "max": 3}
HALVES = ("float16", "bfloat16")


def _reduce(w: Writer, node: Node) -> None:
    kind, axes, dtype = node.attrs["kind"], node.attrs["axes"], node.output.dtype
    x, before = w.ref(node.inputs[0]), node.inputs[0].dtype
    if kind in ("and", "or") or (kind in ("min", "max") and before == "bool"):
        x, before, name = x if before == "bool" else w.cast(x, "bool"), "bool", QUANTIFIERS[kind]
    else:
        wide = "float32" if dtype in HALVES and kind in ("sum", "prod", "mean") else dtype
        x, before, name = converted(w, x, before, wide), wide, KINDS[kind]
    y = w.op(name, x, np.array(axes, np.int32)) if axes else x
    w.give(node.output, _without_axes(w, converted(w, y, before, dtype), node))


def _without_axes(w: Writer, y: Handle, node: Node) -> Handle:
    axes = node.attrs["axes"] if "axes" in node.attrs else (node.attrs["axis"],)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(node.inputs[0].shape))
    return y if node.attrs["keepdims"] else w.reshaped(y, kept, node.output.shape)


def _arg_reduce(w: Writer, node: Node) -> None:
    """The first of the extremes, or of nan where there is one; the least is the largest of the opposite."""
    x, dtype = w.ref(node.inputs[0]), node.inputs[0].dtype
    axis = np.int32(node.attrs["axis"])
    if dtype == "bool":
        x, dtype = w.cast(x, "uint8"), "uint8"
    given = x
    if node.attrs["kind"] == "min":
        if is_float(dtype):
            x = w.op("BroadcastingMul", x, w.constant(-1, dtype))
        else:
            most = np.iinfo(dtype).max if dtype in UNSIGNED else -1
            x = w.op("BroadcastingSub", w.constant(most, dtype), x)
    y = w.op("Argmax", x, axis)
    if is_float(dtype):
        flags = w.op("NotEqual", given, given)
        first = w.op("Argmax", w.cast(flags, "uint8"), axis)
        anywhere = w.op("Any", flags, np.array([node.attrs["axis"]], np.int32))
        y = w.op("BroadcastingWhere", anywhere, first, y)
    w.give(node.output, _without_axes(w, converted(w, y, "uint32", node.output.dtype), node))


def _softmax(w: Writer, node: Node) -> None:
    w.give(node.output, w.op("Softmax", w.ref(node.inputs[0]), np.int32(node.attrs["axis"])))


def _refuse_scan(node: Node) -> str | None:
    """Running sums of integers end the process where they pass the limits of their type."""
    kind, whole = node.attrs["kind"], is_integer(node.output.dtype)
    if kind not in COMBINERS or (kind == "prod" and whole):
        return f"a running {kind}"
    size = node.inputs[0].shape[node.attrs["axis"]]
    return "it may not wrap around" if kind == "sum" and whole and isinstance(size, int) else None


def _scan(w: Writer, node: Node) -> None:
    x, attrs, dtype = node.inputs[0], node.attrs, node.output.dtype
    axis, kind, reverse = attrs["axis"], attrs["kind"], attrs["reverse"]
    wide = "float32" if dtype in HALVES else dtype
    y = converted(w, w.ref(x), x.dtype, wide)
    if not attrs["inclusive"]:
        y = _moved(w, y, node, wide)
    y = _run(w, y, axis, reverse, kind, wide)
    w.give(node.output, converted(w, y, wide, dtype))


def _run(w: Writer, x: Handle, axis: int, reverse: bool, kind: str, dtype: str) -> Handle:
    """From the first nan on everything is nan, which running extremes pass over."""
    direction = np.uint32(axis), np.bool_(reverse)
    y = w.op("Scan", x, *direction, scan_op=COMBINERS[kind])
    if kind not in ("min", "max") or not is_float(dtype):
        return y
    flags = w.cast(w.op("NotEqual", x, x), "float32")
    met = w.op("Scan", flags, *direction, scan_op=COMBINERS["max"])
    met = w.op("BroadcastingGreater", met, np.float32(0))
    return w.op("BroadcastingWhere", met, w.constant(np.nan, dtype), y)


def _moved(w: Writer, y: Handle, node: Node, dtype: str) -> Handle:
    """One place on, with the neutral element in front."""
    shape, axis, reverse = node.output.shape, node.attrs["axis"], node.attrs["reverse"]
    neutral = w.constant(scan_identity(node.attrs["kind"], numpy_dtype(dtype)), dtype)
    one = tuple(1 if i == axis else size for i, size in enumerate(shape))
    edge = w.stated(w.op("BroadcastTo", neutral, w.shape(one, unsigned=True)), one)
    start = tuple(1 if i == axis and reverse else 0 for i in range(len(shape)))
    end = tuple(size - 1 if i == axis and not reverse else size for i, size in enumerate(shape))
    inner = tuple(size - 1 if i == axis else size for i, size in enumerate(shape))
    kept = w.op("Slice", y, w.shape(start), w.shape(end), np.ones(len(shape), np.int32))
    kept = w.stated(kept, inner)
    return w.op("Concat", np.int32(axis), [kept, edge] if reverse else [edge, kept])


def _sort(w: Writer, node: Node) -> None:
    """Rising, of equals the first comes first, nan comes last."""
    x, dtype = w.ref(node.inputs[0]), node.inputs[0].dtype
    wide = "uint8" if dtype == "bool" else dtype
    x = converted(w, x, dtype, wide)
    y = w.op(
        "Sort", x, np.int32(node.attrs["axis"]), np.bool_(False), np.bool_(True), result=(wide, _sizes(x))
    )
    w.give(node.output, converted(w, y, wide, dtype))


def _sizes(handle: Handle) -> Any:
    from converters.targets.coreai.beta import shape_of

    return shape_of(handle)


def _arg_sort(w: Writer, node: Node) -> None:
    x, dtype = w.ref(node.inputs[0]), node.inputs[0].dtype
    x = w.cast(x, "uint8") if dtype == "bool" else x
    y = w.op("ArgSort", x, np.int32(node.attrs["axis"]), np.bool_(False), np.bool_(True))
    w.give(node.output, w.cast(y, node.output.dtype))


RULES = {
    "Reduce": Lowering(_reduce),
    "ArgReduce": Lowering(_arg_reduce),
    "Scan": Lowering(_scan, _refuse_scan),
    "Softmax": Lowering(_softmax),
    "Sort": Lowering(_sort),
    "ArgSort": Lowering(_arg_sort),
    "Partition": Lowering(_sort),
    "ArgPartition": Lowering(_arg_sort),
}
