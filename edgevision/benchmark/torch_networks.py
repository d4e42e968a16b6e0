"""The networks of `networks`, LeNet and the small CNN in PyTorch, channels first, with the same names."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import mlx.nn
import numpy as np
import torch
from mlx.utils import tree_flatten
from torch import nn
from torch.nn.functional import gelu, max_pool2d, relu, scaled_dot_product_attention

from edgevision.benchmark.networks import VOCABULARY


def with_weights_of(network: nn.Module, model: mlx.nn.Module) -> nn.Module:
    """`network` in evaluation mode, holding the weights of `model`.

    Raises:
        KeyError: a parameter that `model` has not.
    """
    return with_weights(network, dict(tree_flatten(model.parameters())))


def with_weights(network: nn.Module, weights: Mapping[str, mx.array]) -> nn.Module:
    """`network` in evaluation mode, holding arrays by the names of its own.

    Raises:
        KeyError: a parameter that `weights` has not.
    """
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                array = np.array(weights[name])
                tensor.copy_(torch.from_numpy(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array))
    if isinstance(network, LeNet):  # here the maps are flattened channels first
        fc1 = network.fc1.weight
        fc1.data = fc1.view(-1, 5, 5, 16).permute(0, 3, 1, 2).reshape(fc1.shape).contiguous()
    return network.eval()


class Block(nn.Module):
    """A pre-norm Transformer block."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, causal=False, past=None):
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (part.reshape(batch, length, width // 64, 64).transpose(1, 2) for part in parts)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        attended = scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.projection(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(gelu(self.up(self.norm2(x)))), (k, v)


class ViT(nn.Module):
    """ViT-Ti/16."""

    def __init__(self, width: int = 192, layers: int = 12, classes: int = 1000):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 197, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, picture):
        x = self.patch(picture).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        for block in self.blocks:
            x, _ = block(x)
        return self.head(self.norm(x)[:, 0])


class GPT(nn.Module):
    """The decoder over a whole text."""

    def __init__(self, width: int = 384, layers: int = 6, context: int = 1024):
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, ids):
        x = self.token(ids) + self.position(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x, _ = block(x, causal=True)
        return self.head(self.norm(x))


class GPTStep(GPT):
    """The decoder over one token, with the keys and values of those before it."""

    def forward(self, ids, *past):
        length = past[0].shape[2]
        x = self.token(ids) + self.position(torch.arange(length, length + 1))
        present = []
        for block, keys, values in zip(self.blocks, past[::2], past[1::2], strict=True):
            x, both = block(x, past=(keys, values))
            present += both
        return self.head(self.norm(x)), *present


class Residual(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut = stride > 1 or inputs != outputs
        if self.shortcut:
            self.conv3 = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + (self.bn3(self.conv3(x)) if self.shortcut else x))


class ResNet18(nn.Module):
    """ResNet-18."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        widths = (64, 64, 128, 256, 512)
        self.blocks = nn.ModuleList(
            Residual(*pair, stride)
            for a, b, s in zip(widths, widths[1:], (1, 2, 2, 2), strict=False)
            for pair, stride in (((a, b), s), ((b, b), 1))
        )
        self.head = nn.Linear(512, 1000)

    def forward(self, picture):
        x = max_pool2d(relu(self.bn1(self.conv1(picture))), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


class LeNet(nn.Module):
    """`edgevision.models.lenet`, modern."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, image):
        x = max_pool2d(relu(self.conv1(image)), 2, 2)
        x = max_pool2d(relu(self.conv2(x)), 2, 2)
        x = x.flatten(1)
        return self.fc3(relu(self.fc2(relu(self.fc1(x)))))


class Convolution(nn.Module):
    """3 x 3, normalized over the batch, rectified."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, x):
        return relu(self.norm(self.conv(x)))


class Stage(nn.Module):
    """Convolve, halve, and one residual pair."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.widen = Convolution(inputs, outputs)
        self.first, self.second = Convolution(outputs, outputs), Convolution(outputs, outputs)

    def forward(self, x):
        x = max_pool2d(self.widen(x), 2, 2)
        return x + self.second(self.first(x))


class CNN(nn.Module):
    """`edgevision.models.cnn`, small."""

    def __init__(self):
        super().__init__()
        widths = (48, 96, 192)
        self.stages = nn.ModuleList(Stage(a, b) for a, b in zip((3, *widths), widths, strict=False))
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, picture):
        x = picture
        for stage in self.stages:
            x = stage(x)
        return self.head(x.amax((2, 3)))
