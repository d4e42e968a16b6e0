"""Normalisations over the last axis, as in `mx.fast`: recovered by passes, whole in captures on Metal.

Letters: N the size of the last axis. Statistics are taken in float32, as MLX does.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Builder, Value
from converters.ops.definition import Op, in_float32, same, size_as


def _layer_norm(
    x: np.ndarray, weight: np.ndarray | None = None, bias: np.ndarray | None = None, *, eps: float
) -> np.ndarray:
    centred = x - np.mean(x, axis=-1, keepdims=True)
    y = centred / np.sqrt(np.mean(np.square(centred), axis=-1, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _rms_norm(x: np.ndarray, weight: np.ndarray | None = None, *, eps: float) -> np.ndarray:
    y = x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + eps)
    return y if weight is None else y * weight


def _wide(b: Builder, x: Value) -> Value:
    return b("AsType", x, dtype="float32") if x.dtype in ("float16", "bfloat16") else x


def _mean(b: Builder, x: Value) -> Value:
    total = b("Reduce", x, kind="sum", axes=(len(x.shape) - 1,), keepdims=True, dtype=x.dtype)
    return b("Divide", total, size_as(b, x.shape[-1], x.dtype))


def _scaled(b: Builder, x: Value, eps: float) -> Value:
    """x over the root of the mean of its squares."""
    square = _mean(b, b("Square", x))
    return b("Multiply", x, b("Rsqrt", b("Add", square, b.constant(eps, dtype=x.dtype))))


def _affine(b: Builder, y: Value, dtype: str, weight: Value | None, bias: Value | None = None) -> Value:
    y = y if weight is None else b("Multiply", y, _wide(b, weight))
    y = y if bias is None else b("Add", y, _wide(b, bias))
    return y if y.dtype == dtype else b("AsType", y, dtype=dtype)


def _expand_layer_norm(
    b: Builder, x: Value, weight: Value | None = None, bias: Value | None = None, *, eps: float
) -> Value:
    wide = _wide(b, x)
    return _affine(b, _scaled(b, b("Subtract", wide, _mean(b, wide)), eps), x.dtype, weight, bias)


def _expand_rms_norm(b: Builder, x: Value, weight: Value | None = None, *, eps: float) -> Value:
    return _affine(b, _scaled(b, _wide(b, x), eps), x.dtype, weight)


OPS: tuple[Op, ...] = (
    Op("LayerNorm", ("eps",), in_float32(_layer_norm), same, _expand_layer_norm),
    Op("RMSNorm", ("eps",), in_float32(_rms_norm), same, _expand_rms_norm),
)
