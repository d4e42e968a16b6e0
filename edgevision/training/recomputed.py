"""Gradient checkpointing: what a block computes is thrown away and computed again for its gradient.

"Training Deep Nets with Sublinear Memory Cost" (Chen et al., 2016). Memory then grows with the size of one
block and of the arrays between blocks, for about a third more computation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgevision.errors import UsageError


@contextmanager
def recomputed_blocks(model: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Inside the block, the members of the model's lists of modules recompute themselves.

    Raises:
        UsageError: the model has no such list, or its blocks change themselves as they compute.
    """
    if not wanted:
        yield
        return
    kinds = {type(block) for block in _blocks(model)}
    before = {kind: kind.__call__ for kind in kinds}
    for kind, call in before.items():
        kind.__call__ = _recomputing(call)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for kind, call in before.items():
            kind.__call__ = call  # type: ignore[method-assign]


def _blocks(model: nn.Module) -> list[nn.Module]:
    found = [
        block
        for child in model.children().values()
        if isinstance(child, list)
        for block in child
        if isinstance(block, nn.Module)
    ]
    if not found:
        raise UsageError("gradient checkpointing needs a model of blocks", hint="leave recompute out")
    inside = [module for block in found for module in block.modules()]
    kind = "batch normalization" if any(isinstance(m, nn.BatchNorm) for m in inside) else None
    if any(isinstance(m, nn.Dropout) and m._p_1 < 1 for m in inside):
        kind = "dropout"
    if kind is not None:
        raise UsageError(
            f"gradient checkpointing computes blocks twice, and {kind} would not do the same the second time",
            hint="use accumulate to save memory",
        )
    return found


def _recomputing(call: Any) -> Any:
    def computed(block: nn.Module, *arguments: Any, **named: Any) -> Any:
        def inner(weights: Any, *arguments: Any, **named: Any) -> Any:
            block.update(weights)
            return call(block, *arguments, **named)

        weights = block.trainable_parameters()
        result = mx.checkpoint(inner)(weights, *arguments, **named)
        block.update(weights)
        return result

    return computed


__all__ = ["recomputed_blocks"]
