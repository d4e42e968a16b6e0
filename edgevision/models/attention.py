"""Attention, written once for every model: softmax(Q K^T / sqrt(D) + M) V.

"Attention Is All You Need" (Vaswani et al., 2017), section 3.2; grouped queries: Ainslie et al., 2023; rotary
positions: Su et al., 2021.

Letters: B batch, L tokens of this call, P tokens before it, S of another sequence, H heads, K heads of keys
and values, D size of a head, W width.
"""

from __future__ import annotations

from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn


class Cache(Protocol):
    """What keeps the keys and values of earlier tokens: `KeyValueCache` here, those of mlx-lm too."""

    offset: Any

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """(B, K, L, D) of new tokens in, (B, K, P + L, D) of all out."""
        ...


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself, or, by `remember` and `read`, to another one.

    Args:
        width: of the input and the output.
        heads: of the queries. key_value_heads: of keys and values, each shared by heads / key_value_heads
            queries; None for as many as there are queries.
        head_size: None for width / heads.
        bias: whether the four projections have one.
        rope_base: the base of rotary positions, None for none.
        memory_width: of the sequence that is attended to, where that is another one.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        key_value_heads: int | None = None,
        head_size: int | None = None,
        bias: bool = True,
        rope_base: float | None = None,
        memory_width: int | None = None,
    ):
        super().__init__()
        self.heads, self.key_value_heads = heads, key_value_heads or heads
        self.head_size = head_size or width // heads
        self.query = nn.Linear(width, heads * self.head_size, bias=bias)
        self.key = nn.Linear(memory_width or width, self.key_value_heads * self.head_size, bias=bias)
        self.value = nn.Linear(memory_width or width, self.key_value_heads * self.head_size, bias=bias)
        self.out = nn.Linear(heads * self.head_size, width, bias=bias)
        self._rope_base = rope_base

    def __call__(
        self, x: mx.array, mask: mx.array | str | None = None, cache: Cache | None = None, offset: Any = None
    ) -> mx.array:
        """(B, L, W) to (B, L, W).

        Args:
            mask: "causal", or booleans that broadcast to (B, H, L, P + L), True where a token sees another;
                None where all see all.
            offset: the position of the first token, an integer or (B,); default: what the cache holds.
        """
        queries = self._split(self.query(x), self.heads)  # (B, H, L, D)
        keys, values = self.remember(x)  # (B, K, L, D)
        if self._rope_base is not None:
            first = offset if offset is not None else 0 if cache is None else cache.offset
            queries, keys = self._rotate(queries, first), self._rotate(keys, first)
        if cache is not None:
            keys, values = cache.update_and_fetch(keys, values)  # (B, K, P + L, D)
        return self._attend(queries, keys, values, mask)

    def remember(self, memory: mx.array) -> tuple[mx.array, mx.array]:
        """The keys and values (B, K, S, D) of a sequence (B, S, W)."""
        keys = self._split(self.key(memory), self.key_value_heads)
        return keys, self._split(self.value(memory), self.key_value_heads)

    def read(self, x: mx.array, memory: tuple[mx.array, mx.array], mask: mx.array | None = None) -> mx.array:
        """(B, L, W) to (B, L, W): each token attends to all that `remember` gave, or, by the mask, to those
        places that are true in it."""
        return self._attend(self._split(self.query(x), self.heads), *memory, mask)

    def weights(self, x: mx.array, keys: mx.array, mask: mx.array | None = None) -> mx.array:
        """(B, H, L, S): how much each token attends to each place where it reads, summing to 1."""
        queries = self._split(self.query(x), self.heads)
        keys = mx.repeat(keys, self.heads // self.key_value_heads, axis=1)
        scores = queries @ keys.swapaxes(-1, -2) * self.head_size**-0.5
        return mx.softmax(scores if mask is None else mx.where(mask, scores, -mx.inf), axis=-1)

    def _attend(self, queries: mx.array, keys: mx.array, values: mx.array, mask: Any) -> mx.array:
        batch, _, length, _ = queries.shape
        y = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=self.head_size**-0.5, mask=mask)
        return self.out(y.transpose(0, 2, 1, 3).reshape(batch, length, -1))

    def _split(self, x: mx.array, heads: int) -> mx.array:
        batch, length, _ = x.shape
        return x.reshape(batch, length, heads, self.head_size).transpose(0, 2, 1, 3)

    def _rotate(self, x: mx.array, first: Any) -> mx.array:
        return mx.fast.rope(
            x, self.head_size, traditional=False, base=self._rope_base, scale=1.0, offset=first
        )


class KeyValueCache:
    """Keys and values of the tokens so far, in buffers that grow by `STEP` tokens."""

    STEP = 256

    def __init__(self) -> None:
        self.offset = 0
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append (B, K, L, D) of new tokens; gives (B, K, P + L, D) of all."""
        end = self.offset + keys.shape[2]
        self._keys, self._values = self._room(self._keys, keys, end), self._room(self._values, values, end)
        self._keys[:, :, self.offset : end] = keys
        self._values[:, :, self.offset : end] = values
        self.offset = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def reorder(self, rows: Any) -> None:
        """Go on with these of the rows of the batch, in this order."""
        if self._keys is not None and self._values is not None:
            rows = mx.array(rows)
            self._keys, self._values = self._keys[rows], self._values[rows]

    def _room(self, buffer: mx.array | None, new: mx.array, end: int) -> mx.array:
        held = 0 if buffer is None else buffer.shape[2]
        if buffer is not None and end <= held:
            return buffer
        batch, heads, _, size = new.shape
        more = mx.zeros((batch, heads, -(-(end - held) // self.STEP) * self.STEP, size), new.dtype)
        return more if buffer is None else mx.concatenate([buffer, more], axis=2)


def causal_mask(length: int, past: int = 0) -> mx.array:
    """(L, P + L) booleans: True where the token of a row sees that of a column, itself and earlier ones."""
    return mx.arange(past, past + length)[:, None] >= mx.arange(past + length)[None]


__all__ = ["Attention", "Cache", "KeyValueCache", "causal_mask"]
