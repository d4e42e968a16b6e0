"""Normalizations, by their names in `mx.fast` and `mlx.nn`.

Letters: N batch, C channels, G groups. As in MLX the statistics are computed in float32, the normalized
values are rounded to the type of x, and weight and bias are applied in that type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, in_float32, scalar
from converters.sizes import Shape, divide, product


def _vector_shapes(x: Value, *vectors: Value, axis: int) -> Inferred:
    for vector in vectors:
        if vector.shape != (x.shape[axis],):
            raise ShapeError(f"normalizing {x.shape} over axis {axis} takes no weight or bias {vector.shape}")
    return [(x.shape, x.dtype)]


def _last_axis(x: Value, *vectors: Value, eps: float) -> Inferred:
    return _vector_shapes(x, *vectors, axis=-1)


def _standardized(x: np.ndarray, eps: float, axes: int | tuple[int, ...] = -1) -> np.ndarray:
    centered = x - x.mean(axes, keepdims=True)
    return centered / np.sqrt(np.square(centered).mean(axes, keepdims=True) + x.dtype.type(eps))


def _rms(x: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + x.dtype.type(eps))


def _then_affine(normalize: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    rounded = in_float32(normalize)

    def meaning(x: np.ndarray, *vectors: np.ndarray, eps: float) -> np.ndarray:
        y = rounded(x, eps=eps)
        for step, vector in zip((np.multiply, np.add), vectors, strict=False):
            y = step(y, vector)
        return y

    return meaning


def _affine(b: Builder, y: Value, vectors: tuple[Value, ...]) -> Value:
    for op, vector in zip(("Multiply", "Add"), vectors, strict=False):
        y = b(op, y, vector)
    return y


def _wide(b: Builder, x: Value) -> Value:
    return b("AsType", x, dtype="float32") if x.dtype in ("float16", "bfloat16") else x


def _narrow(b: Builder, y: Value, like: Value) -> Value:
    return y if y.dtype == like.dtype else b("AsType", y, dtype=like.dtype)


def _mean(b: Builder, x: Value, axes: tuple[int, ...]) -> Value:
    return b("Reduce", x, kind="mean", axes=axes, keepdims=True, dtype=x.dtype)


def _standardize(b: Builder, x: Value, eps: float, axes: tuple[int, ...]) -> Value:
    return _scaled(b, b("Subtract", x, _mean(b, x, axes)), eps, axes)


def _scaled(b: Builder, x: Value, eps: float, axes: tuple[int, ...]) -> Value:
    """x over the root of the mean of its squares."""
    squares = _mean(b, b("Square", x), axes)
    return b("Multiply", x, b("Rsqrt", b("Add", squares, scalar(b, eps, squares))))


def standardized(
    b: Builder, x: Value, vectors: Sequence[Value], eps: float, axis: int, centred: bool
) -> Value:
    """LayerNorm (RMSNorm where not `centred`) over any axis, in simpler ops; the vectors broadcast."""
    y = (_standardize if centred else _scaled)(b, _wide(b, x), eps, (axis,))
    return _affine(b, _narrow(b, y, x), tuple(vectors))


def _expand_layer_norm(b: Builder, x: Value, *vectors: Value, eps: float) -> Value:
    y = _standardize(b, _wide(b, x), eps, (len(x.shape) - 1,))
    return _affine(b, _narrow(b, y, x), vectors)


def _expand_rms_norm(b: Builder, x: Value, *vectors: Value, eps: float) -> Value:
    y = _scaled(b, _wide(b, x), eps, (len(x.shape) - 1,))
    return _affine(b, _narrow(b, y, x), vectors)


def channel_axis(shape: Shape, channels_first: bool) -> int:
    """Where the channels of N·C·spatial or N·spatial·C are."""
    return 1 if channels_first else len(shape) - 1


def _group_norm_shape(
    x: Value, *vectors: Value, groups: int, eps: float, interleaved: bool, channels_first: bool
) -> Inferred:
    axis = channel_axis(x.shape, channels_first)
    channels = x.shape[axis]
    if not isinstance(channels, int) or channels % groups:
        raise ShapeError(f"{channels} channels do not make {groups} groups")
    return _vector_shapes(x, *vectors, axis=axis)


def grouped_shape(
    shape: Shape, groups: int, interleaved: bool, channels_first: bool
) -> tuple[Shape, tuple[int, ...]]:
    """The rank-4 view in which every group has an index of its own, and the axes to normalize over.

    Channel c belongs to group `c // (C / groups)`, or with `interleaved` (MLX's default) to `c % groups`.
    """
    channels = shape[channel_axis(shape, channels_first)]
    places = product(shape[2:] if channels_first else shape[1:-1])
    each = divide(channels, groups)
    split = (each, groups) if interleaved else (groups, each)
    if channels_first:
        return (shape[0], *split, places), ((1, 3) if interleaved else (2, 3))
    return (shape[0], places, *split), ((1, 2) if interleaved else (1, 3))


def _group_norm(x: np.ndarray, *vectors: np.ndarray, groups: int, eps: float, **form: Any) -> np.ndarray:
    shape, axes = grouped_shape(x.shape, groups, **form)
    apart = x.reshape(shape)  # type: ignore[arg-type]
    y = in_float32(_standardized)(apart, eps=eps, axes=axes).reshape(x.shape)
    wide = (-1, *(1,) * (x.ndim - 2)) if form["channels_first"] else (-1,)
    for step, vector in zip((np.multiply, np.add), vectors, strict=False):
        y = step(y, vector.reshape(wide))
    return y


def _expand_group_norm(b: Builder, x: Value, *vectors: Value, groups: int, eps: float, **form: Any) -> Value:
    shape, axes = grouped_shape(x.shape, groups, **form)
    y = _standardize(b, b("Reshape", _wide(b, x), shape=shape), eps, axes)
    y = _narrow(b, b("Reshape", y, shape=x.shape), x)
    if form["channels_first"]:
        wide = (1,) * (len(x.shape) - 2)
        vectors = tuple(b("Reshape", v, shape=(v.shape[0], *wide)) for v in vectors)
    return _affine(b, y, vectors)


GROUP_NORM_ATTRS = ("groups", "eps", "interleaved", "channels_first")

OPS: tuple[Op, ...] = (
    Op("LayerNorm", ("eps",), _then_affine(_standardized), _last_axis, _expand_layer_norm),
    Op("RMSNorm", ("eps",), _then_affine(_rms), _last_axis, _expand_rms_norm),
    Op("GroupNorm", GROUP_NORM_ATTRS, _group_norm, _group_norm_shape, _expand_group_norm),
)
