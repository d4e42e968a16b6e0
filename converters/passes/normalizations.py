"""LayerNorm and RMSNorm from what MLX traces for them on the CPU, or from what people write by hand.

    c = Subtract(x, mean of x)
    v = Add(mean of Square(c), eps)
    y = Multiply(Multiply(c, Rsqrt(v)), w) + b          ->      y = LayerNorm(x, w, b, eps)

    v = Add(mean of Square(x), eps)
    y = Multiply(Multiply(x, Rsqrt(v)), w)              ->      y = RMSNorm(x, w, eps)

The statistics of half-precision values are computed in float32; these casts are part of the op.
"""

from __future__ import annotations

from collections.abc import Callable

from converters.graph import Builder, Value
from converters.pattern import Match, Pattern, Rule, const, either, op, var


def standardized(values: Pattern, again: str) -> Pattern:
    """`values` divided by the root of the mean of their squares; `again` is the name that `values` binds.

    Binds "m", the mean, and "eps".
    """
    squares = op("Reduce", op("Square", var(again)), name="m", kind="mean", keepdims=True)
    shifted = op("Add", squares, const("eps"))
    return either(op("Multiply", values, op("Rsqrt", shifted)), op("Divide", values, op("Sqrt", shifted)))


def centered(x: Pattern, again: str) -> Pattern:
    """x, which binds the name `again`, minus its mean; binds "c" and "mean"."""
    mean = op("Reduce", var(again), name="mean", kind="mean", keepdims=True, shared=True)
    return op("Subtract", x, mean, name="c", shared=True)


def _roots(pattern: Pattern) -> tuple[Pattern, ...]:
    return pattern.operands if pattern.kind == "either" and pattern.operands else (pattern,)


def epsilon(m: Match) -> float:
    """The number that keeps the root from zero."""
    eps = m.number("eps")
    assert eps is not None
    return eps


def _check_axes(m: Match, last: int) -> str | None:
    means = [m.node(name) for name in ("m", "mean") if name in m.bound]
    if any(node.attrs["axes"] != (last,) for node in means):
        return "not over the last axis"
    if m.number("eps") is None or epsilon(m) < 0:
        return "eps is not one number"
    if "w" in m.bound and not is_vector(m["w"], m["x"].shape[last]):
        return "the weight is no vector along the last axis"
    return None if m.root.output.shape == m["x"].shape else "the mean widens the result"


def _check(m: Match) -> str | None:
    return _check_axes(m, len(m["x"].shape) - 1)


def is_vector(value: Value, length: object) -> bool:
    """Whether only the last axis has more than one element, and it has this length."""
    return bool(value.shape) and value.shape[-1] == length and all(size == 1 for size in value.shape[:-1])


def _check_affine(m: Match) -> str | None:
    node, expected = m.node("n"), 1 if m.root.op == "Multiply" else 2
    if len(node.inputs) != expected:
        return "has a weight" if expected == 1 else "has no weight, or a bias"
    if node.op == "RMSNorm" and m.root.op == "Add":
        return "RMSNorm has no bias"
    if m["w"].dtype != node.output.dtype or not is_vector(m["w"], node.output.shape[-1]):
        return "no vector along the last axis"
    return None if m.root.output.shape == node.output.shape else "the vector widens the result"


def _affine(b: Builder, m: Match) -> Value:
    node = m.node("n")
    return b(node.op, *node.inputs, _vector(b, m["w"]), **node.attrs)


def _vector(b: Builder, value: Value) -> Value:
    return value if len(value.shape) == 1 else b("Reshape", value, shape=value.shape[-1:])


def _normalized(name: str) -> Callable[[Builder, Match], Value]:
    def replace(b: Builder, m: Match) -> Value:
        weight = (_vector(b, m["w"]),) if "w" in m.bound else ()
        return b(name, m["x"], *weight, eps=epsilon(m))

    return replace


def _check_half(m: Match) -> str | None:
    if m["x"].dtype != m.root.output.dtype or m["x"].dtype not in ("float16", "bfloat16"):
        return "no half-precision values in and out"
    return None if len(m.node("n").inputs) == 1 else "the weight is applied in float32"


def _half(b: Builder, m: Match) -> Value:
    return b(m.node("n").op, m["x"], eps=m.node("n").attrs["eps"])


_CENTERED = centered(var("x"), "x")
_LAYER_NORM = (standardized(_CENTERED, "c"), standardized(op("Multiply", _CENTERED, const("w")), "c"))
_RMS_NORM = (standardized(var("x"), "x"), standardized(op("Multiply", var("x"), const("w")), "x"))
_WIDE = op("LayerNorm|RMSNorm", op("AsType", var("x"), dtype="float32", shared=True), name="n")

RULES = (
    *(
        Rule("layer-norm", root, _normalized("LayerNorm"), _check)
        for form in _LAYER_NORM
        for root in _roots(form)
    ),
    *(Rule("rms-norm", root, _normalized("RMSNorm"), _check) for form in _RMS_NORM for root in _roots(form)),
    Rule("half-precision", op("AsType", _WIDE), _half, _check_half),
    Rule("affine", op("Multiply|Add", op("LayerNorm|RMSNorm", name="n"), const("w")), _affine, _check_affine),
)
