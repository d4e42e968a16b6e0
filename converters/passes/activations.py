"""Activations, which MLX traces as elementwise ops.

    y = Maximum(x, 0)                               ->      y = ReLU(x)
    y = Multiply(x, Sigmoid(x))                     ->      y = SiLU(x)
    y = Multiply(x, Add(Erf(x / sqrt 2), 1)) / 2    ->      y = GELU(x)

The factors may come in any order; constants are compared as exactly as the element type allows.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

from converters.dtypes import is_float
from converters.graph import Builder, Value
from converters.pattern import Match, Pattern, Rule, const, either, op, var

TOLERANCE = {"float64": 1e-6, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1e-2}
X = var("x")


def _close(m: Match, name: str, expected: float) -> bool:
    number = m.number(name)
    return number is not None and abs(number - expected) <= TOLERANCE[m["x"].dtype] * max(abs(expected), 1e-3)


def _constants(**expected: float) -> Callable[[Match], str | None]:
    """A check of named constants; `name_inverse` in a pattern is a divisor instead of a factor."""

    def check(m: Match) -> str | None:
        if not is_float(m["x"].dtype):
            return "not a floating-point type"
        if m["x"].shape != m.root.output.shape:
            return "a constant widens the result"
        for name, number in expected.items():
            inverse = f"{name}_inverse"
            if name in m.bound and not _close(m, name, number):
                return f"{name} is not {number:.6g}"
            if inverse in m.bound and not _close(m, inverse, 1 / number):
                return f"{name} is not {number:.6g}"
        return None

    return check


def _scaled(values: Pattern, name: str, shared: bool = False) -> Pattern:
    """`values` times a constant, or divided by its inverse."""
    factor, divisor = const(name), const(f"{name}_inverse")
    return either(op("Multiply", values, factor, shared=shared), op("Divide", values, divisor, shared=shared))


def _products(first: Pattern, second: Pattern, name: str) -> tuple[Pattern, ...]:
    """first * second * constant in any association, the constant as factor or as divisor."""
    return (
        op("Multiply", _scaled(first, name, shared=True), second),
        op("Multiply", first, _scaled(second, name)),
        op("Multiply", op("Multiply", first, second), const(name)),
        op("Divide", op("Multiply", first, second), const(f"{name}_inverse")),
    )


_ERF = op("Add", op("Erf", _scaled(X, "root")), const("one"))
_CUBE = either(op("Power", X, const("three")), op("Multiply", op("Square", X, shared=True), X))
_SQUARE_TERM = either(_scaled(op("Square", X), "cubic"), op("Multiply", op("Multiply", X, const("cubic")), X))
_CUBE_TERM = either(_scaled(_CUBE, "cubic"), op("Multiply", _SQUARE_TERM, X))
_BELL = either(
    _scaled(op("Add", X, _CUBE_TERM), "steepness"),
    *_products(X, op("Add", _SQUARE_TERM, const("one")), "steepness"),
    op("Multiply", X, op("Add", _scaled(op("Square", X), "product"), const("steepness"))),
)
_TANH = op("Add", op("Tanh", _BELL), const("one"))
_EXACT = _constants(root=1 / sqrt(2), one=1, half=0.5)
_APPROXIMATE = _constants(
    three=3, cubic=0.044715, steepness=sqrt(2 / pi), product=0.044715 * sqrt(2 / pi), one=1, half=0.5
)


def _gelu(form: str) -> Callable[[Builder, Match], Value]:
    return lambda b, m: b("GELU", m["x"], approximate=form)


def _plain(name: str) -> Callable[[Builder, Match], Value]:
    return lambda b, m: b(name, m["x"])


def _check_leaky(m: Match) -> str | None:
    slope = m.number("slope")
    if slope is None or not 0 <= slope <= 1:
        return "the slope is not between 0 and 1"
    return _constants()(m)


def _leaky(b: Builder, m: Match) -> Value:
    return b("LeakyReLU", m["x"], slope=m.number("slope"))


def _check_elu(m: Match) -> str | None:
    return (
        "alpha is no number"
        if "alpha" in m.bound and m.number("alpha") is None
        else _constants(zero=0, one=1)(m)
    )


def _elu(b: Builder, m: Match) -> Value:
    return b("ELU", m["x"], alpha=m.number("alpha") if "alpha" in m.bound else 1.0)


def _check_clip(m: Match) -> str | None:
    low, high = m.number("low") if "low" in m.bound else 0.0, m.number("high")
    if low is None or high is None or low > high:
        return "the bounds are no two numbers in order"
    return _constants()(m)


def _clip(b: Builder, m: Match) -> Value:
    return b("Clip", m["x"], low=m.number("low") if "low" in m.bound else 0.0, high=m.number("high"))


def _check_log_softmax(m: Match) -> str | None:
    if "r" in m.bound and m.node("r").attrs["axes"] != (m.node("l").attrs["axis"],):
        return "the maximum is over another axis"
    return _constants()(m)


_ABOVE_ZERO = op("Greater", X, const("zero"))
_EXPM1 = either(op("Subtract", op("Exp", X), const("one")), op("Expm1", X))
_SIX = op("Clip", op("Add", X, const("three")), low=0, high=6)
_SHIFTED = op(
    "Subtract", var("y"), op("Reduce", var("y"), name="r", kind="max", shared=True), name="x", shared=True
)

RULES = (
    Rule("relu", op("Maximum", X, const("zero")), _plain("ReLU"), _constants(zero=0)),
    Rule("silu", op("Multiply", X, op("Sigmoid", X)), _plain("SiLU")),
    *(Rule("gelu", root, _gelu("none"), _EXACT) for root in _products(X, _ERF, "half")),
    *(Rule("gelu-tanh", root, _gelu("tanh"), _APPROXIMATE) for root in _products(X, _TANH, "half")),
    Rule(
        "gelu-sigmoid",
        op("Multiply", X, op("Sigmoid", _scaled(X, "slope"))),
        _gelu("sigmoid"),
        _constants(slope=1.702),
    ),
    Rule("leaky-relu", op("Maximum", op("Multiply", X, const("slope")), X), _leaky, _check_leaky),
    Rule("elu", op("Select", _ABOVE_ZERO, X, op("Multiply", _EXPM1, const("alpha"))), _elu, _check_elu),
    Rule("elu", op("Select", _ABOVE_ZERO, X, _EXPM1), _elu, _check_elu),
    *(
        Rule("hardswish", root, _plain("Hardswish"), _constants(three=3, sixth=1 / 6))
        for root in _products(X, _SIX, "sixth")
    ),
    Rule("softplus", op("LogAddExp", X, const("zero")), _plain("Softplus"), _constants(zero=0)),
    Rule("mish", op("Multiply", X, op("Tanh", op("Softplus", X))), _plain("Mish")),
    Rule("clip", op("Minimum", op("Maximum", X, const("low")), const("high")), _clip, _check_clip),
    Rule("clip", op("Minimum", op("ReLU", X), const("high")), _clip, _check_clip),
    Rule(
        "log-softmax",
        op("Subtract", _SHIFTED, op("LogSumExp", var("x"), name="l")),
        lambda b, m: b("LogSoftmax", m["y"], axis=m.node("l").attrs["axis"]),
        _check_log_softmax,
    ),
    Rule(
        "log-softmax",
        op("Subtract", X, op("LogSumExp", X, name="l")),
        lambda b, m: b("LogSoftmax", m["x"], axis=m.node("l").attrs["axis"]),
        _check_log_softmax,
    ),
)
