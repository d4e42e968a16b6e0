"""Activations, by their names in `mlx.nn`; each expands into elementwise ops."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from converters.graph import Builder, Value
from converters.ops.definition import Op, in_float32, same, scalar
from converters.ops.elementwise import erf_array


def _expand_relu(b: Builder, x: Value) -> Value:
    return b("Maximum", x, scalar(b, 0, x))


def _gelu(x: np.ndarray, approximate: bool) -> np.ndarray:
    if approximate:
        return 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
    return x * (1 + erf_array(x / np.float32(sqrt(2)))) / 2


def _expand_gelu(b: Builder, x: Value, approximate: bool) -> Value:
    if approximate:
        cube = b("Multiply", b("Multiply", x, x), x)
        inner = b("Add", x, b("Multiply", scalar(b, 0.044715, x), cube))
        bell = b("Tanh", b("Multiply", scalar(b, sqrt(2 / pi), x), inner))
    else:
        bell = b("Erf", b("Multiply", x, scalar(b, 1 / sqrt(2), x)))
    half = b("Multiply", x, scalar(b, 0.5, x))
    return b("Multiply", half, b("Add", bell, scalar(b, 1, x)))


def _expand_silu(b: Builder, x: Value) -> Value:
    return b("Multiply", x, b("Sigmoid", x))


OPS = (
    Op("ReLU", (), lambda x: np.maximum(x, 0).astype(x.dtype), same, _expand_relu),
    Op("GELU", ("approximate",), in_float32(_gelu), same, _expand_gelu),
    Op("SiLU", (), in_float32(lambda x: x / (1 + np.exp(-x))), same, _expand_silu),
)
