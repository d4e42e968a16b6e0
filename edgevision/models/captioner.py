"""A captioner: a picture in, a sentence out.

An encoder makes a sequence of features of the picture, and the Transformer of `decoder_lm` writes the
sentence. Encoders:

cnn     patches of 4 x 4 pixels, then the residual stages of `cnn`, each of which halves the grid
vit     the Vision Transformer of `vit`, all of its tokens

The decoder looks at the features by cross-attention in every block ("Show, Attend and Tell", Xu et al.,
2015, with the decoder of "Attention Is All You Need"), or, in the prefix form, they stand before the text as
if they were tokens ("ClipCap", Mokady et al., 2021). A ViT with a GPT-2 that has cross-attention is Hugging
Face's VisionEncoderDecoderModel, see `edgevision.pretrained_captioner`.

Letters: B batch, H height, W width, S features of a picture, E width of a feature, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from edgevision.models import cnn, decoder_lm, vit
from edgevision.models.attention import Cache
from edgevision.models.decoder_lm import Memory

PATCH = 4


@dataclass(frozen=True)
class Config:
    """Takes float32 pictures (B, image_size, image_size, 3) in [0, 1].

    Attributes:
        widths: of the cnn: channels after the patches and after each stage.
        vit: a `vit.Config`, or its fields, for that encoder in place of the cnn.
        dropout: of the features; that of the decoder is its own.
        decoder: a `decoder_lm.Config`, or its fields; its `memory` is set here.
        prefix: whether features stand before the text, in place of cross-attention.
    """

    image_size: int = 128
    channels: int = 3
    widths: tuple[int, ...] = (32, 64, 192)
    vit: Any = None
    dropout: float = 0.1
    decoder: Any = field(
        default_factory=lambda: decoder_lm.Config(context=32, layers=2, heads=4, width=192, dropout=0.1)
    )
    prefix: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.vit is not None:
            encoder = vit.Config(**self.vit) if isinstance(self.vit, dict) else self.vit
            object.__setattr__(self, "vit", encoder)
            object.__setattr__(self, "image_size", encoder.image_size)
            object.__setattr__(self, "channels", encoder.channels)
        given = self.decoder if isinstance(self.decoder, dict) else vars(self.decoder)
        memory = None if self.prefix else self.feature_width
        object.__setattr__(self, "decoder", decoder_lm.Config(**{**given, "memory": memory}))

    @property
    def feature_width(self) -> int:
        """E."""
        return self.widths[-1] if self.vit is None else self.vit.width

    @property
    def features(self) -> int:
        """S."""
        if self.vit is None:
            return (self.image_size // PATCH >> (len(self.widths) - 1)) ** 2
        return self.vit.grid**2 + (self.vit.pool == "token")


_SCENES = decoder_lm.Config(context=32, layers=2, heads=4, width=96)
VARIANTS = {
    "small": Config(),  # 128 pixels: Flickr8k
    "scenes": Config(64, widths=(32, 96), dropout=0.0, decoder=_SCENES),
    "vit-gpt2": Config(  # the sizes of Hugging Face's best-known captioner
        vit=vit.VARIANTS["B"],
        decoder=decoder_lm.Config(vocabulary=50257, context=1024, layers=12, heads=12, width=768),
    ),
}


class CnnEncoder(nn.Module):
    """Pictures (B, H, W, C) in [0, 1] to features (B, S, E)."""

    def __init__(self, config: Config):
        super().__init__()
        widths = config.widths
        self.patches = nn.Conv2d(config.channels, widths[0], PATCH, PATCH)
        self.stages = [cnn.Stage(a, b) for a, b in pairwise(widths)]
        self.positions = mx.random.normal((config.features, widths[-1]), scale=0.02)
        self.norm = nn.LayerNorm(widths[-1])

    def __call__(self, pictures: mx.array) -> mx.array:
        x = nn.relu(self.patches(pictures * 2 - 1))
        for stage in self.stages:
            x = stage(x)
        return self.norm(x.reshape(x.shape[0], -1, x.shape[-1]) + self.positions)  # (B, S, E)


class VitEncoder(nn.Module):
    """Pictures (B, H, W, C) in [0, 1] to features (B, S, E): all tokens, the class token first."""

    def __init__(self, config: vit.Config):
        super().__init__()
        self.vit = vit.Model(config)
        self.vit.pop("head")

    def __call__(self, pictures: mx.array) -> mx.array:
        x = self.vit.embed(pictures)
        for layer in self.vit.layers:
            x = layer(x)
        return self.vit.norm(x)


class Model(nn.Module):
    """Pictures (B, H, W, C) and the tokens so far (B, L) to logits (B, L, V) of the next ones."""

    def __init__(self, config: Config):
        super().__init__()
        self.encoder = CnnEncoder(config) if config.vit is None else VitEncoder(config.vit)
        self.decoder = decoder_lm.Model(config.decoder)
        self.dropout = nn.Dropout(config.dropout)
        if config.prefix:
            self.bridge = nn.Linear(config.feature_width, config.decoder.width)
        if config.vit is None:
            self.names = nn.Linear(config.feature_width, config.decoder.vocabulary)
            self.names.bias = mx.full(self.names.bias.shape, -5.0)  # few tokens are in a sentence
        self._config = config

    def __call__(self, pictures: mx.array, ids: mx.array) -> mx.array:
        return self.decode(ids, self.remember(self.encode(pictures)))

    def encode(self, pictures: mx.array) -> mx.array:
        """(B, H, W, C) in [0, 1] to features (B, S, E)."""
        return self.dropout(self.encoder(pictures))

    def remember(self, features: mx.array) -> list[Memory] | mx.array:
        """What the decoder needs of features (B, S, E) in each step: keys and values, or the prefix."""
        return self.bridge(features) if self._config.prefix else self.decoder.remember(features)

    def decode(
        self,
        ids: mx.array,
        memory: list[Memory] | mx.array,
        cache: Sequence[Cache] | None = None,
        looked: list[mx.array] | None = None,
    ) -> mx.array:
        """(B, L) to (B, L, V), `memory` from `remember`, `cache` from `decoder.make_cache`; `looked` gets
        (B, H, L, S) of each layer, where it attended to, but in the prefix form."""
        if not isinstance(memory, mx.array):
            return self.decoder(ids, cache=cache, memory=memory, looked=looked)
        if cache and cache[0].offset:  # the prefix is in the cache
            return self.decoder(ids, cache=cache)
        return self.decoder(ids, cache=cache, prefix=memory)[:, memory.shape[1] :]

    def name(self, features: mx.array) -> mx.array:
        """(B, V): logits of each token being somewhere in the sentence; helps the encoder to learn."""
        return self.names(mx.mean(features, axis=1))

    def write(self, features: mx.array, end: int, longest: int, drawn: bool = False) -> list[list[int]]:
        """A sentence for each of the features (B, S, E), without the end token: the most probable token each
        time, or one that is drawn."""
        memory, cache = self.remember(features), self.decoder.make_cache()
        tokens = mx.full((features.shape[0], 1), end)
        columns, ended = [], np.zeros(features.shape[0], bool)
        while len(columns) < longest and not ended.all():
            logits = self.decode(tokens, memory, cache)[:, -1:]
            tokens = mx.random.categorical(logits) if drawn else mx.argmax(logits, axis=-1)
            columns.append(np.array(tokens)[:, 0])
            ended |= columns[-1] == end
        rows = np.stack(columns, axis=1)
        return [row[: np.argmax(np.append(row, end) == end)].tolist() for row in rows]

    @property
    def config(self) -> Config:
        """What the model was built from."""
        return self._config


def sanitize(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Weights of a VisionEncoderDecoderModel under our names; ours as they are."""
    if not any(name.startswith("encoder.embeddings.") for name in weights):
        return weights
    encoder, decoder = {}, {}
    for name, array in weights.items():
        part, _, rest = name.partition(".")
        if part == "decoder":
            decoder[rest] = array
        elif not rest.startswith("pooler."):
            encoder[f"vit.{rest}" if part == "encoder" else name] = array
    ours = {f"encoder.vit.{name}": array for name, array in vit.sanitize(encoder).items()}
    return ours | {f"decoder.{name}": array for name, array in decoder_lm.sanitize(decoder).items()}


__all__ = ["VARIANTS", "CnnEncoder", "Config", "Model", "VitEncoder", "sanitize"]
