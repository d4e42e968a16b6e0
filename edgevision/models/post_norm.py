"""The layers of the first Transformers, which add each part to what came in and normalise the sum.

"Attention Is All You Need" (Vaswani et al., 2017), section 3.1: encoder_lm (BERT) and translator (Marian) are
built of them; cnn, vit and decoder_lm normalise what goes into a part.

Letters: B batch, L tokens, S tokens of another sequence, W width, H heads.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from edgevision.models.activations import gelu
from edgevision.models.attention import Attention, Cache

Memory = tuple[mx.array, mx.array]  # keys and values of another sequence, (B, H, S, W / H)
ACTIVATIONS = {"relu": nn.relu, "swish": nn.silu, "silu": nn.silu, "gelu": nn.gelu}


class FeedForward(nn.Module):
    """W -> `hidden` -> W with the activation in the middle."""

    def __init__(self, width: int, hidden: int, activation: str):
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self._activation = activation

    def __call__(self, x: mx.array) -> mx.array:
        return self.down(activate(self._activation, self.up(x), self.training))


class EncoderLayer(nn.Module):
    """Attention to all tokens, then a feed-forward network; each is added and then normalised."""

    def __init__(
        self, width: int, heads: int, hidden: int, activation: str, dropout: float, eps: float = 1e-5
    ):
        super().__init__()
        self.attention, self.mlp = Attention(width, heads), FeedForward(width, hidden, activation)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def __call__(self, x: mx.array, mask: mx.array | None, looked: list[mx.array] | None = None) -> mx.array:
        """(B, L, W) to (B, L, W); `looked` gets (B, H, L, L), where each token attended to."""
        if looked is not None:
            looked.append(self.attention.weights(x, self.attention.remember(x)[0], mask))
        x = self.attention_norm(x + self.dropout(self.attention(x, mask)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


class DecoderLayer(EncoderLayer):
    """The same, with a look at the source in between."""

    def __init__(
        self, width: int, heads: int, hidden: int, activation: str, dropout: float, eps: float = 1e-5
    ):
        super().__init__(width, heads, hidden, activation, dropout, eps)
        self.cross, self.cross_norm = Attention(width, heads), nn.LayerNorm(width, eps)

    def __call__(  # type: ignore[override]
        self,
        x: mx.array,
        causal: mx.array | str | None,
        memory: Memory,
        mask: mx.array | None,
        cache: Cache | None = None,
        looked: list[mx.array] | None = None,
    ) -> mx.array:
        """(B, L, W) to (B, L, W); `looked` gets (B, H, L, S), where each token read in the source."""
        x = self.attention_norm(x + self.dropout(self.attention(x, causal, cache)))
        if looked is not None:
            looked.append(self.cross.weights(x, memory[0], mask))
        x = self.cross_norm(x + self.dropout(self.cross.read(x, memory, mask)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


def activate(name: str, x: mx.array, training: bool) -> mx.array:
    """One of ACTIVATIONS."""
    return gelu(x, training) if name == "gelu" else ACTIVATIONS[name](x)


def seen(mask: mx.array | None) -> mx.array | None:
    """(B, S), true where there is a token, as attention takes it: (B, 1, 1, S)."""
    return None if mask is None else mask.astype(mx.bool_)[:, None, None]


__all__ = ["ACTIVATIONS", "DecoderLayer", "EncoderLayer", "FeedForward", "Memory", "activate", "seen"]
