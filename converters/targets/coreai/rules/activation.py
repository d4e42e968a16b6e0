"""Activations that the dialect has as one operation."""

from __future__ import annotations

from converters.graph import Node
from converters.targets.coreai.rules.lowering import Lowering, named
from converters.targets.coreai.writer import Writer


def _gelu(w: Writer, node: Node) -> None:
    form = f"#coreai.approximate<{node.attrs['approximate']}>"
    w.give(node.output, w.op("GELU", w.ref(node.inputs[0]), approximate=form))


RULES = {"ReLU": named("ReLU"), "SiLU": named("Silu"), "GELU": Lowering(_gelu)}
