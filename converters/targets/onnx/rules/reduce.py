"""Reductions and softmax."""

from __future__ import annotations

from converters.graph import Node
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
    op_type, axes = KINDS[node.attrs["kind"]], list(node.attrs["axes"])
    keepdims = int(node.attrs["keepdims"])
    if op_type == "ReduceSum" or w.opset >= 18:
        w.emit(op_type, node, w.int64(axes), keepdims=keepdims)
    else:
        w.emit(op_type, node, axes=axes, keepdims=keepdims)


def _arg_reduce(w: Writer, node: Node) -> None:
    op_type = "ArgMax" if node.attrs["kind"] == "max" else "ArgMin"
    found = w.node(
        op_type, w.name(node.inputs[0]), axis=node.attrs["axis"], keepdims=int(node.attrs["keepdims"])
    )
    w.give("Cast", [found], [w.name(node.output)], to=ELEMENT_TYPES["uint32"])


def _softmax(w: Writer, node: Node) -> None:
    w.emit("Softmax", node, axis=node.attrs["axis"])


RULES = {
    "Reduce": Lowering(_reduce),
    "ArgReduce": Lowering(_arg_reduce),
    "Softmax": Lowering(_softmax),
}
