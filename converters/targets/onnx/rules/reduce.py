"""Reductions and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.dtypes import is_float
from converters.graph import Node
from converters.sizes import AnySize
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.writer import ELEMENT_TYPES, Writer

KINDS = {
    "sum": "ReduceSum",
    "prod": "ReduceProd",
    "mean": "ReduceMean",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "and": "ReduceMin",
    "or": "ReduceMax",
}


def _reduce(w: Writer, node: Node) -> None:
    """onnxruntime passes over nan in a maximum or minimum, MLX gives nan."""
    kind, axes, dtype = node.attrs["kind"], node.attrs["axes"], node.output.dtype
    keepdims = int(node.attrs["keepdims"])
    x = w.name(node.inputs[0])
    if not axes:
        return w.emit("Identity", node)
    if kind not in ("max", "min") or not is_float(dtype):
        operands, attrs = _over(w, KINDS[kind], axes)
        return w.give(KINDS[kind], [x, *operands], [w.name(node.output)], keepdims=keepdims, **attrs)
    operands, attrs = _over(w, KINDS[kind], axes)
    extreme = w.node(KINDS[kind], x, *operands, keepdims=keepdims, **attrs)
    nan = _any(w, w.node("IsNaN", x), axes, keepdims)
    return w.give("Where", [nan, w.constant(np.nan, dtype), extreme], [w.name(node.output)])


def _over(w: Writer, op_type: str, axes: Sequence[int]) -> tuple[list[str], dict[str, Any]]:
    """The axes as an operand, or in older opsets as an attribute."""
    if op_type == "ReduceSum" or w.opset >= 18:
        return [w.int64(axes)], {}
    return [], {"axes": list(axes)}


def _any(w: Writer, condition: str, axes: Sequence[int], keepdims: int) -> str:
    """Whether a condition holds anywhere along the axes."""
    operands, attrs = _over(w, "ReduceMax", axes)
    if w.opset >= 20:
        return w.node("ReduceMax", condition, *operands, keepdims=keepdims, **attrs)
    number = w.node("Cast", condition, to=ELEMENT_TYPES["int32"])
    most = w.node("ReduceMax", number, *operands, keepdims=keepdims, **attrs)
    return w.node("Cast", most, to=ELEMENT_TYPES["bool"])


def _arg_reduce(w: Writer, node: Node) -> None:
    """The first of the extremes, or of nan where there is one."""
    x, axis, keepdims = node.inputs[0], node.attrs["axis"], int(node.attrs["keepdims"])
    op_type = "ArgMax" if node.attrs["kind"] == "max" else "ArgMin"
    found = w.node(op_type, w.name(x), axis=axis, keepdims=keepdims)
    if is_float(x.dtype):
        nan = w.node("IsNaN", w.name(x))
        flags = w.node("Cast", nan, to=ELEMENT_TYPES["uint8"])
        first = w.node("ArgMax", flags, axis=axis, keepdims=keepdims)
        found = w.node("Where", _any(w, nan, [axis], keepdims), first, found)
    w.give("Cast", [found], [w.name(node.output)], to=ELEMENT_TYPES["uint32"])


def _softmax(w: Writer, node: Node) -> None:
    w.emit("Softmax", node, axis=node.attrs["axis"])


def _refuse_scan(opset: int, node: Node) -> str | None:
    return None if node.attrs["kind"] == "sum" else f"a running {node.attrs['kind']}"


def _scan(w: Writer, node: Node) -> None:
    x = w.name(node.inputs[0])
    if node.inputs[0].dtype != node.output.dtype:
        x = w.node("Cast", x, to=ELEMENT_TYPES[node.output.dtype])
    axis = w.constant(node.attrs["axis"], "int32", name="axis")
    exclusive, reverse = int(not node.attrs["inclusive"]), int(node.attrs["reverse"])
    w.give("CumSum", [x, axis], [w.name(node.output)], exclusive=exclusive, reverse=reverse)


def _top(w: Writer, x: str, axis: int, size: AnySize) -> list[str]:
    """Values and int64 positions in rising order; of equals the first comes first."""
    return w.node("TopK", x, w.size(size), name="sorted", outputs=2, axis=axis, largest=0)


def _sort(w: Writer, node: Node) -> None:
    """nan, which TopK cannot order, stands in as infinity and is written over the last places."""
    x, axis, dtype = node.inputs[0], node.attrs["axis"], node.output.dtype
    size, rank = x.shape[axis], len(x.shape)
    if not is_float(dtype):
        values, _ = _top(w, w.name(x), axis, size)
        return w.give("Identity", [values], [w.name(node.output)])
    nan = w.node("IsNaN", w.name(x))
    values, _ = _top(w, w.node("Where", nan, w.constant(np.inf, dtype), w.name(x)), axis, size)
    count = w.node("ReduceSum", w.node("Cast", nan, to=ELEMENT_TYPES["int64"]), w.int64([axis]), keepdims=1)
    first = w.node("Sub", w.size(size), count)
    places = w.node("Range", w.scalar(0), w.node("Squeeze", w.size(size), w.int64([0])), w.scalar(1))
    places = w.node("Reshape", places, w.int64([-1 if i == axis else 1 for i in range(rank)]))
    last = w.node("Not", w.node("Less", places, first))
    return w.give("Where", [last, w.constant(np.nan, dtype), values], [w.name(node.output)])


def _arg_sort(w: Writer, node: Node) -> None:
    """Sorted again by whether they are nan: that order is stable."""
    x, axis = node.inputs[0], node.attrs["axis"]
    size = x.shape[axis]
    if not is_float(x.dtype):
        _, places = _top(w, w.name(x), axis, size)
    else:
        nan = w.node("IsNaN", w.name(x))
        _, places = _top(w, w.node("Where", nan, w.constant(np.inf, x.dtype), w.name(x)), axis, size)
        flags = w.node("GatherElements", w.node("Cast", nan, to=ELEMENT_TYPES["int32"]), places, axis=axis)
        _, order = _top(w, flags, axis, size)
        places = w.node("GatherElements", places, order, axis=axis)
    w.give("Cast", [places], [w.name(node.output)], to=ELEMENT_TYPES["uint32"])


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
