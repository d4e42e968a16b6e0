"""Softmax attention from products, scales and masks.

    s = Matmul(Multiply(q, scale), Transpose(k))
    p = Softmax(Add(s, mask))
    y = Matmul(p, v)                        ->      y = ScaledDotProductAttention(q, k, v, mask, scale)

The scale may stand at the queries, the keys or the scores; a mask is added or selects; half-precision softmax
may be computed in float32. Grouped queries come as rank 5 with one more axis of keys (as MLX traces them), or
with repeated keys. A mask that is made of positions only and hides exactly the future becomes `causal`.
"""

from __future__ import annotations

from converters.graph import Builder, Node, Value
from converters.ops.attention import OVER_HEADS
from converters.passes import broadcasts, linear, reshapes
from converters.passes.causal import is_causal
from converters.pattern import Match, Pattern, Rule, const, either, op, var
from converters.sizes import AnySize, Shape, product

HIDDEN = -1e4  # what a score that must not count is at most

_PRODUCT = op("Matmul", var("q"), var("kt"), name="s")
_SCALED = either(_PRODUCT, op("Multiply", _PRODUCT, const("scale")), op("Divide", _PRODUCT, const("divisor")))
_BIASED = either(_SCALED, op("Add", _SCALED, var("bias")))
_MASKED = (
    _BIASED,
    op("Add", op("Add", _SCALED, var("bias")), var("bias2")),
    op("Select", var("seen"), _BIASED, const("low")),
    op("Select", var("hidden"), const("low"), _BIASED),
    op("Add", op("Select", var("seen"), _SCALED, const("low")), var("bias")),
    op("Add", op("Select", var("hidden"), const("low"), _SCALED), var("bias")),
)
_WEIGHTS = either(
    op("Softmax", either(*_MASKED), name="p"),
    op("AsType", op("Softmax", op("AsType", either(*_MASKED), dtype="float32"), name="p")),
)


def _check(m: Match) -> str | None:
    q, kt, v, scores = m["q"], m["kt"], m["v"], m["s"]
    if len(q.shape) < 3 or not len(q.shape) == len(kt.shape) == len(v.shape):
        return "not three operands of one rank from 3 on"
    if m.node("p").attrs["axis"] != len(scores.shape) - 1 or m["p"].shape != scores.shape:
        return "the softmax is over another axis, or the mask widens the scores"
    if not _is_transposed(m, kt):
        return "the keys are not transposed"
    if any(m.number(name) is None for name in ("scale", "divisor") if name in m.bound):
        return "the scale is not one number"
    if "low" in m.bound and not _hides(m):
        return "what is selected beside the scores does not hide them"
    same = q.shape[:-2] == kt.shape[:-2] == v.shape[:-2]
    return None if same or _is_grouped(q, kt, v) else "the batches differ"


def _is_transposed(m: Match, kt: Value) -> bool:
    node = m.graph.producers.get(kt)
    while node is not None and node.op in ("Multiply", "Divide", "Broadcast"):
        kt = next((value for value in node.inputs if value not in m.graph.constants), kt)
        node = m.graph.producers.get(kt)
    return kt in m.graph.constants or (node is not None and node.op in ("Transpose", "Reshape"))


def _hides(m: Match) -> bool:
    low = m.number("low")
    return low is not None and low <= HIDDEN


def _is_grouped(q: Value, kt: Value, v: Value) -> bool:
    """(B, K, G, L, D) with keys and values (B, K, 1, ...)."""
    return len(q.shape) == 5 and kt.shape[:3] == v.shape[:3] == (*q.shape[:2], 1)


def _mask(b: Builder, m: Match) -> Value | None:
    """One mask for the scores of the pattern, or None."""
    bias = m.bound.get("bias")
    if bias is not None and "bias2" in m.bound:
        bias = b("Add", bias, m["bias2"])
    seen = m.bound.get("seen")
    if "hidden" in m.bound:
        seen = b("LogicalNot", m["hidden"])
    if bias is None or seen is None:
        return seen or bias
    low = m["low"] if m["low"].dtype == bias.dtype else b("AsType", m["low"], dtype=bias.dtype)
    return b("Select", seen, bias, low)


def _scale(m: Match) -> float:
    factor = 1.0
    for name, power in (("scale", 1), ("divisor", -1)):
        if name in m.bound:
            number = m.number(name)
            assert number is not None
            factor *= number**power
    return factor


def _attention(b: Builder, m: Match) -> Value:
    q, v, mask = m["q"], m["v"], _mask(b, m)
    rank = len(q.shape)
    k = b("Transpose", m["kt"], axes=(*range(rank - 2), rank - 1, rank - 2))
    if mask is not None and mask.dtype != "bool" and mask.dtype != q.dtype:
        mask = b("AsType", mask, dtype=q.dtype)
    grouped = rank == 5 and q.shape[2] != k.shape[2]
    q4, k4, v4 = (b("Reshape", x, shape=_rank4(x.shape, grouped)) for x in (q, k, v))
    masks = () if mask is None else (_mask4(b, mask, m["s"].shape, grouped),)
    y = b(
        "ScaledDotProductAttention", q4, k4, v4, *masks, scale=_scale(m), causal=False, sinks=False, heads=()
    )
    return b("Reshape", y, shape=m.root.output.shape)


def _rank4(shape: Shape, grouped: bool) -> Shape:
    """(B, H, L, D): grouped heads are joined, other leading axes are batch, a missing one is one head."""
    if len(shape) == 3:
        return (shape[0], 1, *shape[1:])
    if grouped:
        return (shape[0], shape[1] * shape[2], *shape[3:])
    return (product(shape[:-3]), *shape[-3:])


def _mask4(b: Builder, mask: Value, scores: Shape, grouped: bool) -> Value:
    """The mask for `_rank4` of the scores; axes of one element stay so where they can."""
    if len(mask.shape) <= 2:
        return mask
    wide = (1,) * (len(scores) - len(mask.shape)) + mask.shape
    joined = slice(1, 3) if grouped else slice(0, len(scores) - 3)
    if wide[joined] != scores[joined] and any(size != 1 for size in wide[joined]):
        full = (*wide[: joined.start], *scores[joined], *wide[joined.stop :])
        mask, wide = b("Broadcast", b("Reshape", mask, shape=wide), shape=full), full
    return b("Reshape", mask, shape=_rank4(wide, grouped))


def attentions(*operands: Pattern) -> tuple[Pattern, Pattern]:
    """An attention with these operands, without and with a mask."""
    name = "ScaledDotProductAttention"
    return op(name, *operands), op(name, *operands, var("mask"))


def _check_scaled(m: Match) -> str | None:
    factor = m.number("factor")
    if factor is None or m.graph.producers[m["scaled"]].inputs[0] not in (m["x"], m["factor"]):
        return "not one number"
    if m["scaled"].shape != m["x"].shape:
        return "the factor widens the operand"
    return None if factor != 0 else "scaled to zero"


def _take_scale(b: Builder, m: Match) -> Value:
    factor = m.number("factor")
    assert factor is not None
    factor = 1 / factor if m.node("scaled").op == "Divide" else factor
    operands = [m["x"] if value is m["scaled"] else value for value in m.root.inputs]
    return b(m.root.op, *operands, **{**m.root.attrs, "scale": m.root.attrs["scale"] * factor})


def _unrepeated(m: Match, value: Value) -> Value | None:
    """Keys (B, K, S, D) of which `value` (B, H, S, D) repeats each head H / K times, or None."""
    joined = m.graph.producers.get(value)
    if joined is None or joined.op != "Reshape" or len(value.shape) != 4:
        return None
    repeated = m.graph.producers.get(joined.inputs[0])
    if repeated is None or repeated.op != "Broadcast":
        return None
    single, wide = repeated.inputs[0].shape, repeated.output.shape
    if len(single) != 5 or len(wide) != 5 or single != (*wide[:2], 1, *wide[3:]):
        return None
    if value.shape != (wide[0], wide[1] * wide[2], *wide[3:]):
        return None
    return repeated.inputs[0]


def _check_repeated(m: Match) -> str | None:
    keys, values = (_unrepeated(m, m.root.inputs[i]) for i in (1, 2))
    if keys is None or values is None or keys.shape[:2] != values.shape[:2]:
        return "the keys and values are not repeated alike"
    return None


def _share_keys(b: Builder, m: Match) -> Value:
    single = [_unrepeated(m, m.root.inputs[i]) for i in (1, 2)]
    k, v = (b("Reshape", x, shape=(*x.shape[:2], *x.shape[3:])) for x in single if x is not None)
    return b(m.root.op, m.root.inputs[0], k, v, *m.root.inputs[3:], **m.root.attrs)


def _check_causal(m: Match) -> str | None:
    if m.root.attrs["causal"] or m.root.attrs["heads"]:
        return "causal already"
    queries, keys = m["q"].shape[-2], m["k"].shape[-2]
    return is_causal(m, m["mask"], queries, keys)


def _causal(b: Builder, m: Match) -> Value:
    return b(m.root.op, m["q"], m["k"], m["v"], **{**m.root.attrs, "causal": True})


def _check_pack(m: Match) -> str | None:
    if m.root.attrs["axes"] != OVER_HEADS or m.node("a").attrs["heads"]:
        return "the heads stay apart"
    known = all(packed(m, value) is not None for value in m.node("a").inputs[:3])
    return None if known else "an operand does not come from (B, L, H, D)"


def packed(m: Match, value: Value, b: Builder | None = None) -> Value | None:
    """(B, L, H·D) of which `value` is the transposed (B, H, L, D), or None."""
    node = m.graph.producers.get(value)
    if node is None or len(value.shape) != 4:
        return None
    if node.op == "RoPE":
        return _packed_rope(m, node, b)
    if node.op != "Transpose" or node.attrs["axes"] != OVER_HEADS:
        return None
    batch, length, heads, width = node.inputs[0].shape
    return value if b is None else b("Reshape", node.inputs[0], shape=(batch, length, heads * width))


def _packed_rope(m: Match, node: Node, b: Builder | None) -> Value | None:
    x, *tables = node.inputs
    if (
        m.graph.uses.get(node.output, 0) > 1
        or node.attrs["heads"]
        or any(_table(t, x.shape) is None for t in tables)
    ):
        return None
    inner = packed(m, x, b)
    if inner is None or b is None:
        return inner
    shapes = [_table(t, x.shape) for t in tables]
    joined = [b("Reshape", t, shape=s) for t, s in zip(tables, shapes, strict=True) if s is not None]
    return b("RoPE", inner, *joined, traditional=node.attrs["traditional"], heads=x.shape[1])


def _table(table: Value, shape: Shape) -> tuple[AnySize, ...] | None:
    """(L, D/2) or (B, L, D/2) for a table that is the same for all heads."""
    if len(table.shape) == 2 and table.shape[0] == shape[2]:
        return table.shape
    if len(table.shape) == 4 and table.shape[1] == 1 and table.shape[2] == shape[2]:
        return table.shape[2:] if table.shape[0] == 1 else (table.shape[0], *table.shape[2:])
    return None


def _pack(b: Builder, m: Match) -> Value:
    node = m.node("a")
    q, k, v = (packed(m, value, b) for value in node.inputs[:3])
    assert q is not None
    assert k is not None
    assert v is not None
    heads = (node.inputs[0].shape[1], node.inputs[1].shape[1])
    y = b(node.op, q, k, v, *node.inputs[3:], **{**node.attrs, "heads": heads})
    return b("Reshape", y, shape=m.root.output.shape)


def _check_moves(m: Match) -> str | None:
    if m.number("factor") is None or m["x"].shape != m["y"].shape:
        return "not one number"
    node = m.node("y")
    return "divides by the values" if node.op == "Divide" and node.inputs[0] is m["factor"] else None


def _scale_later(b: Builder, m: Match) -> Value:
    moved = b(m.root.op, m["x"], **m.root.attrs)
    array = m.array("factor").reshape(-1)[:1].reshape(())
    return b(m.node("y").op, moved, b.constant(array, m["factor"].name))


_SCALED_OPERAND = op("Multiply|Divide", var("x"), const("factor"), name="scaled")

RULES = (
    *reshapes.RULES,
    *broadcasts.RULES,
    Rule(
        "scale-later",
        op("Reshape|Transpose", op("Multiply|Divide", var("x"), const("factor"), name="y")),
        _scale_later,
        _check_moves,
    ),
    Rule("attention", op("Matmul", _WEIGHTS, var("v")), _attention, _check),
    *(
        Rule("scale-in", root, _take_scale, _check_scaled)
        for operands in (
            (_SCALED_OPERAND, var("k"), var("v")),
            (var("q"), _SCALED_OPERAND, var("v")),
        )
        for root in attentions(*operands)
    ),
    *(
        Rule("grouped-queries", root, _share_keys, _check_repeated)
        for root in attentions(var("q"), var("k"), var("v"))
    ),
    Rule("causal", attentions(var("q"), var("k"), var("v"))[1], _causal, _check_causal),
)


def _keeps_last(m: Match) -> str | None:
    axes = m.node("t").attrs["axes"]
    return None if axes[-1] == len(axes) - 1 else "the last axis moves"


def _norm_first(b: Builder, m: Match) -> Value:
    y = b(m.root.op, m["x"], *m.root.inputs[1:], **m.root.attrs)
    return b("Transpose", y, axes=m.node("t").attrs["axes"])


_TURNED = op("Transpose", var("x"), name="t")
NORM_FIRST = (
    Rule("norm-first", op("LayerNorm|RMSNorm", _TURNED), _norm_first, _keeps_last),
    Rule("norm-first", op("LayerNorm|RMSNorm", _TURNED, var("w")), _norm_first, _keeps_last),
    Rule("norm-first", op("LayerNorm", _TURNED, var("w"), var("b")), _norm_first, _keeps_last),
)

PACKING = (
    *linear.ROWS,
    *NORM_FIRST,
    Rule("pack-heads", op("Transpose", op("ScaledDotProductAttention", name="a")), _pack, _check_pack),
)
