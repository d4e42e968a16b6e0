"""Channels first through whole CNNs: transposes at the edges only."""

from collections.abc import Callable
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from rewriting import assert_same, count, optimized

import converters as cv


def filled(module: nn.Module) -> nn.Module:
    """The module with norms and biases that are neither zero nor one, in evaluation mode."""
    random = np.random.default_rng(3)
    vectors = [
        (name, mx.array(random.uniform(0.5, 1.5, array.shape).astype(np.float32)))
        for name, array in tree_flatten(module.parameters())
        if isinstance(array, mx.array) and array.ndim == 1
    ]
    module.load_weights(vectors, strict=False)
    module.eval()
    mx.eval(module.state)
    return module


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Residual(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.one, self.norm1 = conv(inputs, outputs, 3, stride), nn.BatchNorm(outputs)
        self.two, self.norm2 = conv(outputs, outputs), nn.BatchNorm(outputs)
        same = stride == 1 and inputs == outputs
        self.short = (
            nn.Identity() if same else nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm(outputs))
        )

    def __call__(self, x: mx.array) -> mx.array:
        y = nn.relu(self.norm1(self.one(x)))
        return nn.relu(self.norm2(self.two(y)) + self.short(x))


class ResNet18(nn.Module):
    """Eight basic blocks, narrow."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.pool = conv(3, 4, 7, 2), nn.BatchNorm(4), nn.MaxPool2d(3, 2, 1)
        widths = (4, 4, 4, 8, 8, 8, 8, 16, 16)
        self.blocks = [Residual(a, b, 1 + (a != b)) for a, b in pairwise(widths)]
        self.head = nn.Linear(16, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.pool(nn.relu(self.norm(self.stem(x))))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


class Squeeze(nn.Module):
    """Squeeze and excite."""

    def __init__(self, channels: int):
        super().__init__()
        self.down, self.up = nn.Linear(channels, 4), nn.Linear(4, channels)

    def __call__(self, x: mx.array) -> mx.array:
        return x * mx.sigmoid(self.up(nn.silu(self.down(x.mean((1, 2))))))[:, None, None]


class Inverted(nn.Module):
    """MobileNet's block: wide, depthwise, squeezed, narrow."""

    def __init__(self, channels: int, activation: Callable[[mx.array], mx.array]):
        super().__init__()
        self.layers = nn.Sequential(
            conv(channels, 16, 1),
            nn.BatchNorm(16),
            activation,
            conv(16, 16, 3, groups=16),
            nn.BatchNorm(16),
            activation,
            Squeeze(16),
            conv(16, channels, 1),
            nn.BatchNorm(channels),
        )

    def __call__(self, x: mx.array) -> mx.array:
        return x + self.layers(x)


class MobileNet(nn.Module):
    def __init__(self, activation: Callable[[mx.array], mx.array]):
        super().__init__()
        self.stem = conv(3, 8, 3, 2)
        self.blocks = nn.Sequential(Inverted(8, activation), Inverted(8, activation))
        self.head = nn.Linear(8, 10)

    def __call__(self, x: mx.array) -> mx.array:
        return self.head(self.blocks(self.stem(x)).mean((1, 2)))


class UNet(nn.Module):
    """Two levels, with skips; the norms and the upsampling vary."""

    def __init__(self, norm: Callable[[int], nn.Module], mode: str = "nearest"):
        super().__init__()
        self.one = nn.Sequential(conv(3, 8), norm(8), nn.relu)
        self.two = nn.Sequential(conv(8, 16), norm(16), nn.relu)
        self.three = nn.Sequential(conv(24, 8), norm(8), nn.relu)
        self.pool, self.up, self.head = nn.MaxPool2d(2, 2), nn.Upsample(2, mode), nn.Conv2d(8, 2, 1)

    def __call__(self, x: mx.array) -> mx.array:
        fine = self.one(x)
        coarse = self.up(self.two(self.pool(fine)))
        return self.head(self.three(mx.concatenate([coarse, fine], axis=-1)))


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.deep, self.norm = conv(channels, channels, 7, groups=channels), nn.LayerNorm(channels)
        self.wide, self.narrow = nn.Linear(channels, 32), nn.Linear(32, channels)
        self.gamma = mx.ones(channels)

    def __call__(self, x: mx.array) -> mx.array:
        return x + self.gamma * self.narrow(nn.gelu(self.wide(self.norm(self.deep(x)))))


NETWORKS = {
    # name: (model, transposes, other ops that must not be left)
    "resnet": (ResNet18, 1, {"Multiply", "Subtract"}),
    "mobilenet": (lambda: MobileNet(nn.relu6), 1, {"Maximum", "Minimum"}),
    "mobilenet 3": (lambda: MobileNet(nn.hardswish), 1, {"Clip"}),
    "u-net": (lambda: UNet(nn.BatchNorm), 2, {"Broadcast", "Reshape"}),
    "u-net, groups": (lambda: UNet(lambda c: nn.GroupNorm(4, c, pytorch_compatible=True)), 2, {"Reshape"}),
    "u-net, MLX's groups": (lambda: UNet(lambda c: nn.GroupNorm(4, c)), 2, {"Reshape"}),
    "u-net, instances": (lambda: UNet(lambda c: nn.InstanceNorm(c, affine=True)), 2, {"Reshape"}),
    "u-net, linear": (lambda: UNet(nn.BatchNorm, "linear"), 2, {"Broadcast", "Reshape"}),
    # LayerNorm and Linear work on the last axis: there and back in each block, as everywhere
    "convnext": (lambda: nn.Sequential(ConvNeXtBlock(3), ConvNeXtBlock(3)), 4, {"Multiply"}),
}


@pytest.mark.parametrize("batch", ["B", 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_transposes_only_where_they_must_be(name, batch):
    make, transposes, gone = NETWORKS[name]
    before = cv.capture(filled(make()), {"x": cv.Spec((batch, 32, 32, 3))})
    after = optimized(before)
    assert count(after).get("Transpose", 0) == transposes
    assert not gone & set(count(after))
    assert_same(before, after)


def test_a_fully_dynamic_picture():
    before = cv.capture(filled(UNet(nn.BatchNorm)), {"x": cv.Spec(("B", "H", "W", 3))}, dims={})
    after = optimized(before)
    assert count(after)["Transpose"] == 2
    assert_same(before, after)


def test_a_transpose_that_two_read_moves_only_where_both_gain():
    weight = mx.array(np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))

    def fn(x: mx.array) -> tuple[mx.array, mx.array]:
        y = x.transpose(0, 2, 1)
        return mx.exp(y), y @ weight

    before = cv.capture(fn, {"x": cv.Spec(("B", 4, "L"))})
    after = optimized(before)
    assert count(after)["Transpose"] == 1
    assert_same(before, after)


def test_transposes_of_unit_axes_settle():
    def fn(x: mx.array, y: mx.array) -> mx.array:
        z = x.transpose(0, 2, 1) * y
        return mx.exp(z) * y.transpose(0, 1, 2) + z

    before = cv.capture(fn, {"x": cv.Spec(("B", 4, 1)), "y": cv.Spec(("B", 1, 4))})
    after = optimized(before)
    assert count(after).get("Transpose", 0) == 0
    assert_same(before, after)
