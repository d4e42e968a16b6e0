"""Functions that some targets lack, in simpler ops, accurate also where the plain formula is not.

Half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, pi
from typing import Any

import numpy as np

from converters.graph import Builder, Value
from converters.ops.definition import scalar


def _expand_expm1(b: Builder, x: Value) -> Value:
    """exp(x) - 1; near zero 2 t / (1 - t) with t = tanh(x / 2)."""
    one = scalar(b, 1, x)
    t = b("Tanh", b("Multiply", x, scalar(b, 0.5, x)))
    near = b("Divide", b("Add", t, t), b("Subtract", one, t))
    far = b("Subtract", b("Exp", x), one)
    return b("Select", b("Less", b("Abs", x), one), near, far)


def _expand_log1p(b: Builder, x: Value) -> Value:
    """Kahan: with u = 1 + x rounded, log(u) x / (u - 1) makes up for the rounding."""
    one = scalar(b, 1, x)
    u = b("Add", x, one)
    near = b("Divide", b("Multiply", b("Log", u), x), b("Subtract", u, one))
    rounded = b("LogicalOr", b("Equal", u, one, equal_nan=False), b("Equal", u, x, equal_nan=False))
    tiny = b("Equal", u, one, equal_nan=False)
    return b("Select", tiny, x, b("Select", rounded, b("Log", u), near))


def _negative(b: Builder, x: Value) -> Value:
    """Whether the sign bit is set, -0 included."""
    zero, one = scalar(b, 0, x), scalar(b, 1, x)
    below = b("Less", b("Divide", one, x), zero)
    return b("LogicalOr", b("Less", x, zero), b("LogicalAnd", b("Equal", x, zero, equal_nan=False), below))


def _expand_arctan2(b: Builder, y: Value, x: Value) -> Value:
    """The arctangent of the smaller over the larger magnitude, put into its octant."""
    high, wide = b("Abs", y), b("Abs", x)
    large, small = b("Maximum", high, wide), b("Minimum", high, wide)
    same_size = b(
        "LogicalAnd", b("Equal", small, large, equal_nan=False), b("Greater", large, scalar(b, 0, x))
    )
    empty = b("Equal", large, scalar(b, 0, x), equal_nan=False)
    ratio = b("Divide", small, b("Select", empty, scalar(b, 1, x), large))
    ratio = b("Select", same_size, scalar(b, 1, x), ratio)
    angle = b("ArcTan", ratio)
    angle = b("Select", b("Greater", high, wide), b("Subtract", scalar(b, pi / 2, x), angle), angle)
    angle = b("Select", _negative(b, x), b("Subtract", scalar(b, pi, x), angle), angle)
    return b("Select", _negative(b, y), b("Negative", angle), angle)


def _expand_logaddexp(b: Builder, x: Value, y: Value) -> Value:
    """The larger plus log1p(exp(smaller - larger)); the larger alone where that difference is no number."""
    large, small = b("Maximum", x, y), b("Minimum", x, y)
    infinity = scalar(b, np.inf, x)
    alone = b(
        "LogicalOr",
        b("Equal", small, b("Negative", infinity), equal_nan=False),
        b("Equal", large, infinity, equal_nan=False),
    )
    joined = b("Add", large, b("Log1p", b("Exp", b("Subtract", small, large))))
    return b("Select", alone, large, joined)


LARGE = 1e18  # its square is still a float32

# Giles 2012, "Approximating the erfinv function": single precision, near the centre and in the tails
CENTRE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087)
CENTRE += (-0.00125372503, -0.00417768164, 0.246640727, 1.50140941)
TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773)
TAIL += (-0.0076224613, 0.00943887047, 1.00167406, 2.83297682)


def _polynomial(b: Builder, x: Value, coefficients: tuple[float, ...]) -> Value:
    total = scalar(b, coefficients[0], x)
    for coefficient in coefficients[1:]:
        total = b("Add", b("Multiply", total, x), scalar(b, coefficient, x))
    return total


def _expand_erf_inv(b: Builder, x: Value) -> Value:
    one = scalar(b, 1, x)
    w = b("Negative", b("Log", b("Multiply", b("Subtract", one, x), b("Add", one, x))))
    near = _polynomial(b, b("Subtract", w, scalar(b, 2.5, x)), CENTRE)
    far = _polynomial(b, b("Subtract", b("Sqrt", w), scalar(b, 3, x)), TAIL)
    y = b("Multiply", x, b("Select", b("Less", w, scalar(b, 5, x)), near, far))
    edge = b("Equal", b("Abs", x), one, equal_nan=False)
    return b("Select", edge, b("Multiply", x, scalar(b, np.inf, x)), y)


def _logarithm(base: float) -> Callable[..., Value]:
    """Of another base, by the natural one."""
    return lambda b, x: b("Multiply", b("Log", x), scalar(b, 1 / log(base), x))


def _expand_arcsinh(b: Builder, x: Value) -> Value:
    """sign(x) log1p(|x| + x² / (1 + sqrt(1 + x²))); log(2 |x|) where the square would overflow."""
    one, size = scalar(b, 1, x), b("Abs", x)
    small = b("Minimum", size, scalar(b, LARGE, x))
    square = b("Multiply", small, small)
    root = b("Add", one, b("Sqrt", b("Add", one, square)))
    near = b("Log1p", b("Add", small, b("Divide", square, root)))
    far = b("Add", b("Log", size), scalar(b, log(2), x))
    y = b("Select", b("Greater", size, scalar(b, LARGE, x)), far, near)
    return b("Select", b("Less", x, scalar(b, 0, x)), b("Negative", y), y)


def _expand_arccosh(b: Builder, x: Value) -> Value:
    """log1p(t + sqrt(2 t + t²)) with t = x - 1; log(2 x) where the square would overflow."""
    t = b("Minimum", b("Subtract", x, scalar(b, 1, x)), scalar(b, LARGE, x))
    near = b("Log1p", b("Add", t, b("Sqrt", b("Multiply", t, b("Add", t, scalar(b, 2, x))))))
    far = b("Add", b("Log", x), scalar(b, log(2), x))
    return b("Select", b("Greater", x, scalar(b, LARGE, x)), far, near)


def _expand_invert(b: Builder, x: Value) -> Value:
    """-1 - x, which of unsigned numbers is the largest minus x."""
    most = np.iinfo(x.dtype).max if x.dtype.startswith("u") else -1
    return b("Subtract", b.constant(most, dtype=x.dtype), x)


def _power_of_two(b: Builder, exponent: Value) -> Value:
    return b("Power", scalar(b, 2, exponent), exponent)


def _expand_left_shift(b: Builder, x: Value, shift: Value) -> Value:
    return b("Multiply", x, _power_of_two(b, shift))


def _expand_right_shift(b: Builder, x: Value, shift: Value) -> Value:
    """In two steps, since the sign bit is no positive power."""
    half = b("FloorDivide", shift, scalar(b, 2, shift))
    rest = b("Subtract", shift, half)
    return b("FloorDivide", b("FloorDivide", x, _power_of_two(b, half)), _power_of_two(b, rest))


def _common_bits(b: Builder, x: Value, y: Value) -> Value:
    """x AND y of signed numbers, bit by bit: floor(x / 2^k) mod 2 is bit k, also of negative numbers.

    At most 32 bits are summed at once, as onnxruntime sums in float64.
    """
    two, zero = scalar(b, 2, x), scalar(b, 0, x)

    def shared(first: int, end: int) -> Value:
        powers = b.constant(np.array([2**k for k in range(first, end)], x.dtype))
        columns = [b("Reshape", value, shape=(*value.shape, 1)) for value in (x, y)]
        bits = [b("Remainder", b("FloorDivide", column, powers), two) for column in columns]
        each = b("Multiply", b("Multiply", *bits), powers)
        last = (len(each.shape) - 1,)
        return b("Reduce", each, kind="sum", axes=last, keepdims=False, dtype=x.dtype)

    total = b("Add", shared(0, 32), shared(32, 63)) if x.dtype == "int64" else shared(0, 31)
    both = b("LogicalAnd", b("Less", x, zero), b("Less", y, zero))
    return b("Add", total, b("Select", both, scalar(b, np.iinfo(x.dtype).min, x), zero))


def _bitwise(combine: Callable[[Builder, Value, Value, Value], Value]) -> Callable[..., Value]:
    """An operation on bits from x, y and what bits they share, in sums that wrap around."""

    def expand(b: Builder, x: Value, y: Value) -> Value:
        dtype = x.dtype
        signed = "int64" if dtype.endswith("64") else "int32"
        x, y = (v if v.dtype == signed else b("AsType", v, dtype=signed) for v in (x, y))
        result = combine(b, x, y, _common_bits(b, x, y))
        return result if dtype == signed else b("AsType", result, dtype=dtype)

    return expand


def _either(b: Builder, x: Value, y: Value, both: Value) -> Value:
    return b("Subtract", b("Add", x, y), both)


def _expand_equal(b: Builder, x: Value, y: Value, equal_nan: bool) -> Value | None:
    if not equal_nan:
        return None
    both = b("LogicalAnd", b("NotEqual", x, x), b("NotEqual", y, y))
    return b("LogicalOr", b("Equal", x, y, equal_nan=False), both)


def _divmod(b: Builder, x: Value, y: Value) -> tuple[Value, ...]:
    return b("FloorDivide", x, y), b("Remainder", x, y)


def _in_float32(expand: Callable[..., Value]) -> Callable[..., Value]:
    def widened(b: Builder, *operands: Value) -> Value:
        dtype = operands[0].dtype
        if dtype not in ("float16", "bfloat16"):
            return expand(b, *operands)
        return b("AsType", expand(b, *(b("AsType", x, dtype="float32") for x in operands)), dtype=dtype)

    return widened


EXPANSIONS: dict[str, Callable[..., Any]] = {
    "Expm1": _in_float32(_expand_expm1),
    "Log1p": _in_float32(_expand_log1p),
    "Log2": _in_float32(_logarithm(2)),
    "Log10": _in_float32(_logarithm(10)),
    "ErfInv": _in_float32(_expand_erf_inv),
    "ArcTan2": _in_float32(_expand_arctan2),
    "LogAddExp": _in_float32(_expand_logaddexp),
    "ArcSinh": _in_float32(_expand_arcsinh),
    "ArcCosh": _in_float32(_expand_arccosh),
    "BitwiseAnd": _bitwise(lambda b, x, y, both: both),
    "BitwiseOr": _bitwise(_either),
    "BitwiseXor": _bitwise(lambda b, x, y, both: b("Subtract", _either(b, x, y, both), both)),
    "BitwiseInvert": _expand_invert,
    "LeftShift": _expand_left_shift,
    "RightShift": _expand_right_shift,
    "Equal": _expand_equal,
    "DivMod": _divmod,
}
