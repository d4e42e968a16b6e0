"""Activations that MIL has as one op."""

from __future__ import annotations

from converters.graph import Node
from converters.targets.coreml.rules.lowering import Lowering, unary
from converters.targets.coreml.writer import Writer


def _gelu(w: Writer, node: Node) -> None:
    mode = "TANH_APPROXIMATION" if node.attrs["approximate"] else "EXACT"
    w.emit("gelu", node, x=w.ref(node.inputs[0]), mode=mode)


RULES = {"ReLU": unary("relu"), "SiLU": unary("silu"), "GELU": Lowering(_gelu)}
