"""What quantising after training makes of a float graph: weights as small codes, activations in 8 bits.

Letters: N outputs and K inputs of a linear layer. Rounding to 8 bits is that of ONNX and of gemmlowp (Jacob
et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
section 2.1): value = scale * (code - zero), and 0 is always a code, so that padding with zeros is exact.
"""

from __future__ import annotations

import numpy as np

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, broadcast, scalar
from converters.ops.linear import transposed

LEVELS = 255  # steps of an 8-bit code


def range_code(low: float, high: float) -> tuple[float, int]:
    """Scale and zero of 8-bit codes for the values from `low` to `high`; 0 is taken into the range."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / LEVELS)) or 1.0
    return scale, int(np.clip(np.rint(-low / scale), 0, LEVELS))


def _scale_codes(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return (codes.astype(np.float32) * scales.astype(np.float32)).astype(scales.dtype)


def _scale_codes_shape(codes: Value, scales: Value) -> Inferred:
    if broadcast(codes.shape, scales.shape) != codes.shape or len(codes.shape) != len(scales.shape):
        raise ShapeError(f"codes of shape {codes.shape} do not take scales of shape {scales.shape}")
    return [(codes.shape, scales.dtype)]


def _expand_scale_codes(b: Builder, codes: Value, scales: Value) -> Value:
    return b("Multiply", b("AsType", codes, dtype=scales.dtype), scales)


def _look_up(codes: np.ndarray, table: np.ndarray) -> np.ndarray:
    return table[codes]


def _look_up_shape(codes: Value, table: Value) -> Inferred:
    return [(codes.shape, table.dtype)]


def _expand_look_up(b: Builder, codes: Value, table: Value) -> Value:
    return b("Gather", table, b("AsType", codes, dtype="int32"), axis=0)


def _in_steps(x: np.ndarray, scale: float, zero: int) -> np.ndarray:
    codes = np.clip(np.rint(x.astype(np.float32) / np.float32(scale)) + zero, 0, LEVELS)
    return ((codes - zero) * np.float32(scale)).astype(x.dtype)


def _expand_in_steps(b: Builder, x: Value, scale: float, zero: int) -> Value:
    codes = b("Round", b("Divide", x, scalar(b, scale, x)))
    low, high = scalar(b, -zero, x), scalar(b, LEVELS - zero, x)
    return b("Multiply", b("Minimum", b("Maximum", codes, low), high), scalar(b, scale, x))


def _dynamic_linear(
    x: np.ndarray, codes: np.ndarray, scales: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    wide = x.astype(np.float32)
    scale, zero = range_code(float(wide.min(initial=0)), float(wide.max(initial=0)))
    steps = np.clip(np.rint(wide / np.float32(scale)) + zero, 0, LEVELS) - zero
    sums = (steps.astype(np.float64) @ codes.T.astype(np.float64)).astype(np.float32)
    y = sums * (np.float32(scale) * scales.astype(np.float32))
    return (y if bias is None else y + bias).astype(x.dtype)


def _dynamic_linear_shape(x: Value, codes: Value, scales: Value, bias: Value | None = None) -> Inferred:
    if x.shape[-1] != codes.shape[1] or scales.shape != codes.shape[:1]:
        raise ShapeError(f"a linear layer of {codes.shape} does not take {x.shape}")
    return [((*x.shape[:-1], codes.shape[0]), x.dtype)]


def _expand_dynamic_linear(
    b: Builder, x: Value, codes: Value, scales: Value, bias: Value | None = None
) -> Value:
    axes = tuple(range(len(x.shape)))
    zero = scalar(b, 0, x)

    def bound(kind: str, op: str) -> Value:
        return b(op, b("Reduce", x, kind=kind, axes=axes, keepdims=False, dtype=x.dtype), zero)

    low, high = bound("min", "Minimum"), bound("max", "Maximum")
    scale = b("Divide", b("Subtract", high, low), scalar(b, LEVELS, x))
    scale = b("Select", b("Equal", scale, zero, equal_nan=False), scalar(b, 1, x), scale)
    least = b("Round", b("Divide", low, scale))
    most = b("Add", least, scalar(b, LEVELS, x))
    steps = b("Minimum", b("Maximum", b("Round", b("Divide", x, scale)), least), most)
    weight = transposed(b, b("AsType", codes, dtype=x.dtype))
    y = b("Multiply", b("Matmul", steps, weight), b("Multiply", scale, scales))
    return y if bias is None else b("Add", y, bias)


OPS = (
    Op("ScaleCodes", (), _scale_codes, _scale_codes_shape, _expand_scale_codes),
    Op("LookUp", (), _look_up, _look_up_shape, _expand_look_up),
    Op("InSteps", ("scale", "zero"), _in_steps, lambda x, **_: [(x.shape, x.dtype)], _expand_in_steps),
    Op("DynamicLinear", (), _dynamic_linear, _dynamic_linear_shape, _expand_dynamic_linear),
)
STORED = frozenset({"ScaleCodes", "LookUp", "Dequantize"})  # of constants, and yet left to the runtime
