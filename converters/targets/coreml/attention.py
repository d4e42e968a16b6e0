"""Attention as Core ML's fused op has it: four axes, as many heads everywhere, the mask added.

    q, k, v = Split(x of (B, L, 3·H·D))          t = Transpose(Reshape(x, (B, L, 3·H, D)), (0, 2, 1, 3))
    y = Attention(q, k, v, heads=(H, H))    ->   q, k, v = Split(t, axis=1)
                                                 y = join(Attention(q, k, v))

Queries that share a head of keys and values (H queries, K keys, G = H / K) become further rows of it, (B, K,
G·L, D), so that no key is copied.
"""

from __future__ import annotations

from typing import Any

from converters.graph import Builder, Node, Value
from converters.ops.attention import OVER_HEADS, added_mask, causal_mask, join_heads, split_heads
from converters.passes.caches import APART
from converters.pattern import Match, Rule, op
from converters.sizes import Shape, divide

NAME = "ScaledDotProductAttention"


def _apart(b: Builder, m: Match) -> Value:
    """Heads as an axis of their own."""
    q, k, v, *rest = m.root.inputs
    heads, count = m.root.attrs["heads"], m.root.attrs["heads"][1]
    cut = m.graph.producers.get(q)
    cut = cut if cut is not None and _cuts_rows(cut) else None  # where only some queries are asked for
    together = _common_split(m, (q if cut is None else cut.inputs[0], k, v), heads)
    if together is None:
        parts = (split_heads(b, q, heads[0]), split_heads(b, k, count), split_heads(b, v, count))
    else:
        batch, length, width = together.shape
        total = heads[0] + 2 * count
        apart = b("Reshape", together, shape=(batch, length, total, divide(width, total)))
        turned = b("Transpose", apart, axes=OVER_HEADS)
        parts = b.outputs("Split", turned, sizes=(heads[0], count, count), axis=1)
    if together is not None and cut is not None:
        whole = parts[0].shape
        bounds = {name: cut.attrs[name][1] for name in ("start", "end", "strides")}
        start, end = (0, 0, bounds["start"], 0), (*whole[:2], bounds["end"], whole[3])
        rows = b("Slice", parts[0], start=start, end=end, strides=(1, 1, bounds["strides"], 1))
        parts = (rows, *parts[1:])
    return join_heads(b, b(NAME, *parts, *rest, **{**m.root.attrs, "heads": ()}))


def _cuts_rows(node: Node) -> bool:
    if node.op != "Slice" or len(node.output.shape) != 3:
        return False
    return (node.output.shape[0], node.output.shape[2]) == (node.inputs[0].shape[0], node.inputs[0].shape[2])


def _common_split(m: Match, parts: tuple[Value, ...], heads: tuple[int, ...]) -> Value | None:
    """The value that queries, keys and values are the thirds of, where all heads have one width."""
    node = m.graph.producers.get(parts[0])
    if node is None or node.op != "Split" or node.outputs != parts or node.attrs["axis"] != 2:
        return None
    counts = (heads[0], heads[1], heads[1])
    widths = {divide(part.shape[2], count) for part, count in zip(parts, counts, strict=True)}
    return node.inputs[0] if len(widths) == 1 else None


def _grouped(b: Builder, m: Match) -> Value:
    """Queries of one group as rows."""
    q, k, v, *rest = m.root.inputs
    batch, heads, length, width = q.shape
    count = k.shape[1]
    groups = divide(heads, count)
    rows = b("Reshape", q, shape=(batch, count, groups * length, width))
    masks = [_mask_of_groups(b, mask, count, groups, length) for mask in rest]
    y = b(NAME, rows, k, v, *masks, **m.root.attrs)
    return b("Reshape", y, shape=(batch, heads, length, v.shape[3]))


def _mask_of_groups(b: Builder, mask: Value, count: Any, groups: Any, length: Any) -> Value:
    shape: Shape = (1,) * (4 - len(mask.shape)) + mask.shape
    batch, heads, rows, keys = shape
    if heads == 1 and rows == 1:
        return mask
    apart = (batch, 1, 1, rows, keys) if heads == 1 else (batch, count, groups, rows, keys)
    wide = (batch, apart[1], groups, length, keys)
    y = b("Reshape", mask, shape=apart)
    if apart != wide:  # joined, so that a constant stays one
        y = (
            b("Concatenate", *[y] * groups, axis=2)
            if isinstance(groups, int)
            else b("Broadcast", y, shape=wide)
        )
    return b("Reshape", y, shape=(batch, apart[1], groups * length, keys))


def _unlike(m: Match) -> str | None:
    q, k, *_ = m.root.inputs
    if m.root.attrs["heads"] or m.root.attrs["causal"] or m.root.attrs["sinks"]:
        return "other forms first"
    return "as many heads" if q.shape[1] == k.shape[1] else None


def _spelled_out(b: Builder, m: Match) -> Value:
    """The causal mask, joined to another."""
    q, k, v, *rest = m.root.inputs
    attrs = {**m.root.attrs, "causal": False}
    if q.shape[2] == 1:
        return b(NAME, q, k, v, *rest, **attrs)
    seen = causal_mask(b, q.shape[2], k.shape[2])
    if rest and rest[0].dtype != "bool":
        return b(NAME, q, k, v, b("Add", added_mask(b, seen, rest[0].dtype), rest[0]), **attrs)
    seen = b("LogicalAnd", seen, rest[0]) if rest else seen
    return b(NAME, q, k, v, seen, **attrs)


def _with_added(b: Builder, m: Match) -> Value:
    q, k, v, mask = m.root.inputs
    return b(NAME, q, k, v, added_mask(b, mask, q.dtype), **m.root.attrs)


def _bool_mask(m: Match) -> str | None:
    plain = len(m.root.inputs) == 4 and not m.root.attrs["sinks"] and not m.root.attrs["causal"]
    return None if plain and m.root.inputs[3].dtype == "bool" else "no mask of bool"


RULES = (
    *APART,
    Rule("heads", op(NAME), _apart, lambda m: None if m.root.attrs["heads"] else "apart already"),
    Rule(
        "causal",
        op(NAME),
        _spelled_out,
        lambda m: None if m.root.attrs["causal"] and not m.root.attrs["sinks"] else "not causal",
    ),
    Rule("added-mask", op(NAME), _with_added, _bool_mask),
    Rule("grouped", op(NAME), _grouped, _unlike),
)

__all__ = ["NAME", "RULES"]
