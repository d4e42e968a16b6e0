"""Operations that compute each element from the elements at the same place."""

from __future__ import annotations

from functools import cache, partial
from math import erf, exp, pi, sqrt
from typing import Any

import numpy as np

from converters.targets.coreml.meaning.definition import (
    DTYPES,
    FLOATS,
    NUMBERS,
    Meaning,
    limited_broadcast,
)

BOOLS = frozenset({"bool"})
ERF_STEP = 1 / 256
ERF_END = 6.0  # from here on erf is 1 in float64
ERF_PART = 1 << 15  # elements computed at a time, so that they stay in the cache


@cache
def _erf_table() -> tuple[np.ndarray, np.ndarray]:
    """erf and its derivative at multiples of ERF_STEP."""
    grid = [step * ERF_STEP for step in range(int(ERF_END / ERF_STEP) + 2)]
    return np.array([erf(x) for x in grid]), np.array([2 / sqrt(pi) * exp(-x * x) for x in grid])


def erf_of(x: np.ndarray) -> np.ndarray:
    """The error function of float32 elements, to float32's precision: Taylor's series around the nearest
    point of a table, four terms."""
    values, slopes = _erf_table()
    flat = np.ascontiguousarray(x, np.float32).reshape(-1)
    result = np.empty_like(flat)
    for start in range(0, flat.size, ERF_PART):
        part = flat[start : start + ERF_PART].astype(np.float64)
        size = np.minimum(np.abs(part), ERF_END)
        size[np.isnan(part)] = 0
        index = np.rint(size / ERF_STEP).astype(np.intp)
        near = index * ERF_STEP
        d = size - near
        series = d * (1 - d * (near - d * ((2 * near * near - 1) / 3 - d * near * (2 * near * near - 3) / 6)))
        done = np.copysign(values[index] + slopes[index] * series, part)
        done[np.isnan(part)] = np.nan
        result[start : start + ERF_PART] = done
    return result.reshape(x.shape)


def saturated(x: np.ndarray, dtype: str) -> np.ndarray:
    """Floats as integers: towards zero, clipped to what the type holds, as ARM converts them; NaN is 0."""
    bounds = np.iinfo(dtype)
    return np.clip(np.nan_to_num(np.trunc(np.asarray(x, np.float64))), bounds.min, bounds.max).astype(dtype)


def _cast(x: np.ndarray, dtype: str) -> np.ndarray:
    wanted = DTYPES[dtype]
    if wanted == "bool":
        return x != 0
    if x.dtype.kind == "f" and not wanted.startswith("float"):
        return saturated(x, wanted)
    return x.astype(wanted)


def _cast_dtype(x: np.ndarray, dtype: str) -> tuple[str, ...]:
    return (DTYPES[dtype],)


def _binary(function: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    limited_broadcast(x, y)
    return function(x, y)


def _unary(function: np.ufunc, x: np.ndarray) -> np.ndarray:
    return function(x)


def _real_div(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Integers are divided as real numbers and cut, as the output keeps their type."""
    return np.divide(x, y) if x.dtype.kind == "f" else saturated(np.divide(x, y), x.dtype.name)


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.power(x, y)
    whole = np.power(x, np.maximum(y, 0))
    return np.where(y >= 0, whole, saturated(np.power(x.astype(np.float64), y), x.dtype.name))


def _select(cond: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    limited_broadcast(cond, a, b)
    return np.where(cond, a, b)


def _inverse(x: np.ndarray, epsilon: Any = 1e-4) -> np.ndarray:
    return 1 / (x + np.asarray(epsilon, np.float32))


def _log(x: np.ndarray, epsilon: Any = 1e-45) -> np.ndarray:
    return np.log(x + np.asarray(epsilon, np.float32))


def _rsqrt(x: np.ndarray, epsilon: Any = 1e-12) -> np.ndarray:
    return 1 / np.sqrt(x + np.asarray(epsilon, np.float32))


def _exp2(x: np.ndarray) -> np.ndarray:
    return np.exp2(x) if x.dtype.kind == "f" else saturated(np.exp2(x.astype(np.float64)), x.dtype.name)


def _clip(x: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(x, alpha), beta)


_ARITHMETIC: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": _real_div,
    "floor_div": np.floor_divide,  # rounds to minus infinity
    "mod": np.mod,  # has the sign of the divisor
    "pow": _power,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
_COMPARISONS: dict[str, Any] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}
_LOGIC: dict[str, Any] = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
_FLOAT_UFUNCS: dict[str, np.ufunc] = {
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "exp": np.exp,
    "floor": np.floor,
    "round": np.rint,  # halves to even
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
_NUMBER_UFUNCS: dict[str, np.ufunc] = {"abs": np.absolute, "sign": np.sign, "square": np.square}
_FLOAT_FUNCTIONS: dict[str, Any] = {
    "erf": erf_of,
    "inverse": _inverse,
    "log": _log,
    "rsqrt": _rsqrt,
    "clip": _clip,
}
_NUMBER_FUNCTIONS: dict[str, Any] = {
    "exp2": _exp2,
    "threshold": lambda x, alpha: np.maximum(x, alpha),
}

_both = ("x", "y")
MEANINGS = (
    {name: Meaning(partial(_binary, f), same=_both, allowed=NUMBERS) for name, f in _ARITHMETIC.items()}
    | {name: Meaning(partial(_binary, f), "=bool", _both, NUMBERS) for name, f in _COMPARISONS.items()}
    | {name: Meaning(partial(_binary, f), "=bool", _both, BOOLS) for name, f in _LOGIC.items()}
    | {name: Meaning(partial(_unary, f), allowed=FLOATS) for name, f in _FLOAT_UFUNCS.items()}
    | {name: Meaning(partial(_unary, f), allowed=NUMBERS) for name, f in _NUMBER_UFUNCS.items()}
    | {name: Meaning(f, allowed=FLOATS) for name, f in _FLOAT_FUNCTIONS.items()}
    | {name: Meaning(f, allowed=NUMBERS) for name, f in _NUMBER_FUNCTIONS.items()}
    | {
        "logical_not": Meaning(partial(_unary, np.logical_not), "=bool", ("x",), BOOLS),
        "cast": Meaning(_cast, _cast_dtype, moves=True),
        "select": Meaning(_select, "a", ("a", "b"), NUMBERS | BOOLS, moves=True),
        "identity": Meaning(lambda x: x, moves=True),
    }
)
