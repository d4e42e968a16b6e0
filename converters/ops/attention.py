"""Attention and rotary positions, by their names in `mx.fast`.

Letters: B batch, H query heads, G key and value heads (H = G * R), L queries, T keys, D head size.
"""

from __future__ import annotations

from math import log

import numpy as np

from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, in_float32, same, scalar, size_as
from converters.sizes import divide


def _angles(
    x: np.ndarray, offset: np.ndarray, freqs: np.ndarray | None, dims: int, base: float, scale: float
) -> np.ndarray:
    """(B or 1, 1…, L, dims / 2)"""
    half = dims // 2
    speeds = np.exp(np.arange(half) * np.float32(-log(base) / half)) if freqs is None else 1 / freqs
    positions = (np.arange(x.shape[-2]) + offset.reshape(-1, 1)).astype(np.float32) * np.float32(scale)
    angles = positions[..., None] * speeds.astype(np.float32)
    return angles.reshape(len(angles), *(1,) * (x.ndim - 3), *angles.shape[1:])


def _rope(
    x: np.ndarray,
    offset: np.ndarray,
    freqs: np.ndarray | None = None,
    *,
    dims: int,
    traditional: bool,
    base: float,
    scale: float,
) -> np.ndarray:
    angles = _angles(x, offset, freqs, dims, base, scale)
    cos, sin = np.cos(angles), np.sin(angles)
    turned, rest = x[..., :dims], x[..., dims:]
    first, second = (turned[..., ::2], turned[..., 1::2]) if traditional else np.split(turned, 2, axis=-1)
    parts = first * cos - second * sin, first * sin + second * cos
    y = np.stack(parts, axis=-1).reshape(turned.shape) if traditional else np.concatenate(parts, axis=-1)
    return np.concatenate([y, rest], axis=-1)


def _expand_angles(
    b: Builder, x: Value, offset: Value, freqs: Value | None, dims: int, base: float, scale: float
) -> Value:
    half, length, rank = dims // 2, x.shape[-2], len(x.shape)
    if freqs is None:
        speeds = b.constant(np.exp(np.arange(half) * np.float32(-log(base) / half)), dtype="float32")
    else:
        speeds = b("Divide", b.constant(1, dtype="float32"), b("AsType", freqs, dtype="float32"))
    steps = b("Arange", start=0, step=1, size=length, dtype="float32")
    start = b("AsType", offset, dtype="float32")
    if offset.shape:
        start = b("Reshape", start, shape=(offset.shape[0], *(1,) * (rank - 1)))
    positions = b("Add", b("Reshape", steps, shape=(length, 1)), start)
    if scale != 1:
        positions = b("Multiply", positions, b.constant(scale, dtype="float32"))
    return b("Multiply", positions, speeds)


def _expand_rope(
    b: Builder,
    x: Value,
    offset: Value,
    freqs: Value | None = None,
    *,
    dims: int,
    traditional: bool,
    base: float,
    scale: float,
) -> Value:
    angles = _expand_angles(b, x, offset, freqs, dims, base, scale)
    cos, sin = (b("AsType", b(op, angles), dtype=x.dtype) for op in ("Cos", "Sin"))
    half, last = dims // 2, len(x.shape) - 1
    pieces = [dims, x.shape[-1] - dims] if x.shape[-1] != dims else [dims]
    turned, *rest = b.outputs("Split", x, sizes=tuple(pieces), axis=last) if len(pieces) > 1 else (x,)
    if traditional:
        pairs = b("Reshape", turned, shape=(*x.shape[:-1], half, 2))
        halves = b.outputs("Split", pairs, sizes=(1, 1), axis=last + 1)
        first, second = (b("Reshape", value, shape=(*x.shape[:-1], half)) for value in halves)
    else:
        first, second = b.outputs("Split", turned, sizes=(half, half), axis=last)
    left = b("Subtract", b("Multiply", first, cos), b("Multiply", second, sin))
    right = b("Add", b("Multiply", first, sin), b("Multiply", second, cos))
    if traditional:
        left, right = (b("Reshape", value, shape=(*x.shape[:-1], half, 1)) for value in (left, right))
        y = b("Reshape", b("Concatenate", left, right, axis=last + 1), shape=(*x.shape[:-1], dims))
    else:
        y = b("Concatenate", left, right, axis=last)
    return b("Concatenate", y, *rest, axis=last) if rest else y


ATTENTION_ATTRS = ("scale", "causal", "sinks")


def _attention_shape(q: Value, k: Value, v: Value, *_: Value, **__: object) -> Inferred:
    return [((*q.shape[:-1], v.shape[-1]), q.dtype)]


def _softmax(scores: np.ndarray) -> np.ndarray:
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, *rest: np.ndarray, scale: float, causal: bool, sinks: bool
) -> np.ndarray:
    lowest = np.finfo(np.float32).min
    repeats = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, repeats, axis=1), np.repeat(v, repeats, axis=1)
    scores = (q * np.float32(scale)) @ k.swapaxes(-1, -2)
    if causal:
        rows = np.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2]
        scores = np.where(rows >= np.arange(k.shape[2]), scores, lowest)
    if len(rest) > sinks:
        mask = rest[0]
        scores = np.where(mask, scores, lowest) if mask.dtype == bool else scores + mask
    if sinks:
        column = np.broadcast_to(rest[-1].reshape(-1, 1, 1), (*scores.shape[:-1], 1))
        return _softmax(np.concatenate([column, scores], axis=-1))[..., 1:] @ v
    return _softmax(scores) @ v


def _expand_attention(
    b: Builder, q: Value, k: Value, v: Value, *rest: Value, scale: float, causal: bool, sinks: bool
) -> Value:
    (batch, heads, length, _), (_, groups, keys, _) = q.shape, k.shape
    repeats = divide(heads, groups)
    grouped = repeats != 1

    def by_group(value: Value) -> Value:
        """(…, H, a, b) to (…, G, R, a, b); a mask for all heads keeps one."""
        if not grouped or len(value.shape) < 3:
            return value
        lead = (1, 1) if value.shape[-3] == 1 else (groups, repeats)
        return b("Reshape", value, shape=(*value.shape[:-3], *lead, *value.shape[-2:]))

    def shared(value: Value) -> Value:
        return b("Reshape", value, shape=(*value.shape[:2], 1, *value.shape[2:])) if grouped else value

    scaled = b("Multiply", by_group(q), scalar(b, scale, q))
    rank = len(scaled.shape)
    turned = b("Transpose", shared(k), axes=(*range(rank - 2), rank - 1, rank - 2))
    scores = b("Matmul", scaled, turned)
    lowest = b.constant(np.finfo(np.float16 if scores.dtype == "float16" else np.float32).min, dtype=q.dtype)
    if causal:
        rows = b(
            "Add",
            b("Arange", start=0, step=1, size=length, dtype="int32"),
            size_as(b, keys - length, "int32"),
        )
        columns = b("Arange", start=0, step=1, size=keys, dtype="int32")
        seen = b("GreaterEqual", b("Reshape", rows, shape=(length, 1)), columns)
        scores = b("Select", seen, scores, lowest)
    if len(rest) > sinks:
        mask = by_group(rest[0])
        bool_mask = mask.dtype == "bool"
        scores = b("Select", mask, scores, lowest) if bool_mask else b("Add", scores, mask)
    if sinks:
        column = b("Reshape", rest[-1], shape=(1, *(by_group_shape(groups, repeats, grouped)), 1, 1))
        column = b("Broadcast", column, shape=(*scores.shape[:-1], 1))
        scores = b("Softmax", b("Concatenate", column, scores, axis=rank - 1), axis=rank - 1)
        _, weights = b.outputs("Split", scores, sizes=(1, keys), axis=rank - 1)
    else:
        weights = b("Softmax", scores, axis=rank - 1)
    y = b("Matmul", weights, shared(v))
    return b("Reshape", y, shape=(batch, heads, length, v.shape[-1])) if grouped else y


def by_group_shape(groups: object, repeats: object, grouped: bool) -> tuple[object, ...]:
    """The head axes of a grouped or plain attention."""
    return (groups, repeats) if grouped else (groups,)


OPS: tuple[Op, ...] = (
    Op("RoPE", ("dims", "traditional", "base", "scale"), in_float32(_rope), same, _expand_rope),
    Op(
        "ScaledDotProductAttention",
        ATTENTION_ATTRS,
        in_float32(_attention),
        _attention_shape,
        _expand_attention,
    ),
)
