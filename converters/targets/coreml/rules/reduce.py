"""Reductions and softmax."""

from __future__ import annotations

import numpy as np

from converters.graph import Node
from converters.targets.coreml.rules.indexing import unchecked
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import CAST_NAMES, Writer

KINDS = {
    "sum": "reduce_sum",
    "mean": "reduce_mean",
    "prod": "reduce_prod",
    "max": "reduce_max",
    "min": "reduce_min",
}


def _reduce(w: Writer, node: Node) -> None:
    axes = np.array(node.attrs["axes"], np.int32)
    parameters = {"axes": axes, "keep_dims": node.attrs["keepdims"]}
    w.emit(KINDS[node.attrs["kind"]], node, x=w.ref(node.inputs[0]), **parameters)


def _arg_reduce(w: Writer, node: Node) -> None:
    kind = "reduce_argmax" if node.attrs["kind"] == "max" else "reduce_argmin"
    dtype = {"output_dtype": "int32"} if w.ios >= 17 else {}
    axis, keep = node.attrs["axis"], node.attrs["keepdims"]
    w.emit(kind, node, x=w.ref(node.inputs[0]), axis=axis, keep_dims=keep, **dtype)


def _arg_sort(w: Writer, node: Node) -> None:
    w.emit("argsort", node, x=w.ref(node.inputs[0]), axis=node.attrs["axis"], ascending=True)


def _sort(w: Writer, node: Node) -> None:
    x, axis = node.inputs[0], node.attrs["axis"]
    order = w.op("argsort", x.shape, "int32", x=w.ref(x), axis=axis, ascending=True)
    w.emit("gather_along_axis", node, x=w.ref(x), indices=order, axis=axis, **unchecked(w))


def _scan(w: Writer, node: Node) -> None:
    x, dtype = w.ref(node.inputs[0]), node.output.dtype
    if node.inputs[0].dtype != dtype:
        x = w.op("cast", node.output.shape, dtype, x=x, dtype=CAST_NAMES[dtype])
    form = {"exclusive": not node.attrs["inclusive"], "reverse": node.attrs["reverse"]}
    w.emit("cumsum", node, x=x, axis=node.attrs["axis"], **form)


def _refuse_scan(ios: int, node: Node) -> str | None:
    return None if node.attrs["kind"] == "sum" else f"a running {node.attrs['kind']}"


def _softmax(w: Writer, node: Node) -> None:
    w.emit("softmax", node, x=w.ref(node.inputs[0]), axis=node.attrs["axis"])


RULES = {
    "Reduce": Lowering(_reduce),
    "ArgReduce": Lowering(_arg_reduce),
    "Softmax": Lowering(_softmax),
    "Scan": Lowering(_scan, _refuse_scan),
    "Sort": Lowering(_sort),
    "ArgSort": Lowering(_arg_sort),
    "Partition": Lowering(_sort),
    "ArgPartition": Lowering(_arg_sort),
}
