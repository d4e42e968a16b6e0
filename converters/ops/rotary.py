"""Rotary positions, by their name in `mx.fast`: pairs of elements turn by angles that depend on the position.

Letters: B batch, H heads, L positions, D width of a head, h angles per position. Operands: x (…, L, D), and
the cosines and sines of the angles, (L, h) or broadcast against x. What follows the first 2h elements
passes through.
"""

from __future__ import annotations

from math import log

import numpy as np

from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, in_float32
from converters.sizes import AnySize, divide

ROPE_ATTRS = ("traditional", "heads")  # heads: 0, or H where x is (B, L, H·D)


def _rope_shape(x: Value, cos: Value, sin: Value, traditional: bool, heads: int) -> Inferred:
    width = divide(x.shape[-1], heads) if heads else x.shape[-1]
    half = cos.shape[-1]
    if cos.shape != sin.shape or not isinstance(half, int) or (isinstance(width, int) and 2 * half > width):
        raise ShapeError(f"rotary positions of {x.shape} take no cosines {cos.shape} and sines {sin.shape}")
    return [(x.shape, x.dtype)]


def _rope(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, traditional: bool, heads: int) -> np.ndarray:
    shape, half = x.shape, cos.shape[-1]
    if heads:
        x = x.reshape(*shape[:-1], heads, -1)
        cos, sin = cos[..., None, :], sin[..., None, :]
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    one, two = (turned[..., ::2], turned[..., 1::2]) if traditional else np.split(turned, 2, axis=-1)
    pair = (one * cos - two * sin, one * sin + two * cos)
    joined = np.stack(pair, -1).reshape(turned.shape) if traditional else np.concatenate(pair, -1)
    return np.concatenate([joined, rest], -1).reshape(shape)


def _part(b: Builder, x: Value, start: AnySize, end: AnySize, step: int = 1) -> Value:
    """Part of the last axis."""
    rank = len(x.shape)
    strides = (1,) * (rank - 1) + (step,)
    return b("Slice", x, start=(0,) * (rank - 1) + (start,), end=(*x.shape[:-1], end), strides=strides)


def _expand_rope(b: Builder, x: Value, cos: Value, sin: Value, traditional: bool, heads: int) -> Value:
    if heads:
        apart = b("Reshape", x, shape=(*x.shape[:-1], heads, divide(x.shape[-1], heads)))
        cos, sin = (b("Reshape", t, shape=(*t.shape[:-1], 1, t.shape[-1])) for t in (cos, sin))
        return b("Reshape", b("RoPE", apart, cos, sin, traditional=traditional, heads=0), shape=x.shape)
    half, last = cos.shape[-1], len(x.shape) - 1
    if traditional:
        one, two = (_part(b, x, start, 2 * half, 2) for start in (0, 1))
    else:
        one, two = _part(b, x, 0, half), _part(b, x, half, 2 * half)
    real = b("Subtract", b("Multiply", one, cos), b("Multiply", two, sin))
    imaginary = b("Add", b("Multiply", one, sin), b("Multiply", two, cos))
    parts = [real, imaginary]
    if traditional:
        pair = [b("Reshape", part, shape=(*part.shape, 1)) for part in parts]
        parts = [b("Reshape", b("Concatenate", *pair, axis=last + 1), shape=(*x.shape[:-1], 2 * half))]
    if x.shape[-1] != 2 * half:
        parts.append(_part(b, x, 2 * half, x.shape[-1]))
    return b("Concatenate", *parts, axis=last) if len(parts) > 1 else parts[0]


def rotary_tables(
    b: Builder, x: Value, offset: Value, freqs: Value | None, dims: int, base: float, scale: float
) -> tuple[Value, Value]:
    """Cosines and sines for `mx.fast.rope` of x (B, …, L, D), from its offset () or (B) and its settings."""
    half, length, rank = dims // 2, x.shape[-2], len(x.shape)
    if freqs is None:
        speeds = b.constant(np.exp(np.arange(half) * np.float32(-log(base) / half)), dtype="float32")
    else:
        speeds = b("Divide", b.constant(1, dtype="float32"), b("AsType", freqs, dtype="float32"))
    start = b("AsType", offset, dtype="float32")
    if offset.shape:
        start = b("Reshape", start, shape=(offset.shape[0], *(1,) * (rank - 1)))
    steps = b("Arange", start=0, step=1, size=length, dtype="float32")
    positions = b("Add", b("Reshape", steps, shape=(length, 1)), start)
    if scale != 1:
        positions = b("Multiply", positions, b.constant(scale, dtype="float32"))
    angles = b("Multiply", positions, speeds)
    cos, sin = (b("AsType", b(op, angles), dtype=x.dtype) for op in ("Cos", "Sin"))
    return cos, sin


OPS: tuple[Op, ...] = (Op("RoPE", ROPE_ATTRS, in_float32(_rope), _rope_shape, _expand_rope),)
