"""What a rule of this target is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from converters.graph import Node, Value
from converters.targets.coreai.writer import Writer

Emit = Callable[[Writer, Node], None]


@dataclass(frozen=True)
class Lowering:
    """One op's spelling.

    Attributes:
        emit: adds the operations that compute the node's outputs.
        refusal: node to the reason why it needs the op's expansion instead, or None.
        constants: operands that must be constants.
    """

    emit: Emit
    refusal: Callable[[Node], str | None] | None = None
    constants: tuple[int, ...] = ()

    def why_not(self, node: Node, constants: Mapping[Value, np.ndarray]) -> str | None:
        """The reason why the node needs its expansion, or None."""
        if any(node.inputs[index] not in constants for index in self.constants):
            return "its weights are computed"
        return self.refusal(node) if self.refusal else None


def named(kind: str, refusal: Callable[[Node], str | None] | None = None) -> Lowering:
    """The operation on the same operands."""

    def emit(w: Writer, node: Node) -> None:
        w.give(node.output, w.op(kind, *(w.ref(value) for value in node.inputs)))

    return Lowering(emit, refusal)
