"""The networks that are timed, in MLX; `torch_networks` holds the same with the same parameter names."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

VOCABULARY = 5000


class Block(nn.Module):
    """A pre-norm Transformer block, `width` wide with heads of 64: (B, L, width) to the same."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def __call__(
        self, x: mx.array, mask: str | None = None, past: tuple[mx.array, mx.array] | None = None
    ) -> tuple[mx.array, tuple[mx.array, mx.array]]:
        """The block's result, and all keys and values, each (B, heads, length, 64)."""
        batch, length, width = x.shape
        parts = mx.split(self.qkv(self.norm1(x)), 3, axis=-1)
        q, k, v = (part.reshape(batch, length, -1, 64).transpose(0, 2, 1, 3) for part in parts)
        if past is not None:
            k, v = (mx.concatenate([old, new], axis=2) for old, new in zip(past, (k, v), strict=True))
        attended = mx.fast.scaled_dot_product_attention(q, k, v, scale=64**-0.5, mask=mask)
        x = x + self.projection(attended.transpose(0, 2, 1, 3).reshape(batch, length, width))
        return x + self.down(nn.gelu(self.up(self.norm2(x)))), (k, v)


class ViT(nn.Module):
    """ViT-Ti/16: pictures (B, 224, 224, 3) to logits (B, 1000)."""

    def __init__(self, width: int = 192, layers: int = 12):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.token = mx.random.normal((1, 1, width), scale=0.02)
        self.position = mx.random.normal((1, 197, width), scale=0.02)
        self.blocks = [Block(width) for _ in range(layers)]
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1000)

    def __call__(self, picture: mx.array) -> mx.array:
        patches = self.patch(picture)
        batch, width = patches.shape[0], patches.shape[-1]
        token = mx.broadcast_to(self.token, (batch, 1, width))
        x = mx.concatenate([token, patches.reshape(batch, -1, width)], axis=1) + self.position
        for block in self.blocks:
            x, _ = block(x)
        return self.head(self.norm(x)[:, 0])

    def products(self, picture: mx.array) -> mx.array:
        """Nothing but the matrix products of `__call__`, of the same sizes, each fed by the one before."""
        x = self.patch(picture).reshape(1, 196, -1)
        x = mx.concatenate([x, x[:, :1]], axis=1)
        for block in self.blocks:
            heads = block.qkv(x)[..., : x.shape[-1]].reshape(1, 197, -1, 64).transpose(0, 2, 1, 3)
            attended = heads @ heads.transpose(0, 1, 3, 2) @ heads
            x = block.projection(attended.transpose(0, 2, 1, 3).reshape(x.shape))
            x = block.down(block.up(x))
        return self.head(x[:, 0])


class GPT(nn.Module):
    """A decoder of 6 layers, 384 wide: token ids (B, L) to logits (B, L, 5000)."""

    def __init__(self, width: int = 384, layers: int = 6, context: int = 1024):
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.position = nn.Embedding(context, width)
        self.blocks = [Block(width) for _ in range(layers)]
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)

    def __call__(self, ids: mx.array) -> mx.array:
        x = self.token(ids) + self.position(mx.arange(ids.shape[1]))
        for block in self.blocks:
            x, _ = block(x, mask="causal")
        return self.head(self.norm(x))

    def step(self, ids: mx.array, *past: mx.array) -> tuple[mx.array, ...]:
        """One token (B, 1) after `past`, keys and values of each layer in turn: logits and all of both."""
        length = past[0].shape[2]
        x = self.token(ids) + self.position(mx.arange(length, length + 1))
        present = []
        for block, keys, values in zip(self.blocks, past[::2], past[1::2], strict=True):
            x, both = block(x, past=(keys, values))
            present += both
        return self.head(self.norm(x)), *present


class Residual(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm(outputs)
        if stride > 1 or inputs != outputs:
            self.conv3 = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.bn3 = nn.BatchNorm(outputs)

    def __call__(self, x: mx.array) -> mx.array:
        y = self.bn2(self.conv2(nn.relu(self.bn1(self.conv1(x)))))
        return nn.relu(y + (self.bn3(self.conv3(x)) if "conv3" in self else x))


class ResNet18(nn.Module):
    """Pictures (B, 224, 224, 3) to logits (B, 1000)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm(64)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        widths = (64, 64, 128, 256, 512)
        self.blocks = [
            Residual(*pair, stride)
            for a, b, s in zip(widths, widths[1:], (1, 2, 2, 2), strict=False)
            for pair, stride in (((a, b), s), ((b, b), 1))
        ]
        self.head = nn.Linear(512, 1000)

    def __call__(self, picture: mx.array) -> mx.array:
        x = self.pool(nn.relu(self.bn1(self.conv1(picture))))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(axis=(1, 2)))
