"""Activations that ONNX has as one op."""

from __future__ import annotations

from converters.graph import Node
from converters.targets.onnx.rules.lowering import Lowering, renamed
from converters.targets.onnx.writer import Writer


def _gelu(w: Writer, node: Node) -> None:
    w.emit("Gelu", node, approximate=node.attrs["approximate"])


RULES = {
    "ReLU": renamed("Relu"),
    "GELU": Lowering(_gelu, lambda opset, node: None if opset >= 20 else "Gelu came with opset 20"),
}
