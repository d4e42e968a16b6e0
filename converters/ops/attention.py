"""Softmax attention, by its name in `mx.fast`.

Letters: B batch, H heads of the queries, K heads of keys and values (H a multiple of K), L queries, S keys,
D width of a head. Operands: queries, keys, values, then a mask (bool or added) if there is one, then with
`sinks` one score per head that takes part in the softmax without a value. CachedAttention takes the new keys
and values, the past ones (B, K, P, D), then a mask; it gives the result, and past and new keys and values.
`ahead` is False where no query sees a key after its own position: runtimes may rely on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.errors import ShapeError
from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, in_float32, scalar
from converters.sizes import AnySize, Shape, divide

ATTENTION_ATTRS = ("scale", "causal", "sinks", "heads")
Heads = tuple[int, ...]  # (H, K) where heads and their width share the last axis, (B, L, H·D); else ()
OVER_HEADS = (0, 2, 1, 3)


def lowest(dtype: str) -> float:
    """The score of a key that must not be seen: the least finite number, as in MLX."""
    if dtype == "bfloat16":
        import ml_dtypes

        return float(ml_dtypes.finfo(numpy_dtype(dtype)).min)
    return float(np.finfo(numpy_dtype(dtype)).min)


def _attention_shape(q: Value, k: Value, v: Value, *_: Value, heads: Heads, **__: Any) -> Inferred:
    if heads:
        queries, keys = heads
        if queries % keys or divide(q.shape[-1], queries) != divide(k.shape[-1], keys):
            raise ShapeError(f"attention with {queries} and {keys} heads takes no {q.shape} and {k.shape}")
        return [((*q.shape[:-1], divide(v.shape[-1], keys) * queries), q.dtype)]
    if (
        len(q.shape) != 4
        or q.shape[-1] != k.shape[-1]
        or k.shape[:3] != v.shape[:3]
        or q.shape[0] != k.shape[0]
    ):
        raise ShapeError(f"attention takes no queries {q.shape}, keys {k.shape}, values {v.shape}")
    divide(q.shape[1], k.shape[1])
    return [((*q.shape[:-1], v.shape[-1]), q.dtype)]


def _with_heads(x: np.ndarray, heads: int) -> np.ndarray:
    return x.reshape(*x.shape[:2], heads, -1).transpose(OVER_HEADS)


def _softmax(scores: np.ndarray) -> np.ndarray:
    shifted = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf))
    return shifted / shifted.sum(-1, keepdims=True)


def _attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *rest: np.ndarray,
    scale: float,
    causal: bool,
    sinks: bool,
    heads: Heads,
) -> np.ndarray:
    if heads:
        q, k, v = _with_heads(q, heads[0]), _with_heads(k, heads[1]), _with_heads(v, heads[1])
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    scores = (q * q.dtype.type(scale)) @ k.swapaxes(-1, -2)
    least = np.finfo(scores.dtype).min
    if causal:
        queries, keys = scores.shape[-2:]
        scores = np.where(np.tri(queries, keys, keys - queries, dtype=bool), scores, least)
    if len(rest) > sinks:
        scores = np.where(rest[0], scores, least) if rest[0].dtype == bool else scores + rest[0]
    if sinks:
        column = np.broadcast_to(rest[-1].reshape(-1, 1, 1), (*scores.shape[:-1], 1))
        y = _softmax(np.concatenate([column, scores], axis=-1))[..., 1:] @ v
    else:
        y = _softmax(scores) @ v
    return y.transpose(OVER_HEADS).reshape(y.shape[0], y.shape[2], -1) if heads else y


def causal_mask(b: Builder, queries: AnySize, keys: AnySize) -> Value:
    """bool (L, S): the query i of the last L positions sees the keys up to its own position."""
    rows = b("Arange", start=keys - queries, step=1, size=queries, dtype="int32")
    columns = b("Arange", start=0, step=1, size=keys, dtype="int32")
    return b("GreaterEqual", b("Reshape", rows, shape=(queries, 1)), b("Reshape", columns, shape=(1, keys)))


HIDDEN = {"float16": -6e4}  # else -1e30: so much that a score vanishes in it, and no infinity arises


def added_mask(b: Builder, seen: Value, dtype: str) -> Value:
    """A mask of bool as numbers to add to the scores."""
    zero, hidden = b.constant(0, dtype=dtype), b.constant(HIDDEN.get(dtype, -1e30), dtype=dtype)
    return b("Select", seen, zero, hidden)


def split_heads(b: Builder, x: Value, heads: int) -> Value:
    """(B, L, H·D) to (B, H, L, D)."""
    batch, length, width = x.shape
    return b(
        "Transpose", b("Reshape", x, shape=(batch, length, heads, divide(width, heads))), axes=OVER_HEADS
    )


def join_heads(b: Builder, x: Value) -> Value:
    """(B, H, L, D) to (B, L, H·D)."""
    batch, heads, length, width = x.shape
    return b("Reshape", b("Transpose", x, axes=OVER_HEADS), shape=(batch, length, heads * width))


def _expand_attention(b: Builder, q: Value, k: Value, v: Value, *rest: Value, **attrs: Any) -> Value:
    heads, sinks = attrs["heads"], rest[-1:] if attrs["sinks"] else ()
    mask = rest[0] if len(rest) > len(sinks) else None
    if heads:
        parts = [
            split_heads(b, x, count) for x, count in zip((q, k, v), (heads[0], *heads[1:] * 2), strict=True)
        ]
        return join_heads(b, b("ScaledDotProductAttention", *parts, *rest, **{**attrs, "heads": ()}))
    if attrs["causal"]:
        joined = _joined(b, causal_mask(b, q.shape[-2], k.shape[-2]), mask)
        return b("ScaledDotProductAttention", q, k, v, joined, *sinks, **{**attrs, "causal": False})
    result = (*q.shape[:-1], v.shape[-1])
    scale, alike = scalar(b, attrs["scale"], q), q is k is v  # onnxruntime loses what all three are made of
    q = q if alike else b("Multiply", q, scale)
    column = [b("Reshape", s, shape=(1, q.shape[1], 1, 1)) for s in sinks]
    if q.shape[1] != k.shape[1]:
        groups = (k.shape[1], divide(q.shape[1], k.shape[1]))
        q, *column = (_in_groups(b, x, groups) for x in (q, *column))
        mask = None if mask is None else _in_groups(b, mask, groups)
        k, v = (b("Reshape", x, shape=(*x.shape[:2], 1, *x.shape[2:])) for x in (k, v))
    rank = len(q.shape)
    scores = b("Matmul", q, b("Transpose", k, axes=(*range(rank - 2), rank - 1, rank - 2)))
    scores = b("Multiply", scores, scale) if alike else scores
    y = b("Matmul", _weights(b, _masked(b, scores, mask), column), v)
    return y if y.shape == result else b("Reshape", y, shape=result)


def _joined(b: Builder, seen: Value, mask: Value | None) -> Value:
    if mask is None:
        return seen
    if mask.dtype == "bool":
        return b("LogicalAnd", seen, mask)
    return b("Select", seen, mask, scalar(b, lowest(mask.dtype), mask))


def _in_groups(b: Builder, x: Value, groups: Shape) -> Value:
    """The heads of (…, H, a, b) as (K, H / K); one for all heads stays one."""
    if len(x.shape) < 3:
        return x
    split = (1, 1) if x.shape[-3] == 1 else groups
    return b("Reshape", x, shape=(*x.shape[:-3], *split, *x.shape[-2:]))


def _masked(b: Builder, scores: Value, mask: Value | None) -> Value:
    if mask is None:
        return scores
    if mask.dtype == "bool":
        return b("Select", mask, scores, scalar(b, lowest(scores.dtype), scores))
    return b("Add", scores, mask)


def _weights(b: Builder, scores: Value, column: list[Any]) -> Value:
    last = len(scores.shape) - 1
    if not column:
        return b("Softmax", scores, axis=last)
    sinks = b("Broadcast", column[0], shape=(*scores.shape[:-1], 1))
    weights = b("Softmax", b("Concatenate", sinks, scores, axis=last), axis=last)
    return b.outputs("Split", weights, sizes=(1, scores.shape[-1]), axis=last)[1]


def _cached_shape(q: Value, k: Value, v: Value, *past: Value, heads: Heads, **_: Any) -> Inferred:
    grown = [
        Value("", (*p.shape[:2], p.shape[2] + q.shape[1 if heads else 2], p.shape[3]), p.dtype)
        for p in past[:2]
    ]
    if not heads:
        y = _attention_shape(q, *grown, heads=heads)
    else:
        y = [((*q.shape[:-1], past[1].shape[3] * heads[0]), q.dtype)]
    return [*y, *((value.shape, value.dtype) for value in grown)]


def _cached(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, *past: np.ndarray, ahead: bool, **attrs: Any
) -> tuple[np.ndarray, ...]:
    heads = attrs["heads"]
    if heads:
        q, k, v = _with_heads(q, heads[0]), _with_heads(k, heads[1]), _with_heads(v, heads[1])
    keys, values = (np.concatenate(pair, axis=2) for pair in zip(past[:2], (k, v), strict=True))
    y = in_float32(_attention)(q, keys, values, *past[2:], **{**attrs, "heads": (), "sinks": False})
    return (y.transpose(OVER_HEADS).reshape(y.shape[0], y.shape[2], -1) if heads else y, keys, values)


def _expand_cached(
    b: Builder, q: Value, k: Value, v: Value, *past: Value, ahead: bool, **attrs: Any
) -> tuple[Value, ...]:
    heads = attrs["heads"]
    if heads:
        q, k, v = split_heads(b, q, heads[0]), split_heads(b, k, heads[1]), split_heads(b, v, heads[1])
    keys, values = (b("Concatenate", *pair, axis=2) for pair in zip(past[:2], (k, v), strict=True))
    plain = {**attrs, "heads": (), "sinks": False}
    y = b("ScaledDotProductAttention", q, keys, values, *past[2:], **plain)
    return (join_heads(b, y) if heads else y, keys, values)


OPS: tuple[Op, ...] = (
    Op(
        "ScaledDotProductAttention",
        ATTENTION_ATTRS,
        in_float32(_attention),
        _attention_shape,
        _expand_attention,
    ),
    Op("CachedAttention", ("scale", "causal", "heads", "ahead"), _cached, _cached_shape, _expand_cached),
)
