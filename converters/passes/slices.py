"""Rows that nothing reads are not computed: a slice goes up through what treats rows alike.

y = LayerNorm(x of (B, 197, 192))              s = Slice(x, (0:B, 0:1, 0:192))
s = Slice(y, (0:B, 0:1, 0:192))        ->      y = LayerNorm(s)

A classifier that reads the first token of a Vision Transformer, or a language model asked for the last one,
needs a single row of the last block, and a single query of its attention.
"""

from __future__ import annotations

from converters.graph import Builder, Node, Value
from converters.ops.activation import ACTIVATIONS
from converters.ops.elementwise import ELEMENTWISE
from converters.pattern import Match, Rule, op
from converters.sizes import AnySize

LAST_AXIS = {"Linear", "LayerNorm", "RMSNorm"}  # mix the last axis of their first operand, and no other
ROW_BY_ROW = ELEMENTWISE | set(ACTIVATIONS)
FEWER = 2  # a slice goes up where it leaves at most one of so many


def cut_axes(node: Node) -> list[int]:
    """The axes along which a slice takes less than all."""
    attrs, shape = node.attrs, node.inputs[0].shape
    bounds = zip(attrs["start"], attrs["end"], attrs["strides"], shape, strict=True)
    return [
        axis for axis, (start, end, step, size) in enumerate(bounds) if (start, end, step) != (0, size, 1)
    ]


def _is_small(part: AnySize, whole: AnySize) -> bool:
    return isinstance(part, int) and (not isinstance(whole, int) or part * FEWER <= whole)


def _check(m: Match) -> str | None:
    node, cut = m.node("y"), cut_axes(m.root)
    whole, part = node.output.shape, m.root.output.shape
    if not cut or not all(_is_small(part[axis], whole[axis]) for axis in cut):
        return "most is needed"
    if 0 in part:
        return "nothing is needed"
    if node.op == "ScaledDotProductAttention":
        return _check_attention(m, cut)
    if node.op in LAST_AXIS and len(whole) - 1 in cut:
        return "the last axis is mixed"
    return None


def _check_attention(m: Match, cut: list[int]) -> str | None:
    node = m.node("y")
    rows = 1 if node.attrs["heads"] else len(node.output.shape) - 2
    if cut != [rows]:
        return "not only queries are cut"
    if node.attrs["causal"] or node.attrs["sinks"] or len(node.inputs) > 3:
        return "queries differ by their position"
    return None


def _sliced(b: Builder, m: Match, value: Value, cut: list[int]) -> Value:
    """The part of an operand that broadcasts to the part of the result."""
    attrs, offset = m.root.attrs, len(m.root.inputs[0].shape) - len(value.shape)
    start, end, strides = [0] * len(value.shape), list(value.shape), [1] * len(value.shape)
    for axis in cut:
        if axis >= offset and value.shape[axis - offset] != 1:
            start[axis - offset] = attrs["start"][axis]
            end[axis - offset] = attrs["end"][axis]
            strides[axis - offset] = attrs["strides"][axis]
    if end == list(value.shape) and not any(start) and set(strides) <= {1}:
        return value
    return b("Slice", value, start=tuple(start), end=tuple(end), strides=tuple(strides))


def _above(b: Builder, m: Match) -> Value:
    node, cut = m.node("y"), cut_axes(m.root)
    count = len(node.inputs) if node.op in ROW_BY_ROW else 1
    operands = [_sliced(b, m, value, cut) for value in node.inputs[:count]]
    return b(node.op, *operands, *node.inputs[count:], **node.attrs)


RULES = (
    Rule(
        "fewer-rows",
        op("Slice", op("|".join(sorted(ROW_BY_ROW | LAST_AXIS | {"ScaledDotProductAttention"})), name="y")),
        _above,
        _check,
    ),
)
