"""Activation functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.targets.coreml.meaning.definition import FLOATS, Meaning, axis_of, chosen
from converters.targets.coreml.meaning.elementwise import erf_of

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def gelu(x: Array, mode: str = "EXACT") -> Array:
    """Gaussian error linear unit: exact, or one of the two usual approximations."""
    chosen(mode, ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"))
    if mode == "EXACT":
        return np.float32(0.5) * x * (1 + erf_of(x * np.float32(np.sqrt(0.5))))
    if mode == "SIGMOID_APPROXIMATION":
        return x * sigmoid(np.float32(1.702) * x)
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (1 + np.tanh(inner))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) without overflow."""
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def softmax(x: Array, axis: Any = -1) -> Array:
    """exp(x) divided by its sum over `axis`."""
    index = axis_of(axis, x.ndim)
    e = np.exp(x - x.max(index, keepdims=True)) if x.size else x
    e /= e.sum(index, keepdims=True)
    return e


def per_channel(parameter: Array, x: Array) -> Array:
    """A vector with an entry per channel, shaped so that it broadcasts over axis 1 of `x`."""
    if parameter.ndim != 1 or x.ndim < 2 or x.shape[1] != parameter.shape[0]:
        raise ValueError(f"{parameter.shape} for the channels of {x.shape}")
    return parameter.reshape(1, -1, *[1] * (x.ndim - 2))


def _elu(x: Array, alpha: Array) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _prelu(x: Array, alpha: Array) -> Array:
    return np.where(x > 0, x, per_channel(alpha, x) * x)


def _softplus_parametric(x: Array, alpha: Array, beta: Array) -> Array:
    return per_channel(alpha, x) * softplus(per_channel(beta, x) * x)


_FUNCTIONS: dict[str, Any] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "gelu": gelu,
    "softplus": softplus,
    "softplus_parametric": _softplus_parametric,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softmax": softmax,
    "elu": _elu,
    "prelu": _prelu,
    "leaky_relu": lambda x, alpha: np.where(x >= 0, x, alpha * x),
    "linear_activation": lambda x, alpha, beta: alpha * x + beta,
    "clamped_relu": lambda x, alpha, beta: np.minimum(np.where(x >= 0, x, alpha * x), beta),
    "scaled_tanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "sigmoid_hard": lambda x, alpha, beta: np.minimum(np.maximum(alpha * x + beta, 0), 1),
    "thresholded_relu": lambda x, alpha: np.where(x >= alpha, x, 0),
}
MEANINGS = {name: Meaning(function, allowed=FLOATS) for name, function in _FUNCTIONS.items()}
