"""Operations on each element: arithmetic, functions, comparisons, casts, activations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from fuzz.operation import Choice, Operation, Unfit

from converters.dtypes import ALL, is_float, is_integer, numpy_dtype

TYPES = tuple(name for name in ALL if name not in ("float64", "complex64"))


def mlx_dtype(name: str) -> mx.Dtype:
    """The MLX dtype called `name`."""
    return getattr(mx, "bool_" if name == "bool" else name)


def one(*kinds: str) -> Callable[..., Choice]:
    """Any value whose type is of these kinds ("float", "integer", "bool"), by default any but bool."""

    def choose(d: Any) -> Choice:
        return (d.value(*(kinds or ("float", "integer"))),), {}

    return choose


def two(*kinds: str, same: bool = False) -> Callable[..., Choice]:
    """Two values that broadcast; `same`: of the same type."""

    def choose(d: Any) -> Choice:
        x = d.value(*(kinds or ("float", "integer", "bool")))
        y = d.partner(x, *kinds, dtype=x.dtype if same else None)
        return ((x, y) if d.flag() else (y, x)), {}

    return choose


def three(d: Any) -> Choice:
    """A condition and two values of one type; all broadcast."""
    x = d.value("float", "integer", "bool")
    return (d.partner(x, "bool"), x, d.partner(x, dtype=x.dtype)), {}


def _divisible(op: Callable[..., Any]) -> Callable[..., Any]:
    """The operation with 1 in place of a divisor of 0, and a divisor of -1 that overflows nothing."""
    return lambda x, y: op(x, mx.where(mx.abs(y) <= 1, mx.array(1, y.dtype), y))


def _angle(y: mx.array, x: mx.array) -> mx.array:
    """The angle, where it does not hang on the sign of a zero: MLX's erf(0) is -0."""
    return mx.arctan2(y, mx.where(y == 0, mx.array(1, x.dtype), x))


def _shift(op: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: op(x, y & mx.array(x.dtype.size * 8 - 1, y.dtype))


def _cast(x: mx.array, dtype: str) -> mx.array:
    """To an unsigned type the magnitude: what a negative float becomes there is not defined."""
    if dtype.startswith("u") and x.dtype in (mx.float32, mx.float16, mx.bfloat16):
        x = mx.abs(x)
    return x.astype(mlx_dtype(dtype))


def _choose_cast(d: Any) -> Choice:
    return (d.value("float", "integer", "bool"),), {"dtype": d.choice(TYPES)}


def _choose_view(d: Any) -> Choice:
    x = d.value("integer")
    size = numpy_dtype(x.dtype).itemsize
    twins = [n for n in TYPES if is_integer(n) and numpy_dtype(n).itemsize == size]
    return (x,), {"dtype": d.choice(twins)}


def _choose_clip(d: Any) -> Choice:
    low = d.integer(-4, 2)
    return (d.value("float", "integer"),), {"low": low, "high": low + d.integer(0, 4)}


def _choose_clip_below(d: Any) -> Choice:
    return (d.value("float", "integer"),), {"low": d.integer(-2, 3)}


def _choose_power(d: Any) -> Choice:
    return (d.value("float", "integer"),), {"exponent": d.choice((0, 1, 2, 3))}


def _choose_scalar(d: Any) -> Choice:
    return (d.value("float", "integer"),), {"scalar": d.choice((0.5, 2.0, 3, -1, 0, 0.1))}


def _choose_dimension(d: Any) -> Choice:
    x = d.value("float", rank=1)
    return (x,), {"axis": d.integer(0, x.rank - 1)}


def _choose_round(d: Any) -> Choice:
    return (d.value("float", dtype="float32"),), {"decimals": d.choice((0, 1))}


def _choose_float32_pair(d: Any) -> Choice:
    x = d.value("float", dtype="float32")
    return (x, d.partner(x, dtype="float32")), {}


def _choose_integers_or(d: Any, *others: str) -> Choice:
    x = d.value("integer", *others)
    return (x, d.partner(x, dtype=x.dtype)), {}


def _choose_shift(d: Any) -> Choice:
    x = d.value("integer")
    y = d.partner(x, dtype=x.dtype)
    return (x, y), {}


SMOOTH: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(mx, name)
        for name in [
            "exp",
            "expm1",
            "log",
            "log2",
            "log10",
            "log1p",
            "sqrt",
            "rsqrt",
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
            "arcsin",
            "arccos",
            "arctan",
            "arcsinh",
            "arccosh",
            "arctanh",
            "erf",
            "erfinv",
            "sigmoid",
            "reciprocal",
            "degrees",
            "radians",
        ]
    },
    **{
        name: getattr(nn, name)
        for name in [
            "gelu",
            "gelu_approx",
            "gelu_fast_approx",
            "silu",
            "softplus",
            "softsign",
            "mish",
            "hardswish",
            "selu",
            "log_sigmoid",
            "relu2",
        ]
    },
    "elu": partial(nn.elu, alpha=0.75),
    "celu": partial(nn.celu, alpha=1.5),
    "softshrink": nn.softshrink,
    "leaky_relu": nn.leaky_relu,
}
EXACT = {"negative": mx.negative, "abs": mx.abs, "square": mx.square}
CHOOSING: dict[str, Callable[..., Any]] = {"relu": nn.relu, "relu6": nn.relu6, "hard_tanh": nn.hard_tanh}
STEPS = {"sign": mx.sign, "floor": mx.floor, "ceil": mx.ceil, "step": nn.step, "hard_shrink": nn.hard_shrink}
PREDICATES = {"isnan": mx.isnan, "isinf": mx.isinf, "isfinite": mx.isfinite}
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")

ELEMENTWISE: dict[str, Operation] = {
    **{name: Operation(fn, one("float")) for name, fn in SMOOTH.items()},
    **{
        f"{name}_of_integers": Operation(getattr(mx, name), one("integer", "bool"))
        for name in ("sin", "tanh")
    },
    **{name: Operation(fn, one(), "exact") for name, fn in EXACT.items()},
    **{name: Operation(fn, one("float"), "moves") for name, fn in CHOOSING.items()},
    **{name: Operation(fn, one("float"), "steps") for name, fn in STEPS.items()},
    **{name: Operation(fn, one("float"), "moves") for name, fn in PREDICATES.items()},
    **{name: Operation(getattr(mx, name), two(), "exact") for name in ("add", "multiply")},
    "subtract": Operation(mx.subtract, two("float", "integer"), "exact"),
    **{name: Operation(getattr(mx, name), two(same=True), "moves") for name in ("maximum", "minimum")},
    **{name: Operation(getattr(mx, name), two(), "steps") for name in COMPARISONS},
    **{name: Operation(getattr(mx, name), two(), "steps") for name in ("logical_and", "logical_or")},
    "divide": Operation(lambda x, y: x / (mx.abs(y) + 1), two()),
    "power": Operation(lambda x, y: mx.power(mx.abs(x) + 0.5, mx.tanh(y)), two("float")),
    "power_of": Operation(lambda x, exponent: x**exponent, _choose_power, "whole"),
    "arctan2": Operation(_angle, two("float", same=True)),
    "logaddexp": Operation(mx.logaddexp, two("float")),
    "remainder": Operation(_divisible(mx.remainder), partial(_choose_integers_or), "exact"),
    "floor_divide": Operation(_divisible(mx.floor_divide), partial(_choose_integers_or), "exact"),
    "divmod": Operation(_divisible(mx.divmod), partial(_choose_integers_or), "exact"),
    "float_remainder": Operation(_divisible(mx.remainder), _choose_float32_pair, "steps"),
    "float_floor_divide": Operation(_divisible(mx.floor_divide), _choose_float32_pair, "steps"),
    "bitwise_and": Operation(mx.bitwise_and, lambda d: _choose_integers_or(d, "bool"), "moves"),
    "bitwise_or": Operation(mx.bitwise_or, lambda d: _choose_integers_or(d, "bool"), "moves"),
    "bitwise_xor": Operation(mx.bitwise_xor, lambda d: _choose_integers_or(d, "bool"), "moves"),
    "bitwise_invert": Operation(lambda x: mx.bitwise_invert(x), one("integer"), "moves"),
    "left_shift": Operation(_shift(mx.left_shift), _choose_shift, "moves"),
    "right_shift": Operation(_shift(mx.right_shift), _choose_shift, "moves"),
    "logical_not": Operation(mx.logical_not, one("bool", "integer"), "moves"),
    "where": Operation(mx.where, three, "moves"),
    "clip": Operation(lambda x, low, high: mx.clip(x, low, high), _choose_clip, "moves"),
    "clip_below": Operation(lambda x, low: mx.clip(x, low, None), _choose_clip_below, "moves"),
    "scale": Operation(lambda x, scalar: x * scalar, _choose_scalar, "exact"),
    "shift": Operation(lambda x, scalar: scalar - x, _choose_scalar, "exact"),
    "divide_by_size": Operation(lambda x, axis: x / (x.shape[axis] + 1), _choose_dimension),
    "times_root_of_size": Operation(lambda x, axis: x * x.shape[axis] ** 0.5, _choose_dimension),
    "round": Operation(lambda x, decimals: mx.round(x, decimals), _choose_round, "steps"),
    "astype": Operation(_cast, _choose_cast, "moves"),
    "view": Operation(lambda x, dtype: x.view(mlx_dtype(dtype)), _choose_view, "moves"),
    "nan_to_num": Operation(mx.nan_to_num, one("float"), "moves"),
    "stop_gradient": Operation(mx.stop_gradient, one(), "moves"),
}


def cast_jumps(source: str, target: str) -> bool:
    """Whether a cast needs exact operands: from floats to anything else."""
    return is_float(source) and not is_float(target)


__all__ = ["ELEMENTWISE", "TYPES", "Unfit", "cast_jumps", "mlx_dtype", "one", "two"]
