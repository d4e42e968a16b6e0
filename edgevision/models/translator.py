"""An encoder-decoder: a sentence in, its translation out.

The Transformer of "Attention Is All You Need" (Vaswani et al., 2017) in the form of Hugging Face's Marian:
normalised after each part, sines as positions, one table of embeddings for both languages and for the logits.

Letters: B batch, S tokens of the source, L tokens of the translation, W width, V vocabulary, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from edgevision.models.attention import Cache, KeyValueCache
from edgevision.models.post_norm import ACTIVATIONS, DecoderLayer, EncoderLayer, Memory, seen


@dataclass(frozen=True)
class Config:
    """Takes int32 tokens (B, S) and (B, L).

    Attributes:
        context: tokens of a sentence, at most.
        layers: of the decoder, and of the encoder where `encoder_layers` is None.
        hidden: width inside the feed-forward networks; None for 4 W.
        start: the token that a translation begins after. end: that which ends it.
        scaled: whether embeddings are multiplied by the root of the width.
    """

    vocabulary: int = 8000
    context: int = 128
    layers: int = 3
    encoder_layers: int | None = None
    heads: int = 4
    width: int = 256
    hidden: int | None = 1024
    activation: Literal["relu", "swish", "silu", "gelu"] = "relu"
    dropout: float = 0.1
    start: int = 0
    end: int = 0
    scaled: bool = True


VARIANTS = {"de-en": Config(), "en-de": Config()}


class Model(nn.Module):
    """Source (B, S) and the translation so far (B, L) to logits (B, L, V) of the next tokens."""

    def __init__(self, config: Config):
        super().__init__()
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.tokens.weight = mx.random.normal((config.vocabulary, config.width), scale=config.width**-0.5)
        depth = config.layers if config.encoder_layers is None else config.encoder_layers
        sizes = (config.width, config.heads, config.hidden or 4 * config.width)
        kind = (config.activation, config.dropout)
        self.encoder = [EncoderLayer(*sizes, *kind) for _ in range(depth)]
        self.decoder = [DecoderLayer(*sizes, *kind) for _ in range(config.layers)]
        self.bias = mx.zeros((config.vocabulary,))
        self.dropout = nn.Dropout(config.dropout)
        self._sines = mx.array(sines(config.context, config.width))
        self._config = config

    def __call__(self, source: mx.array, ids: mx.array, mask: mx.array | None = None) -> mx.array:
        """`mask`: (B, S), true where the source has a token; None where all are."""
        return self.decode(ids, self.remember(self.encode(source, mask)), mask)

    def encode(
        self, source: mx.array, mask: mx.array | None = None, looked: list[mx.array] | None = None
    ) -> mx.array:
        """(B, S) to features (B, S, W); `looked` gets (B, H, S, S) of each layer, where it attended to."""
        x = self._embedded(source, mx.arange(source.shape[1]))
        for layer in self.encoder:
            x = layer(x, seen(mask), looked)
        return x

    def remember(self, features: mx.array) -> list[Memory]:
        """What the decoder reads of features (B, S, W): the keys and values of each layer."""
        return [layer.cross.remember(features) for layer in self.decoder]

    def decode(
        self,
        ids: mx.array,
        memory: Sequence[Memory],
        mask: mx.array | None = None,
        cache: Sequence[Cache] | None = None,
        looked: list[mx.array] | None = None,
        positions: mx.array | None = None,
    ) -> mx.array:
        """(B, L) to (B, L, V).

        Args:
            memory: from `remember`. mask: of the source, (B, S).
            cache: from `make_cache`; the tokens of earlier calls.
            positions: (L,), where a cache of a fixed length makes the mask; default: on from the cache.
            looked: gets (B, H, L, S) of each layer: where it read in the source.
        """
        causal: Any = "causal" if ids.shape[1] > 1 or not cache else None
        if positions is None:
            past = cache[0].offset if cache else 0
            positions = mx.arange(past, past + ids.shape[1])
        elif cache:
            causal = cache[0].make_mask(ids.shape[1])  # type: ignore[attr-defined]
        x = self._embedded(ids, positions)
        for index, layer in enumerate(self.decoder):
            x = layer(x, causal, memory[index], seen(mask), cache[index] if cache else None, looked)
        return self.tokens.as_linear(x) + self.bias

    def make_cache(self) -> list[KeyValueCache]:
        """An empty cache for each layer of the decoder."""
        return [KeyValueCache() for _ in self.decoder]

    def write(self, source: mx.array, mask: mx.array | None, longest: int) -> list[list[int]]:
        """The most probable token each time, for each row; without the end token."""
        config, memory, cache = self._config, self.remember(self.encode(source, mask)), self.make_cache()
        tokens = mx.full((source.shape[0], 1), config.start)
        columns, ended = [], np.zeros(source.shape[0], bool)
        while len(columns) < longest and not ended.all():
            tokens = mx.argmax(self.decode(tokens, memory, mask, cache)[:, -1:], axis=-1)
            columns.append(np.array(tokens)[:, 0])
            ended |= columns[-1] == config.end
        rows = np.stack(columns, axis=1)
        return [row[: np.argmax(np.append(row, config.end) == config.end)].tolist() for row in rows]

    @property
    def config(self) -> Config:
        """What the model was built from."""
        return self._config

    def _embedded(self, ids: mx.array, positions: mx.array) -> mx.array:
        x = self.tokens(ids)
        if self._config.scaled:
            x = x * sqrt(self._config.width)
        return self.dropout(x + self._sines[positions])


def sines(length: int, width: int) -> np.ndarray:
    """Marian's positions, float32 (length, W): sines in the first half, cosines in the second."""
    angles = np.arange(length)[:, None] / 10000 ** (2 * np.arange(width // 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


# Hugging Face's names, each beside ours.
_NAMES = (
    ("self_attn.q_proj", "attention.query"),
    ("self_attn.k_proj", "attention.key"),
    ("self_attn.v_proj", "attention.value"),
    ("self_attn.out_proj", "attention.out"),
    ("self_attn_layer_norm", "attention_norm"),
    ("encoder_attn.q_proj", "cross.query"),
    ("encoder_attn.k_proj", "cross.key"),
    ("encoder_attn.v_proj", "cross.value"),
    ("encoder_attn.out_proj", "cross.out"),
    ("encoder_attn_layer_norm", "cross_norm"),
    ("fc1", "mlp.up"),
    ("fc2", "mlp.down"),
    ("final_layer_norm", "mlp_norm"),
)
_SHARED = ("model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")


def sanitize(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Weights of a MarianMTModel under our names; ours as they are.

    Raises:
        ValueError: its tables of embeddings differ.
    """
    if "tokens.weight" in weights:
        return weights
    result: dict[str, mx.array] = {}
    for name, array in weights.items():
        if name in (*_SHARED, "lm_head.weight"):
            if not mx.array_equal(result.setdefault("tokens.weight", array), array).item():
                raise ValueError("its embeddings are not shared")
        elif name == "final_logits_bias":
            result["bias"] = array.reshape(-1)
        elif not name.endswith("embed_positions.weight"):  # they are computed
            result[_renamed(name.replace("model.", "", 1).replace(".layers.", "."), _NAMES)] = array
    return result


def hugging_face_weights(weights: dict[str, mx.array], config: Config) -> dict[str, mx.array]:
    """Our weights under the names of MarianMTModel: the inverse of `sanitize`."""
    table = [(ours, theirs) for theirs, ours in _NAMES]
    positions = mx.array(sines(config.context, config.width))
    result = {f"model.{part}.embed_positions.weight": positions for part in ("encoder", "decoder")}
    for name, array in weights.items():
        if name == "tokens.weight":
            result["model.shared.weight"] = array
        elif name == "bias":
            result["final_logits_bias"] = array[None]
        else:
            part, number, rest = name.split(".", 2)
            result[f"model.{part}.layers.{number}.{_renamed(rest, table)}"] = array
    return result


def _renamed(name: str, table: Sequence[tuple[str, str]]) -> str:
    stem, _, kind = name.rpartition(".")
    for old, new in table:
        if stem == old or stem.endswith(f".{old}"):
            return f"{stem.removesuffix(old)}{new}.{kind}"
    return name


def to_hugging_face(config: Config) -> dict[str, Any]:
    """config.json of a MarianMTModel."""
    depth = config.layers if config.encoder_layers is None else config.encoder_layers
    sizes: dict[str, Any] = {}
    for part, layers in (("encoder", depth), ("decoder", config.layers)):
        sizes |= {f"{part}_layers": layers, f"{part}_attention_heads": config.heads}
        sizes |= {f"{part}_ffn_dim": config.hidden or 4 * config.width, f"{part}_layerdrop": 0.0}
    return sizes | {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "vocab_size": config.vocabulary,
        "decoder_vocab_size": config.vocabulary,
        "d_model": config.width,
        "num_hidden_layers": depth,
        "max_position_embeddings": config.context,
        "activation_function": config.activation,
        "dropout": config.dropout,
        **dict.fromkeys(("attention_dropout", "activation_dropout"), 0.0),
        "scale_embedding": config.scaled,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "dtype": "float32",
        "decoder_start_token_id": config.start,
        "pad_token_id": config.start,
        "bos_token_id": config.start,
        "eos_token_id": config.end,
        "forced_eos_token_id": None,
    }


def from_hugging_face(found: dict[str, Any]) -> Config:
    """The Config of a config.json of MarianMTModel.

    Raises:
        ValueError: it is another architecture, or has something that this model has not.
        KeyError: a size is missing.
    """
    if found.get("model_type") != "marian":
        raise ValueError(f"model_type {found.get('model_type')!r} is not marian")
    same = ("attention_heads", "ffn_dim")
    for name in same:
        if found[f"encoder_{name}"] != found[f"decoder_{name}"]:
            raise ValueError(f"encoder and decoder differ in {name}")
    activation = found.get("activation_function", "gelu")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation_function {activation!r} is none of {', '.join(ACTIVATIONS)}")
    if not found.get("share_encoder_decoder_embeddings", True):
        raise ValueError("encoder and decoder have embeddings of their own")
    return Config(
        vocabulary=found["vocab_size"],
        context=found["max_position_embeddings"],
        layers=found["decoder_layers"],
        encoder_layers=found["encoder_layers"],
        heads=found["decoder_attention_heads"],
        width=found["d_model"],
        hidden=found["decoder_ffn_dim"],
        activation=activation,
        dropout=found.get("dropout", 0.1),
        start=found["decoder_start_token_id"],
        end=found["eos_token_id"],
        scaled=found.get("scale_embedding", False),
    )


__all__ = [
    "VARIANTS",
    "Config",
    "Model",
    "from_hugging_face",
    "hugging_face_weights",
    "sanitize",
    "to_hugging_face",
]
