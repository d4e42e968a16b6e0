"""Broadcasts that the op itself would do.

y = Broadcast(b, shape=(batch, 28, 28, 6))        z = Add(x, b)
z = Add(x, y)                               ->

y = Broadcast(b, shape=(batch, 6))                y = Cos(b)
z = Cos(y)                                  ->    z = Broadcast(y, shape=(batch, 6))
"""

from __future__ import annotations

from converters.errors import ShapeError
from converters.graph import Builder, Node, Value
from converters.ops import OPS
from converters.ops.elementwise import BINARY, COMPARISONS, FLOAT_BINARY, FLOAT_UNARY, UNARY
from converters.pattern import Match, Rule, op, var

MATRICES = {
    "Matmul": 2,
    "AddMM": 2,
    "ScaledDotProductAttention": 3,
}  # how many operands only broadcast their batch
BROADCASTING = "|".join([*BINARY, *FLOAT_BINARY, *COMPARISONS, "Equal", "Select", *MATRICES])
SINGLE = "|".join([*UNARY, *FLOAT_UNARY, "AsType", "LogicalNot"])


def _without(m: Match) -> tuple[Value, ...] | None:
    """The operands with as few broadcasts as the result's shape allows, or None where all are needed."""
    operands = list(m.root.inputs)
    for index, value in sorted(enumerate(m.root.inputs), key=lambda item: _is_computed(m, item[1])):
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


def _is_computed(m: Match, value: Value) -> bool:
    """Constants lose their broadcasts first: onnxruntime fuses activations as if the constant had no axes."""
    node = m.graph.producers.get(value)
    return node is not None and node.inputs[:1] != () and node.inputs[0] not in m.graph.constants


def _batch_only(node: Node) -> bool:
    before, after = node.inputs[0].shape, node.output.shape
    return len(before) >= 2 and before[-2:] == after[-2:]


def _replace(b: Builder, m: Match) -> Value:
    operands = _without(m)
    assert operands is not None
    return b(m.root.op, *operands, **m.root.attrs)


def _check(m: Match) -> str | None:
    return "the result needs its broadcasts" if _without(m) is None else None


def _later(b: Builder, m: Match) -> Value:
    return b("Broadcast", b(m.root.op, m["x"], **m.root.attrs), shape=m.root.output.shape)


RULES = (
    Rule("drop-broadcast", op(BROADCASTING), _replace, _check),
    Rule("broadcast-later", op(SINGLE, op("Broadcast", var("x"), shared=True)), _later),
)
