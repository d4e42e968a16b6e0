"""A small residual CNN for pictures of 28 to 64 pixels: 3 x 3 kernels, batch normalization, rectifiers.

After "Deep Residual Learning for Image Recognition" (He et al., 2015), in the short form that fast trainings
on CIFAR-10 use (Page, "How to train your ResNet", 2018): convolve, halve, and one residual pair, three times.

Letters: B batch, H height, W width, C channels; arrays are NHWC.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn


@dataclass(frozen=True)
class Config:
    """Takes (B, H, W, channels) in [0, 1] and gives logits (B, classes); `widths` are the channels of the
    stages at a half, a quarter and an eighth of the height and width."""

    channels: int = 3
    classes: int = 10
    widths: tuple[int, ...] = (48, 96, 192)


VARIANTS = {
    "small": Config(),
    "tiny": Config(widths=(16, 32, 64)),
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


def sanitize(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Weights of another program under our names; there is no other format for this model."""
    return weights


__all__ = ["VARIANTS", "Config", "Model", "sanitize"]
