"""Matrix products."""

from __future__ import annotations

import numpy as np

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, broadcast, in_float32, scalar
from converters.ops.shape import inverse_permutation


def _matmul_shape(a: Value, b: Value) -> Inferred:
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"inner sizes of a product differ: {a.shape} @ {b.shape}")
    return [((*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)]


def _addmm_shape(a: Value, b: Value, c: Value, alpha: float, beta: float) -> Inferred:
    ((shape, dtype),) = _matmul_shape(a, b)
    return [(broadcast(shape, c.shape), dtype)]


def _addmm(a: np.ndarray, b: np.ndarray, c: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return alpha * (a @ b) + beta * c


def _expand_addmm(b: Builder, left: Value, right: Value, bias: Value, alpha: float, beta: float) -> Value:
    product = b("Matmul", left, right)
    if alpha != 1:
        product = b("Multiply", product, scalar(b, alpha, product))
    if beta != 1:
        bias = b("Multiply", bias, scalar(b, beta, bias))
    return b("Add", product, bias)


def _linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    return x @ weight.T if bias is None else x @ weight.T + bias


def _linear_shape(x: Value, weight: Value, bias: Value | None = None) -> Inferred:
    if x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"a linear layer of {weight.shape} does not take {x.shape}")
    return [((*x.shape[:-1], weight.shape[0]), x.dtype)]


def transposed(b: Builder, x: Value) -> Value:
    """The last two axes exchanged."""
    axes = (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)
    return b("Transpose", x, axes=inverse_permutation(axes))


def _expand_linear(b: Builder, x: Value, weight: Value, bias: Value | None = None) -> Value:
    y = b("Matmul", x, transposed(b, weight))
    return y if bias is None else b("Add", y, bias)


OPS = (
    Op("Matmul", (), in_float32(np.matmul), _matmul_shape),
    Op("AddMM", ("alpha", "beta"), in_float32(_addmm), _addmm_shape, _expand_addmm),
    Op("Linear", (), in_float32(_linear), _linear_shape, _expand_linear),
)
