"""GroupNorm and InstanceNorm, which MLX computes as a LayerNorm of a reshaped or transposed array.

    a = Transpose(Reshape(x, shape=(N, H·W, G, C/G)), axes=(0, 2, 1, 3))
    b = LayerNorm(Reshape(a, shape=(N, G, H·W·C/G)))
    y = x's shape from b, transposed back               ->      y = GroupNorm(x, groups=G)

InstanceNorm is GroupNorm with a group for every channel. In MLX's own order of groups (`interleaved`)
neighbouring channels belong to different groups: there the mean is over axis 1 of (N, H·W·C/G, G).
"""

from __future__ import annotations

from typing import Any

from converters.graph import Builder, Value
from converters.ops.convolution import to_first, to_last
from converters.passes.normalizations import centered, epsilon, is_vector, standardized
from converters.pattern import Match, Pattern, Rule, const, op, var
from converters.sizes import AnySize, product

SWAP = (0, 2, 1, 3)


def _divides(groups: AnySize, channels: AnySize) -> bool:
    return isinstance(groups, int) and isinstance(channels, int) and groups > 0 and channels % groups == 0


def _check_rows(m: Match) -> str | None:
    x, rows = m["x"].shape, m["rows"].shape
    if len(x) < 3 or len(rows) != 3 or rows[0] != x[0] or m.root.output.shape != x:
        return "not (N, C, ...) as (N, G, ...) and back"
    if len(m.node("n").inputs) != 1:
        return "the weight differs within a channel"
    return None if _divides(rows[1], x[1]) else "the groups are not made of whole channels"


def _group_norm(b: Builder, x: Value, m: Match, groups: AnySize, **form: bool) -> Value:
    eps = m.node("n").attrs["eps"] if "n" in m.bound else epsilon(m)
    attrs: dict[str, Any] = {"interleaved": False, "channels_first": False, **form}
    return b("GroupNorm", x, groups=groups, eps=eps, **attrs)


def _check_transposed(m: Match) -> str | None:
    rank, node = len(m["x"].shape), m.node("n")
    if m.node("t").attrs["axes"] != to_first(rank) or m.root.attrs["axes"] != to_last(rank):
        return "not from channels last and back"
    return None if node.attrs["channels_first"] and not node.attrs["interleaved"] else "channels come last"


def _channels_last(b: Builder, m: Match) -> Value:
    node = m.node("n")
    return b("GroupNorm", m["x"], *node.inputs[1:], **{**node.attrs, "channels_first": False})


def _check_grouped(m: Match) -> str | None:
    x, apart, node = m["x"].shape, m["r"].shape, m.node("n")
    if len(apart) != 4 or apart[0] != x[0] or m.root.output.shape != x or apart[2] != node.attrs["groups"]:
        return "not the groups of the last axis"
    if not node.attrs["channels_first"] or node.attrs["interleaved"] or len(node.inputs) != 1:
        return "normalizes something else"
    same = len(x) >= 3 and isinstance(apart[3], int) and apart[2] * apart[3] == x[-1]
    return None if same and apart[1] == product(x[1:-1]) else "not the groups of the last axis"


def _check_interleaved(m: Match) -> str | None:
    x, rows = m["x"].shape, m["rows"].shape
    if any(m.node(name).attrs["axes"] != (1,) for name in ("m", "mean")):
        return "not over axis 1"
    if len(x) < 3 or len(rows) != 3 or rows[0] != x[0] or m.root.output.shape != x:
        return "not (N, ..., C) as (N, ..., G) and back"
    return None if _divides(rows[2], x[-1]) and m.number("eps") is not None else "no whole groups"


def _check_affine(m: Match) -> str | None:
    node, expected = m.node("n"), 1 if m.root.op == "Multiply" else 2
    channels = node.inputs[0].shape[1 if node.attrs["channels_first"] else -1]
    if len(node.inputs) != expected:
        return "has a weight" if expected == 1 else "has no weight, or a bias"
    if m["w"].dtype != node.output.dtype or m.root.output.shape != node.output.shape:
        return "of another type, or widens the result"
    return None if _is_per_channel(m["w"], channels, m) else "no vector over the channels"


def _is_per_channel(value: Value, channels: AnySize, m: Match) -> bool:
    if not m.node("n").attrs["channels_first"]:
        return is_vector(value, channels)
    spatial = len(m.node("n").output.shape) - 2
    shape = value.shape
    return (
        len(shape) > spatial
        and shape[-spatial:] == (1,) * spatial
        and is_vector_before(shape, spatial, channels)
    )


def is_vector_before(shape: tuple[AnySize, ...], trailing: int, channels: AnySize) -> bool:
    """Whether the axes before the trailing ones hold a vector of this length."""
    front = shape[:-trailing]
    return front[-1] == channels and all(size == 1 for size in front[:-1])


def _affine(b: Builder, m: Match) -> Value:
    node = m.node("n")
    vector = b("Reshape", m["w"], shape=(product(m["w"].shape),))
    return b("GroupNorm", *node.inputs, vector, **node.attrs)


def _interleaved_roots() -> tuple[Pattern, ...]:
    values = centered(op("Reshape", var("x"), name="rows", shared=True), "rows")
    core = standardized(values, "c")
    assert core.operands is not None
    return core.operands


_ROWS = op("LayerNorm", op("Reshape", var("x"), name="rows"), name="n")
_TURNED = op("GroupNorm", op("Transpose", var("x"), name="t"), name="n")
_GROUPED = op("GroupNorm", op("Transpose", op("Reshape", var("x"), name="r"), axes=SWAP), name="n")

RULES = (
    Rule(
        "rows",
        op("Reshape", _ROWS),
        lambda b, m: _group_norm(b, m["x"], m, m["rows"].shape[1], channels_first=True),
        _check_rows,
    ),
    Rule("channels-last", op("Transpose", _TURNED), _channels_last, _check_transposed),
    Rule(
        "groups",
        op("Reshape", op("Transpose", _GROUPED, axes=SWAP)),
        lambda b, m: _group_norm(b, m["x"], m, m["r"].shape[2]),
        _check_grouped,
    ),
    *(
        Rule(
            "interleaved",
            op("Reshape", root),
            lambda b, m: _group_norm(b, m["x"], m, m["rows"].shape[2], interleaved=True),
            _check_interleaved,
        )
        for root in _interleaved_roots()
    ),
    Rule("affine", op("Multiply|Add", op("GroupNorm", name="n"), const("w")), _affine, _check_affine),
)
