"""Activations that MIL has as one op."""

from __future__ import annotations

from converters.graph import Node
from converters.targets.coreml.rules.lowering import Lowering, unary
from converters.targets.coreml.writer import Writer

MODES = {"none": "EXACT", "tanh": "TANH_APPROXIMATION", "sigmoid": "SIGMOID_APPROXIMATION"}


def _gelu(w: Writer, node: Node) -> None:
    w.emit("gelu", node, x=w.ref(node.inputs[0]), mode=MODES[node.attrs["approximate"]])


RULES = {"ReLU": unary("relu"), "SiLU": unary("silu"), "GELU": Lowering(_gelu)}
