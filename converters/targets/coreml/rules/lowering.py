"""What a rule of this target is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.graph import Node, Value
from converters.targets.coreml.writer import Writer

Emit = Callable[[Writer, Node], None]


@dataclass(frozen=True)
class Lowering:
    """One op's spelling.

    Attributes:
        emit: adds the MIL operations that compute the node's outputs.
        refusal: oldest system and node to the reason why this node needs the op's expansion instead, or None.
        constants: operands that must be constants, or what tells them for a node.
    """

    emit: Emit
    refusal: Callable[[int, Node], str | None] | None = None
    constants: tuple[int, ...] | Callable[[Node], tuple[int, ...]] = ()

    def why_not(self, version: int, node: Node, constants: Mapping[Value, np.ndarray]) -> str | None:
        """The reason why the node needs its expansion, or None."""
        wanted = self.constants(node) if callable(self.constants) else self.constants
        given = [index for index in wanted if index < len(node.inputs)]
        if any(node.inputs[index] not in constants for index in given):
            return "its weights are computed"
        return self.refusal(version, node) if self.refusal else None


def unary(kind: str, **fixed: Any) -> Lowering:
    """An operation on `x`, with fixed parameters."""
    return Lowering(lambda w, node: w.emit(kind, node, x=w.ref(node.inputs[0]), **fixed))


def binary(kind: str) -> Lowering:
    """An operation on `x` and `y`."""
    return Lowering(lambda w, node: w.emit(kind, node, x=w.ref(node.inputs[0]), y=w.ref(node.inputs[1])))
