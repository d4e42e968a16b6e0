"""A Vision Transformer: a picture as a sequence of patches.

"An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale" (Dosovitskiy et al., 2020):
patches of P x P pixels are embedded linearly, a class token is put before them, learned one-dimensional
position embeddings are added, and a pre-norm Transformer encoder and a linear head follow. In place of the
class token the mean of all patches can be taken (its appendix D.3).

Checkpoints of Hugging Face's ViTForImageClassification and of timm are read and written by
`edgevision.pretrained_vit`.

Letters: B batch, H height, W width of a picture in pixels, C channels, P side of a patch, S patches, E width
of the embedding, L tokens: S, and one more with a class token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from edgevision.errors import UsageError
from edgevision.models.activations import gelu
from edgevision.models.attention import Attention
from edgevision.models.cnn import with_channels

HEAD, BLOCKS = "head", "layers"  # what fine-tuning exchanges, and what it counts


@dataclass(frozen=True)
class Config:
    """Sizes of a model for pictures (B, image_size, image_size, channels) in [0, 1].

    Attributes:
        pool: what the head sees: the class "token", or the "mean" of the patches.
        hidden: inside the feed-forward network, None for 4 widths.
        mean, std: pictures are normalized to (x - mean) / std, by channel or all channels alike.
        dropout: in training, after the embedding and on what each block adds.
    """

    image_size: int = 224
    patch_size: int = 16
    channels: int = 3
    classes: int = 1000
    layers: int = 12
    heads: int = 3
    width: int = 192
    hidden: int | None = None
    pool: Literal["token", "mean"] = "token"
    norm_epsilon: float = 1e-6
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.image_size % self.patch_size:
            raise UsageError(
                f"{self.image_size} pixels are not a whole number of patches of {self.patch_size}",
                hint="choose another variant, or scale the pictures",
            )
        if self.width % self.heads:
            raise UsageError(f"a width of {self.width} cannot be shared by {self.heads} heads")
        if self.pool not in ("token", "mean"):
            raise UsageError(f"pool {self.pool!r} is unknown", hint="choose token or mean")

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size


_SMALL = Config(32, 4, 3, 10, layers=6, heads=2, width=128, pool="mean")
VARIANTS = {
    "small": _SMALL,  # pictures of 28 to 64 pixels
    "tiny": replace(_SMALL, layers=4, width=64),
    "medium": replace(_SMALL, layers=9, heads=3, width=192),
    "Ti": Config(heads=3, width=192),
    "S": Config(heads=6, width=384),
    "B": Config(heads=12, width=768),
    "B/32": Config(patch_size=32, heads=12, width=768),
    "L": Config(layers=24, heads=16, width=1024),
    "L/32": Config(patch_size=32, layers=24, heads=16, width=1024),
    "H": Config(patch_size=14, layers=32, heads=16, width=1280),
}


class Block(nn.Module):
    """Attention and a feed-forward network, each behind a norm and around a residual connection."""

    def __init__(self, config: Config):
        super().__init__()
        hidden = config.hidden or 4 * config.width
        self.norm1 = nn.LayerNorm(config.width, config.norm_epsilon)
        self.attention = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, config.norm_epsilon)
        self.up, self.down = nn.Linear(config.width, hidden), nn.Linear(hidden, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, L, E) to the same."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.down(gelu(self.up(self.norm2(x)), self.training)))


class Model(nn.Module):
    """Pictures (B, H, W, C) in [0, 1] to logits (B, classes)."""

    def __init__(self, config: Config):
        super().__init__()
        tokens = config.grid**2 + (config.pool == "token")
        self.patches = nn.Conv2d(config.channels, config.width, config.patch_size, config.patch_size)
        if config.pool == "token":
            self.token = mx.zeros((1, 1, config.width))
        self.positions = mx.random.normal((1, tokens, config.width), scale=0.02)
        self.layers = [Block(config) for _ in range(config.layers)]
        self.norm = nn.LayerNorm(config.width, config.norm_epsilon)
        self.head = nn.Linear(config.width, config.classes)
        self.dropout = nn.Dropout(config.dropout)
        self._config = config
        self._mean, self._std = mx.array(config.mean), mx.array(config.std)
        self._initialize()

    def __call__(self, x: mx.array) -> mx.array:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.features(x))

    def embed(self, x: mx.array) -> mx.array:
        """(B, H, W, C) in [0, 1] to tokens (B, L, E)."""
        x = self.patches((x - self._mean) / self._std)  # (B, H / P, W / P, E)
        x = x.reshape(x.shape[0], -1, x.shape[-1])  # (B, S, E)
        if self._config.pool == "token":
            token = mx.broadcast_to(self.token, (x.shape[0], 1, x.shape[-1]))
            x = mx.concatenate([token, x], axis=1)
        return self.dropout(x + self.positions)

    def features(self, x: mx.array) -> mx.array:
        """(B, L, E) after the last block to what the head sees, (B, E)."""
        if self._config.pool == "token":
            return self.norm(x[:, 0])  # of the class token alone: the others are not looked at
        return self.norm(mx.mean(x, axis=1))

    @property
    def config(self) -> Config:
        """What the model was built from."""
        return self._config

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Model:
        """A checkpoint of Hugging Face or timm, or a run: `edgevision.pretrained_vit.load`."""
        from edgevision.pretrained_vit import load

        return load(name).model

    def save_pretrained(self, folder: str | Path, labels: Sequence[str] = ()) -> None:
        """Write what transformers loads: `edgevision.pretrained_vit.save`."""
        from edgevision.pretrained_vit import save

        save(Path(folder), self, labels)

    def _initialize(self) -> None:
        """Matrices small at random, biases 0, as the paper's own program begins; the head begins at 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.weight = mx.random.normal(module.weight.shape, scale=0.02)
                module.bias = mx.zeros(module.bias.shape)
        fan_in = self.patches.weight[0].size
        self.patches.weight = mx.random.normal(self.patches.weight.shape, scale=fan_in**-0.5)
        self.patches.bias = mx.zeros(self.patches.bias.shape)
        self.head.weight = mx.zeros(self.head.weight.shape)


def sanitize(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Weights of Hugging Face's or timm's checkpoints under our names; ours as they are."""
    from edgevision.pretrained_vit import our_names

    return our_names(weights)


Resampling = Literal["hugging_face", "timm"]


def refitted(
    weights: Mapping[str, mx.array], before: Config, after: Config, resampling: Resampling = "hugging_face"
) -> dict[str, mx.array]:
    """The weights of a model for pictures of another size or with other channels; the head is left out where
    the number of classes is another one.

    Args:
        resampling: how positions are interpolated, see `resampled_positions`.
    """
    result = dict(weights)
    extra = int(before.pool == "token")
    if before.grid != after.grid:
        result["positions"] = resampled_positions(result["positions"], after.grid, extra, resampling)
    if before.channels != after.channels:
        result["patches.weight"] = with_channels(result["patches.weight"], after.channels)
    if before.classes != after.classes:
        del result["head.weight"], result["head.bias"]
    return result


def resampled_positions(
    positions: mx.array, grid: int, extra: int, resampling: Resampling = "hugging_face"
) -> mx.array:
    """Position embeddings (1, extra + S, E) for grid x grid patches; the first `extra` stay as they are.

    Args:
        resampling: "hugging_face" interpolates by cubics (a = -0.75) between the nearest four, as
            `interpolate_pos_encoding` of transformers; "timm" by flatter ones (a = -0.5), which are widened
            where the grid becomes smaller, as `resample_abs_pos_embed` does.
    """
    side = isqrt(positions.shape[1] - extra)
    table = np.array(positions[0, extra:], np.float32).reshape(side, side, -1)
    weights = _cubic_weights(side, grid, smooth=resampling == "timm")  # (grid, side)
    table = np.einsum("ai,bj,ije->abe", weights, weights, table, optimize=True)
    new = mx.array(table.reshape(1, grid * grid, -1).astype(np.float32))
    return mx.concatenate([positions[:, :extra], new], axis=1)


def _cubic_weights(before: int, after: int, smooth: bool) -> np.ndarray:
    """(after, before): how much each old place counts for a new one, along one axis."""
    scale = before / after
    wide, a = (max(scale, 1.0), -0.5) if smooth else (1.0, -0.75)
    result = np.zeros((after, before))
    for place in range(after):
        middle = (place + 0.5) * scale - 0.5
        near = np.arange(np.floor(middle - 2 * wide), np.ceil(middle + 2 * wide) + 1)
        shares = _cubic(np.abs(near - middle) / wide, a)
        if smooth:  # what lies outside does not count
            shares = np.where((near >= 0) & (near < before), shares, 0)
            shares = shares / shares.sum()
        np.add.at(result[place], np.clip(near, 0, before - 1).astype(int), shares)
    return result


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel ("Cubic Convolution Interpolation for Digital Image Processing", 1981)."""
    d = distance
    inner = ((a + 2) * d - (a + 3)) * d * d + 1
    outer = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, inner, np.where(d < 2, outer, 0.0))


__all__ = [
    "BLOCKS",
    "HEAD",
    "VARIANTS",
    "Block",
    "Config",
    "Model",
    "refitted",
    "resampled_positions",
    "sanitize",
]
