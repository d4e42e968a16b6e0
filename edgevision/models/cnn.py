"""A small residual CNN for pictures of 28 to 64 pixels: 3 x 3 kernels, batch normalization, rectifiers.

After "Deep Residual Learning for Image Recognition" (He et al., 2015), in the short form that fast trainings
on CIFAR-10 use (Page, "How to train your ResNet", 2018): convolve, halve, and one residual pair, three times.

Letters: B batch, H height, W width, C channels; arrays are NHWC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from edgevision.errors import UsageError

HEAD, BLOCKS = "head", "stages"  # what fine-tuning exchanges, and what it counts


@dataclass(frozen=True)
class Config:
    """Takes (B, H, W, channels) in [0, 1] and gives logits (B, classes); `widths` are the channels of the
    stages at a half, a quarter and an eighth of the height and width."""

    channels: int = 3
    classes: int = 10
    widths: tuple[int, ...] = (48, 96, 192)


VARIANTS = {
    "small": Config(),
    "tiny": Config(widths=(32, 64, 128)),
    "wide": Config(widths=(64, 128, 256)),
}


class Convolution(nn.Module):
    """3 x 3, normalized over the batch, rectified."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm(outputs)

    def __call__(self, x: mx.array) -> mx.array:
        return nn.relu(self.norm(self.conv(x)))


class Stage(nn.Module):
    """(B, H, W, inputs) to (B, H / 2, W / 2, outputs)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.widen = Convolution(inputs, outputs)
        self.first, self.second = Convolution(outputs, outputs), Convolution(outputs, outputs)
        self.pool = nn.MaxPool2d(2, 2)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.pool(self.widen(x))
        return x + self.second(self.first(x))


class Model(nn.Module):
    """Pictures (B, H, W, channels) in [0, 1] to logits (B, classes)."""

    def __init__(self, config: Config):
        super().__init__()
        widths = tuple(config.widths)
        inputs = (config.channels, *widths[:-1])
        self.stages = [Stage(a, b) for a, b in zip(inputs, widths, strict=True)]
        self.head = nn.Linear(widths[-1], config.classes)

    def __call__(self, x: mx.array) -> mx.array:
        for stage in self.stages:
            x = stage(x)  # (B, H / 8, W / 8, widths[-1]) after the last
        return self.head(mx.max(x, axis=(1, 2)))


def refitted(weights: Mapping[str, mx.array], before: Config, after: Config) -> dict[str, mx.array]:
    """The weights of a model for pictures with other channels; the head is left out where the number of
    classes is another one."""
    result = dict(weights)
    if before.channels != after.channels:
        first = "stages.0.widen.conv.weight"
        result[first] = with_channels(result[first], after.channels)
    if before.classes != after.classes:
        del result["head.weight"], result["head.bias"]
    return result


def with_channels(kernels: mx.array, channels: int) -> mx.array:
    """First-layer kernels (O, H, W, C) for pictures with another number of channels: grey pictures give what
    the same in three channels gave.

    Raises:
        UsageError: neither number is 1.
    """
    if kernels.shape[-1] != 1 and channels != 1:
        raise UsageError(f"kernels for {kernels.shape[-1]} channels cannot be made ones for {channels}")
    grey = mx.sum(kernels, axis=-1, keepdims=True)
    return mx.repeat(grey / channels, channels, axis=-1)


def sanitize(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Weights of another program under our names; there is no other format for this model."""
    return weights


__all__ = ["BLOCKS", "HEAD", "VARIANTS", "Config", "Model", "refitted", "sanitize", "with_channels"]
