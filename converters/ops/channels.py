"""What transformers are made of where the channels come before the tokens, (B, C, 1, S).

From Apple's "Deploying Transformers on the Apple Neural Engine" (2022) and its code, ml-ane-transformers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, broadcast, in_float32
from converters.ops.normalization import standardized

SWAPPED = (0, 2, 1, 3)


def _product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.matmul(x.transpose(SWAPPED), y.transpose(SWAPPED)).transpose(SWAPPED)


def _product_shape(x: Value, y: Value) -> Inferred:
    if len(x.shape) != 4 or len(y.shape) != 4 or x.shape[3] != y.shape[1]:
        raise ShapeError(f"a product over channels takes no {x.shape} and {y.shape}")
    batch, height = broadcast((x.shape[0], x.shape[2]), (y.shape[0], y.shape[2]))
    return [((batch, x.shape[1], height, y.shape[3]), x.dtype)]


def _expand_product(b: Builder, x: Value, y: Value) -> Value:
    rows, columns = (b("Transpose", value, axes=SWAPPED) for value in (x, y))
    return b("Transpose", b("Matmul", rows, columns), axes=SWAPPED)


def _as_columns(vector: Any, rank: int) -> tuple[Any, ...]:
    return (vector.shape[0], *(1,) * (rank - 2))


def _norm(x: np.ndarray, *vectors: np.ndarray, eps: float) -> np.ndarray:
    y = x - x.mean(1, keepdims=True)
    y = y / np.sqrt(np.square(y).mean(1, keepdims=True) + x.dtype.type(eps))
    for step, vector in zip((np.multiply, np.add), vectors, strict=False):
        y = step(y, vector.reshape(_as_columns(vector, x.ndim)))
    return y


def _norm_shape(x: Value, *vectors: Value, eps: float) -> Inferred:
    if any(vector.shape != x.shape[1:2] for vector in vectors):
        raise ShapeError(f"normalizing the channels of {x.shape} takes vectors of {x.shape[1]}")
    return [(x.shape, x.dtype)]


def _expand_norm(b: Builder, x: Value, *vectors: Value, eps: float) -> Value:
    columns = [b("Reshape", vector, shape=_as_columns(vector, len(x.shape))) for vector in vectors]
    return standardized(b, x, columns, eps, 1, centred=True)


OPS = (
    # "nchw,nwhu->nchu": the channels of y by those of x
    Op("ChannelMatmul", (), in_float32(_product), _product_shape, _expand_product),
    # LayerNorm over axis 1
    Op("ChannelLayerNorm", ("eps",), in_float32(_norm), _norm_shape, _expand_norm),
)
