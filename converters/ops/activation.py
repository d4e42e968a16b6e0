"""Activations, by their names in `mlx.nn`; each expands into elementwise ops."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

import numpy as np

from converters.graph import Builder, Value
from converters.ops.definition import Op, in_float32, same, scalar
from converters.ops.elementwise import erf_array

GELU_FORMS = ("none", "tanh", "sigmoid")  # mlx.nn.gelu, gelu_approx, gelu_fast_approx


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _gelu(x: np.ndarray, approximate: str) -> np.ndarray:
    if approximate == "sigmoid":
        return x * _sigmoid(1.702 * x)
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
    return x * (1 + erf_array(x / np.float32(sqrt(2)))) / 2


def _expand_gelu(b: Builder, x: Value, approximate: str) -> Value:
    if approximate == "sigmoid":
        return b("Multiply", x, b("Sigmoid", b("Multiply", x, scalar(b, 1.702, x))))
    if approximate == "tanh":
        cube = b("Multiply", b("Multiply", x, x), x)
        inner = b("Add", x, b("Multiply", scalar(b, 0.044715, x), cube))
        bell = b("Tanh", b("Multiply", scalar(b, sqrt(2 / pi), x), inner))
    else:
        bell = b("Erf", b("Multiply", x, scalar(b, 1 / sqrt(2), x)))
    half = b(
        "Multiply", scalar(b, 0.5, x), x
    )  # onnxruntime would drop an `x * 0.5` that something else reads
    return b("Multiply", half, b("Add", bell, scalar(b, 1, x)))


def _expand_leaky_relu(b: Builder, x: Value, slope: float) -> Value:
    scaled = b("Multiply", x, scalar(b, slope, x))
    return b("Select", b("Less", x, scalar(b, 0, x)), scaled, x)


def _expand_elu(b: Builder, x: Value, alpha: float) -> Value:
    below = b("Multiply", b("Subtract", b("Exp", x), scalar(b, 1, x)), scalar(b, alpha, x))
    return b("Select", b("Greater", x, scalar(b, 0, x)), x, below)


def _expand_hardswish(b: Builder, x: Value) -> Value:
    shifted = b("Clip", b("Add", x, scalar(b, 3, x)), low=0.0, high=6.0)
    return b("Divide", b("Multiply", x, shifted), scalar(b, 6, x))


def _expand_softplus(b: Builder, x: Value) -> Value:
    tail = b("Log1p", b("Exp", b("Negative", b("Abs", x))))
    return b("Add", b("Maximum", x, scalar(b, 0, x)), tail)


def _expand_clip(b: Builder, x: Value, low: float, high: float) -> Value:
    return b("Minimum", b("Maximum", x, scalar(b, low, x)), scalar(b, high, x))


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = x - x.max(axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def _expand_log_softmax(b: Builder, x: Value, axis: int) -> Value:
    return b("Subtract", x, b("LogSumExp", x, axis=axis))


def _activation(name: str, meaning: Callable[..., Any], expand: Callable[..., Value], *attrs: str) -> Op:
    return Op(name, attrs, in_float32(meaning), same, expand)


OPS = (
    Op(
        "ReLU",
        (),
        lambda x: np.maximum(x, 0).astype(x.dtype),
        same,
        lambda b, x: b("Maximum", x, scalar(b, 0, x)),
    ),
    _activation("GELU", _gelu, _expand_gelu, "approximate"),
    _activation("SiLU", lambda x: x * _sigmoid(x), lambda b, x: b("Multiply", x, b("Sigmoid", x))),
    _activation("LeakyReLU", lambda x, slope: np.where(x < 0, x * slope, x), _expand_leaky_relu, "slope"),
    _activation("ELU", lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)), _expand_elu, "alpha"),
    _activation("Hardswish", lambda x: x * np.clip(x + 3, 0, 6) / 6, _expand_hardswish),
    _activation("Softplus", lambda x: np.logaddexp(x, 0), _expand_softplus),
    _activation(
        "Mish",
        lambda x: x * np.tanh(np.logaddexp(x, 0)),
        lambda b, x: b("Multiply", x, b("Tanh", b("Softplus", x))),
    ),
    _activation("Clip", lambda x, low, high: np.clip(x, low, high), _expand_clip, "low", "high"),
    _activation("LogSoftmax", _log_softmax, _expand_log_softmax, "axis"),
)
ACTIVATIONS = tuple(op.name for op in OPS if op.name != "LogSoftmax")
