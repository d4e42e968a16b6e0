"""Ops that compute each element from the elements at the same place; two operands broadcast as in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from math import erf, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

from converters.dtypes import is_float, numpy_dtype
from converters.graph import Value
from converters.ops.definition import Inferred, Op, broadcast, broadcasting, comparing, in_float32, same
from converters.ops.expansions import EXPANSIONS


def erf_array(x: np.ndarray) -> np.ndarray:
    """The error function, in float64, rounded to the operand's type."""
    return np.array([erf(v) for v in x.astype(np.float64).ravel()]).reshape(x.shape).astype(x.dtype)


def _inverse_erf(x: np.ndarray) -> np.ndarray:
    def one(v: float) -> float:
        if abs(v) >= 1 or v != v:
            return v * np.inf if abs(v) == 1 else np.nan
        return NormalDist().inv_cdf((v + 1) / 2) / sqrt(2)

    return np.array([one(float(v)) for v in x.ravel()]).reshape(x.shape).astype(x.dtype)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small / (1 + small), 1 / (1 + small))


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if np.issubdtype(x.dtype, np.integer):
        base, exponent = np.broadcast_arrays(x, y)
        result, base, exponent = np.ones_like(base), base.copy(), exponent.copy()
        while np.any(exponent > 0):
            result = np.where(exponent & 1, result * base, result)
            exponent, base = exponent >> 1, base * base
        return result
    return np.power(x, y)


def _remainder(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """With the sign of the divisor, a zero with the dividend's."""
    if not is_float(x.dtype.name):
        return np.remainder(x, y)
    rest = np.fmod(x, y)
    return np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


def _floor_divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.floor(x / y).astype(x.dtype) if is_float(x.dtype.name) else np.floor_divide(x, y)


def _divmod_shapes(x: Value, y: Value) -> Inferred:
    return [(broadcast(x.shape, y.shape), x.dtype)] * 2


def _cast(x: np.ndarray, dtype: str) -> np.ndarray:
    target = numpy_dtype(dtype)
    if np.issubdtype(target, np.integer) and is_float(x.dtype.name):
        # C++ conversion: towards zero, out of range through 64 bits as compilers on x86 and arm do
        wide = np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0, posinf=2.0**63 - 1024, neginf=-(2.0**63))
        return wide.astype(np.int64).astype(target)
    return x.astype(target)


def _view_shape(x: Value, dtype: str) -> Inferred:
    before, after = numpy_dtype(x.dtype).itemsize, numpy_dtype(dtype).itemsize
    shape = x.shape if before == after else (*x.shape[:-1], x.shape[-1] * before // after)  # type: ignore[operator]
    return [(shape, dtype)]


UNARY: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Negative": np.negative,
    "Sign": lambda x: np.subtract(x > 0, x < 0, dtype=np.int8).astype(x.dtype),  # of nan: 0
    "Square": np.square,
    "Ceil": np.ceil,
    "Floor": np.floor,
    "Round": np.rint,
}
FLOAT_UNARY: dict[str, Callable[..., Any]] = {
    "Exp": np.exp,
    "Expm1": np.expm1,
    "Log": np.log,
    "Log2": np.log2,
    "Log10": np.log10,
    "Log1p": np.log1p,
    "Sqrt": np.sqrt,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Tanh": np.tanh,
    "ArcSin": np.arcsin,
    "ArcCos": np.arccos,
    "ArcTan": np.arctan,
    "ArcSinh": np.arcsinh,
    "ArcCosh": np.arccosh,
    "ArcTanh": np.arctanh,
    "Erf": erf_array,
    "ErfInv": _inverse_erf,
    "Sigmoid": _sigmoid,
}
BINARY: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Divide": np.divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Power": _power,
    "FloorDivide": _floor_divide,
    "Remainder": _remainder,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "LeftShift": np.left_shift,
    "RightShift": np.right_shift,
}
FLOAT_BINARY: dict[str, Callable[..., Any]] = {
    "ArcTan2": np.arctan2,
    "LogAddExp": np.logaddexp,
}
COMPARISONS: dict[str, Callable[..., Any]] = {
    "NotEqual": np.not_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
}
COMMUTATIVE = frozenset(
    {"Add", "Multiply", "Maximum", "Minimum", "Equal", "NotEqual", "LogicalAnd", "LogicalOr"}
)


def _equal(x: np.ndarray, y: np.ndarray, equal_nan: bool) -> np.ndarray:
    return np.equal(x, y) | ((x != x) & (y != y)) if equal_nan else np.equal(x, y)


OPS = (
    *(Op(name, (), meaning, same) for name, meaning in UNARY.items()),
    *(Op(name, (), in_float32(meaning), same, EXPANSIONS.get(name)) for name, meaning in FLOAT_UNARY.items()),
    *(Op(name, (), meaning, broadcasting, EXPANSIONS.get(name)) for name, meaning in BINARY.items()),
    *(
        Op(name, (), in_float32(meaning), broadcasting, EXPANSIONS.get(name))
        for name, meaning in FLOAT_BINARY.items()
    ),
    *(Op(name, (), meaning, comparing) for name, meaning in COMPARISONS.items()),
    Op("Equal", ("equal_nan",), _equal, comparing, EXPANSIONS["Equal"]),
    Op("LogicalNot", (), np.logical_not, comparing),
    Op("BitwiseInvert", (), np.bitwise_not, same, EXPANSIONS["BitwiseInvert"]),
    Op("Select", (), np.where, broadcasting),
    Op(
        "DivMod",
        (),
        lambda x, y: (_floor_divide(x, y), _remainder(x, y)),
        _divmod_shapes,
        EXPANSIONS["DivMod"],
    ),
    Op("AsType", ("dtype",), _cast, lambda x, dtype: [(x.shape, dtype)]),
    Op("View", ("dtype",), lambda x, dtype: x.view(numpy_dtype(dtype)), _view_shape),
)
ELEMENTWISE = frozenset(op.name for op in OPS) - {"View", "DivMod"}
