"""Linear layers that share their input become one product and a split: queries, keys, values; gate and up.

    q = Linear(x, wq)                               y = Linear(x, [wq, wk, wv])
    k = Linear(x, wk)                       ->      q, k, v = Split(y)
    v = Linear(x, wv)

It pays where the products are small, and joining copies the weights: large ones stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Builder, Node, Value
from converters.pattern import Match, Rule, op

LARGEST = 1 << 22  # elements of weights that may be copied


def _siblings(m: Match) -> list[Node]:
    """The layers of the graph that read what the root reads, the root's weight among theirs."""
    x, weight = m.root.inputs[:2]
    found = [node for node in m.graph.source.users.get(x, ()) if node.op == "Linear" and node.inputs[0] is x]
    alike = [node for node in found if all(value in m.graph.constants for value in node.inputs[1:])]
    return alike if any(node.inputs[1] is weight for node in alike) else []


def _check(m: Match) -> str | None:
    siblings = _siblings(m)
    if len(siblings) < 2:
        return "no other constant layer reads the same"
    weights = [node.inputs[1] for node in siblings]
    if len({weight.dtype for weight in weights}) > 1 or len(set(weights)) < len(weights):
        return "the weights are of several types, or the same"
    if any(m.graph.uses.get(weight, 0) > 1 for weight in weights):
        return "a weight has other users"
    if sum(m.graph.constants[weight].size for weight in weights) > LARGEST:
        return "the weights are too large to copy"
    return None


def joined_name(names: Sequence[str]) -> str:
    """blocks.0.q.weight and blocks.0.k.weight as blocks.0.q+k.weight."""
    parts = [name.split(".") for name in names]
    if len({len(part) for part in parts}) > 1:
        return names[0]
    steps = zip(*parts, strict=True)
    return ".".join("+".join(dict.fromkeys(step)) for step in steps)


def _joined(b: Builder, m: Match, siblings: list[Node], operand: int) -> Value:
    """The operands of all siblings one after the other; a missing bias is zero."""
    key = ("joined", m.root.inputs[0], operand)
    if key not in m.graph.facts:
        values = [node.inputs[operand] for node in siblings if len(node.inputs) > operand]
        arrays = [
            m.graph.constants[node.inputs[operand]]
            if len(node.inputs) > operand
            else np.zeros(node.inputs[1].shape[:1], m.graph.constants[node.inputs[1]].dtype)  # type: ignore[arg-type]
            for node in siblings
        ]
        m.graph.facts[key] = b.constant(np.concatenate(arrays), joined_name([value.name for value in values]))
    return m.graph.facts[key]


def _together(b: Builder, m: Match) -> Value:
    siblings = _siblings(m)
    operands = max(len(node.inputs) for node in siblings)
    vectors = [_joined(b, m, siblings, operand) for operand in range(1, operands)]
    y = b("Linear", m.root.inputs[0], *vectors)
    sizes = tuple(node.inputs[1].shape[0] for node in siblings)
    parts = b.outputs("Split", y, sizes=sizes, axis=len(y.shape) - 1)
    return parts[[node.inputs[1] for node in siblings].index(m.root.inputs[1])]


RULES = (Rule("together", op("Linear"), _together, _check),)
