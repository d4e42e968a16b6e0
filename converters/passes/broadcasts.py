"""Broadcasts that the op itself would do.

y = Broadcast(b, shape=(batch, 28, 28, 6))        z = Add(x, b)
z = Add(x, y)                               ->
"""

from __future__ import annotations

from converters.errors import ShapeError
from converters.graph import Builder, Node, Value
from converters.ops import OPS
from converters.ops.elementwise import BINARY, COMPARISONS, FLOAT_BINARY
from converters.pattern import Match, Rule, op

MATRICES = {
    "Matmul": 2,
    "AddMM": 2,
    "ScaledDotProductAttention": 3,
}  # how many operands only broadcast their batch
BROADCASTING = "|".join([*BINARY, *FLOAT_BINARY, *COMPARISONS, "Equal", "Select", *MATRICES])


def _without(m: Match) -> tuple[Value, ...] | None:
    """The operands with as few broadcasts as the result's shape allows, or None where all are needed."""
    operands = list(m.root.inputs)
    for index, value in enumerate(m.root.inputs):
        node = m.graph.producers.get(value)
        if (
            node is None
            or node.op != "Broadcast"
            or (index < MATRICES.get(m.root.op, 0) and not _batch_only(node))
        ):
            continue
        trial = [*operands[:index], node.inputs[0], *operands[index + 1 :]]
        try:
            if OPS[m.root.op].infer(*trial, **m.root.attrs)[0][0] == m.root.output.shape:
                operands = trial
        except ShapeError:
            continue
    return None if operands == list(m.root.inputs) else tuple(operands)


def _batch_only(node: Node) -> bool:
    before, after = node.inputs[0].shape, node.output.shape
    return len(before) >= 2 and before[-2:] == after[-2:]


def _replace(b: Builder, m: Match) -> Value:
    operands = _without(m)
    assert operands is not None
    return b(m.root.op, *operands, **m.root.attrs)


def _check(m: Match) -> str | None:
    return "the result needs its broadcasts" if _without(m) is None else None


RULES = (Rule("drop-broadcast", op(BROADCASTING), _replace, _check),)
