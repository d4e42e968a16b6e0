"""Products of matrices, and attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.targets.coreml.meaning.activation import softmax
from converters.targets.coreml.meaning.definition import FLOATS, NUMBERS, Meaning, limited

Array = np.ndarray


def _linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"{x.shape} with a weight {weight.shape}")
    rows = x.reshape(-1, x.shape[-1]) @ weight.T
    if bias is not None:
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"a bias {bias.shape} for a weight {weight.shape}")
        rows += bias
    return rows.reshape(*x.shape[:-1], weight.shape[0])


def _matmul(x: Array, y: Array, transpose_x: Any = False, transpose_y: Any = False) -> Array:
    x = np.swapaxes(x, -1, -2) if transpose_x and x.ndim > 1 else x
    y = np.swapaxes(y, -1, -2) if transpose_y and y.ndim > 1 else y
    if x.ndim > 1 and y.ndim > 1:
        limited([*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]])
    return np.matmul(x, y)


def _matmul_dtype(x: Array, y: Array, **_: Any) -> tuple[str, ...]:
    """From iOS 17 on the dtypes may differ where one operand is a constant, which then follows."""
    constant = x.dtype != y.dtype and not x.flags.writeable and y.flags.writeable
    return ((y if constant else x).dtype.name,)


def _einsum(values: tuple[Array, ...], equation: str) -> Array:
    """`nchw,nwhu->nchu` or `chw,whr->chr`, under whatever letters; n and h broadcast."""
    letters = {
        letter: str(index) for index, letter in enumerate(dict.fromkeys(c for c in equation if c.isalpha()))
    }
    pattern = "".join(letters.get(c, c) for c in equation if c != " ")
    ranks = {"0123,0324->0124": 4, "012,213->013": 3}
    x, y = values
    if pattern not in ranks or x.ndim != ranks[pattern] or y.ndim != x.ndim:
        raise ValueError(f"einsum {equation!r} of {x.shape} and {y.shape}")
    limited(
        [
            *np.broadcast_shapes(x.shape[:-3], y.shape[:-3]),
            x.shape[-3],
            max(x.shape[-2], y.shape[-2]),
            y.shape[-1],
        ]
    )
    result = np.matmul(np.swapaxes(x, -3, -2), np.swapaxes(y, -3, -2))
    return np.swapaxes(result, -3, -2)


def _attention(query: Array, key: Array, value: Array, attn_mask: Array | None = None) -> Array:
    """softmax(query @ key^T / sqrt(E) + mask) @ value over (B, *, L, E), (B, *, S, E), (B, *, S, V)."""
    ranks = {query.ndim, key.ndim, value.ndim}
    if len(ranks) > 1 or query.ndim < 3:
        raise ValueError(f"query {query.shape}, key {key.shape}, value {value.shape}: one rank, 3 at least")
    if len({query.shape[:-2], key.shape[:-2], value.shape[:-2]}) > 1:
        raise ValueError(f"query {query.shape}, key {key.shape}, value {value.shape}: the batch differs")
    limited([*query.shape[:-1], key.shape[-2]])
    scores = np.matmul(query * np.float32(1 / np.sqrt(query.shape[-1])), np.swapaxes(key, -1, -2))
    if attn_mask is not None:
        if np.broadcast_shapes(scores.shape, attn_mask.shape) != scores.shape:
            raise ValueError(f"a mask {attn_mask.shape} for scores {scores.shape}")
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
    return np.matmul(softmax(scores), value)


MEANINGS = {
    "linear": Meaning(_linear, allowed=NUMBERS),
    "matmul": Meaning(_matmul, _matmul_dtype, allowed=NUMBERS),
    "einsum": Meaning(_einsum, lambda values, equation: (values[0].dtype.name,), allowed=FLOATS),
    "scaled_dot_product_attention": Meaning(_attention, "query", ("query", "key", "value"), FLOATS),
}
