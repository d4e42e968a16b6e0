"""Attention over a cache that grows: the new keys and values are appended by the op itself.

    present_k = Concatenate(past_k, k)
    present_v = Concatenate(past_v, v)
    y = ScaledDotProductAttention(q, present_k, present_v)
                                    ->      y, present_k, present_v = CachedAttention(q, k, v, past_k, past_v)

Runtimes with such an op copy less and know without a mask what is causal.
"""

from __future__ import annotations

from typing import Any

from converters.graph import Builder, Value
from converters.ops import OPS
from converters.ops.attention import OVER_HEADS
from converters.passes import linear
from converters.passes.attention import attentions, packed
from converters.passes.causal import is_causal
from converters.pattern import Match, Rule, op, var
from converters.sizes import AnySize


def _check(m: Match) -> str | None:
    if m.root.attrs["heads"] or m.root.attrs["sinks"]:
        return "packed heads, or sinks"
    for name in ("ck", "cv"):
        if m.node(name).attrs["axis"] != 2:
            return "not appended along the positions"
        kept = sum(m.graph.resolve(value) is m[name] for value in m.graph.source.outputs.values())
        if m.graph.uses.get(m[name], 0) != 1 + kept:
            return "the grown cache has other users"
    return None if m["k"].shape[2] == m["q"].shape[2] else "not as many new keys as queries"


def _cached(b: Builder, m: Match) -> Value:
    attrs = {name: m.root.attrs[name] for name in ("scale", "causal", "heads")}
    queries, keys = m.root.inputs[0].shape[2], m["ck"].shape[2]
    attrs["ahead"] = not any(_hides_future(m, mask, queries, keys) for mask in m.root.inputs[3:])
    operands = [m[name] for name in ("q", "k", "v", "pk", "pv")]
    y, keys, values = b.outputs("CachedAttention", *operands, *m.root.inputs[3:], **attrs)
    m.graph.stand_in(m["ck"], keys)
    m.graph.stand_in(m["cv"], values)
    return y


def _hides_future(m: Match, mask: Value, queries: AnySize, keys: AnySize) -> bool:
    """Whether no query sees a later key; of earlier ones the mask may hide some too."""
    node = m.graph.producers.get(mask)
    if node is not None and node.op == "LogicalAnd":
        return any(_hides_future(m, part, queries, keys) for part in node.inputs)
    return is_causal(m, mask, queries, keys) is None


def _check_packed(m: Match) -> str | None:
    if m.root.attrs["heads"]:
        return "packed already"
    known = all(packed(m, value) is not None for value in m.root.inputs[:3])
    return None if known else "an operand does not come from (B, L, H, D)"


def _pack(b: Builder, m: Match) -> tuple[Value, ...]:
    q, k, v = (packed(m, value, b) for value in m.root.inputs[:3])
    assert q is not None
    assert k is not None
    assert v is not None
    heads = (m.root.inputs[0].shape[1], m.root.inputs[1].shape[1])
    y, *caches = b.outputs(m.root.op, q, k, v, *m.root.inputs[3:], **{**m.root.attrs, "heads": heads})
    batch, count, length, width = m.root.outputs[0].shape
    apart = b("Reshape", y, shape=(batch, length, count, width))
    return (b("Transpose", apart, axes=OVER_HEADS), *caches)


def _expanded(b: Builder, m: Match) -> Any:
    expand = OPS[m.root.op].expand
    assert expand is not None
    return expand(b, *m.root.inputs, **m.root.attrs)


_KEYS = op("Concatenate", var("pk"), var("k"), name="ck", shared=True)
_VALUES = op("Concatenate", var("pv"), var("v"), name="cv", shared=True)

RULES = (
    *linear.ROWS,
    *(Rule("cache", root, _cached, _check) for root in attentions(var("q"), _KEYS, _VALUES)),
    Rule("pack-cache", op("CachedAttention"), _pack, _check_packed),
)

# For targets whose attention has no cache
APART = (Rule("cache-apart", op("CachedAttention"), _expanded),)
