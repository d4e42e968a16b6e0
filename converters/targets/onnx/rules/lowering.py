"""What a rule of this target is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from converters.graph import Node
from converters.targets.onnx.writer import Writer

Emit = Callable[[Writer, Node], None]


@dataclass(frozen=True)
class Lowering:
    """One op's spelling.

    Attributes:
        emit: adds the ONNX nodes that compute the node's outputs.
        refusal: writer's opset and node to the reason why this node needs the op's expansion instead, or
        None.
    """

    emit: Emit
    refusal: Callable[[int, Node], str | None] | None = None


def renamed(op_type: str) -> Lowering:
    """The ONNX op of another name with the same operands and no attributes."""
    return Lowering(lambda w, node: w.emit(op_type, node))
