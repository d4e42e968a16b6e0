"""Reductions and softmax."""

from __future__ import annotations

import numpy as np

from converters.graph import Node
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import Writer

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


def _refuse_reduce(ios: int, node: Node) -> str | None:
    if node.attrs["kind"] not in KINDS:
        return "Core ML reduces no booleans"
    return None if node.inputs[0].dtype == node.output.dtype else "the element type changes"


def _softmax(w: Writer, node: Node) -> None:
    w.emit("softmax", node, x=w.ref(node.inputs[0]), axis=node.attrs["axis"])


RULES = {"Reduce": Lowering(_reduce, _refuse_reduce), "Softmax": Lowering(_softmax)}
