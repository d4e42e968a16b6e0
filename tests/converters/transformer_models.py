"""Vision, speech and text models with attention as MLX projects write them, tiny.

N: batch, H, W: places, T: tokens, D: width, S: side of a window.
"""

import math
from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv2d(3, 32, 8, 8), nn.LayerNorm(32), nn.Linear(32, 10)
        self.cls, self.pos = mx.full((1, 1, 32), 0.1), mx.random.normal((1, 17, 32)) * 0.1
        self.blocks = nn.TransformerEncoder(2, 32, 4, 64, norm_first=True)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.patch(x).flatten(1, 2)
        cls = mx.broadcast_to(self.cls, (x.shape[0], 1, 32))
        x = mx.concatenate([cls, x], axis=1) + self.pos
        return self.head(self.norm(self.blocks(x, None)[:, 0]))


class WindowAttention(nn.Module):
    """Swin's attention with a table of relative positions."""

    def __init__(self, size: int, heads: int, side: int):
        super().__init__()
        self.heads, self.scale = heads, (size // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.table = mx.random.normal(((2 * side - 1) ** 2, heads)) * 0.1
        grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")).reshape(2, -1)
        steps = (grid[:, :, None] - grid[:, None, :]).transpose(1, 2, 0) + side - 1
        self._index = mx.array((steps[..., 0] * (2 * side - 1) + steps[..., 1]).reshape(-1))

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, -1).transpose(2, 0, 3, 1, 4)
        scores = (q * self.scale) @ k.swapaxes(-1, -2)
        scores = scores + self.table[self._index].reshape(t, t, -1).transpose(2, 0, 1)[None]
        if mask is not None:
            windows = mask.shape[0]
            scores = scores.reshape(b // windows, windows, self.heads, t, t) + mask[None, :, None]
            scores = scores.reshape(b, self.heads, t, t)
        y = mx.softmax(scores, axis=-1) @ v
        return self.proj(y.swapaxes(1, 2).reshape(b, t, c))


class SwinBlock(nn.Module):
    def __init__(self, size: int, side: int, shift: int, places: int):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(size), WindowAttention(size, 4, side)
        self.norm2, self.up, self.down = (
            nn.LayerNorm(size),
            nn.Linear(size, 2 * size),
            nn.Linear(2 * size, size),
        )
        self.side, self.shift, self._mask = side, shift, None
        if shift:
            regions = np.zeros((places, places), np.int32)
            cuts = (slice(0, -side), slice(-side, -shift), slice(-shift, None))
            for i, rows in enumerate(cuts):
                for j, columns in enumerate(cuts):
                    regions[rows, columns] = 3 * i + j
            count = places // side
            parts = regions.reshape(count, side, count, side).transpose(0, 2, 1, 3).reshape(-1, side * side)
            self._mask = mx.array(np.where(parts[:, None] == parts[:, :, None], 0, -100.0).astype(np.float32))

    def __call__(self, x: mx.array) -> mx.array:
        n, h, w, c = x.shape
        s = self.side
        y = self.norm1(x)
        if self.shift:
            y = mx.roll(y, (-self.shift, -self.shift), (1, 2))  # type: ignore[arg-type]
        y = y.reshape(n, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)
        y = self.attn(y, self._mask)
        y = y.reshape(n, h // s, w // s, s, s, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        if self.shift:
            y = mx.roll(y, (self.shift, self.shift), (1, 2))  # type: ignore[arg-type]
        x = x + y
        return x + self.down(nn.gelu(self.up(self.norm2(x))))


class Swin(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 2, 2)
        self.stage1 = [SwinBlock(16, 4, 0, 16), SwinBlock(16, 4, 2, 16)]
        self.merge_norm, self.merge = nn.LayerNorm(64), nn.Linear(64, 32, bias=False)
        self.stage2, self.norm, self.head = [SwinBlock(32, 4, 0, 8)], nn.LayerNorm(32), nn.Linear(32, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.patch(x)
        for block in self.stage1:
            x = block(x)
        parts = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
        x = self.merge(self.merge_norm(mx.concatenate(parts, axis=-1)))
        for block in self.stage2:
            x = block(x)
        return self.head(self.norm(x).mean(axis=(1, 2)))


class SamAttention(nn.Module):
    """Positions relative along height and width, added apart."""

    def __init__(self, size: int, heads: int, places: int):
        super().__init__()
        self.heads, self.scale = heads, (size // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.rows, self.columns = (mx.random.normal((2 * places - 1, size // heads)) * 0.1 for _ in range(2))

    def __call__(self, x: mx.array) -> mx.array:
        n, h, w, c = x.shape
        qkv = self.qkv(x).reshape(n, h * w, 3, self.heads, -1).transpose(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, n * self.heads, h * w, -1)
        scores = (q * self.scale) @ k.swapaxes(-1, -2)
        steps = mx.arange(h)[:, None] - mx.arange(h)[None] + (h - 1)
        places = q.reshape(n * self.heads, h, w, -1)
        rows = places @ self.rows[steps].swapaxes(-1, -2)
        columns = (places.swapaxes(1, 2) @ self.columns[steps].swapaxes(-1, -2)).swapaxes(1, 2)
        scores = scores.reshape(-1, h, w, h, w) + rows[..., None] + columns[..., None, :]
        y = mx.softmax(scores.reshape(-1, h * w, h * w), axis=-1) @ v
        y = y.reshape(n, self.heads, h, w, -1).transpose(0, 2, 3, 1, 4).reshape(n, h, w, c)
        return self.proj(y)


class SamBlock(nn.Module):
    def __init__(self, size: int, side: int, places: int):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(size), SamAttention(size, 4, side or places)
        self.norm2, self.up, self.down, self.side = (
            nn.LayerNorm(size),
            nn.Linear(size, 64),
            nn.Linear(64, size),
            side,
        )

    def __call__(self, x: mx.array) -> mx.array:
        n, h, w, c = x.shape
        s, y = self.side, self.norm1(x)
        if s:
            y = mx.pad(y, [(0, 0), (0, -h % s), (0, -w % s), (0, 0)])
            rows, columns = y.shape[1] // s, y.shape[2] // s
            y = y.reshape(n, rows, s, columns, s, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, s, s, c)
            y = self.attn(y).reshape(n, rows, columns, s, s, c).transpose(0, 1, 3, 2, 4, 5)
            y = y.reshape(n, rows * s, columns * s, c)[:, :h, :w]
        else:
            y = self.attn(y)
        x = x + y
        return x + self.down(nn.gelu(self.up(self.norm2(x))))


class Sam(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.pos = nn.Conv2d(3, 32, 4, 4), mx.random.normal((1, 8, 8, 32)) * 0.1
        self.blocks = [SamBlock(32, 3, 8), SamBlock(32, 0, 8)]
        self.neck = [nn.Conv2d(32, 16, 1, bias=False), nn.LayerNorm(16), nn.Conv2d(16, 16, 3, padding=1)]

    def __call__(self, x: mx.array) -> mx.array:
        x = self.patch(x) + self.pos
        for block in self.blocks:
            x = block(x)
        for layer in self.neck:
            x = layer(x)
        return x


class Detr(nn.Module):
    """A CNN, places by sine, nn.Transformer's encoder and decoder, queries."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()
        )
        self.encoder = nn.TransformerEncoder(1, 32, 4, 64)
        self.decoder = nn.TransformerDecoder(1, 32, 4, 64)
        self.queries, self.classes = mx.random.normal((1, 7, 32)), nn.Linear(32, 5)
        self.boxes = [nn.Linear(32, 32), nn.Linear(32, 4)]

    @staticmethod
    def places(h: int, w: int) -> mx.array:
        ones = mx.ones((h, w))
        wave = 10000 ** (mx.arange(8) / 8)
        y = mx.cumsum(ones, axis=0)[..., None] / wave
        x = mx.cumsum(ones, axis=1)[..., None] / wave
        return mx.concatenate([mx.sin(y), mx.cos(y), mx.sin(x), mx.cos(x)], axis=-1)

    def __call__(self, x: mx.array) -> tuple[mx.array, mx.array]:
        x = self.backbone(x)
        n, h, w, c = x.shape
        memory = self.encoder((x + self.places(h, w)).reshape(n, h * w, c), None)
        found = self.decoder(mx.broadcast_to(self.queries, (n, 7, c)), memory, None, None)
        return self.classes(found), mx.sigmoid(self.boxes[1](nn.relu(self.boxes[0](found))))


class Clip(nn.Module):
    """Text and picture, quick GELU, the token with the highest number, similarity."""

    def __init__(self):
        super().__init__()
        self.vision, self.tokens = ViT(), nn.Embedding(100, 32)
        self.positions = mx.random.normal((40, 32)) * 0.1
        self.attention, self.norm1, self.norm2 = (
            nn.MultiHeadAttention(32, 4, bias=True),
            nn.LayerNorm(32),
            nn.LayerNorm(32),
        )
        self.up, self.down, self.text, self.scale = (
            nn.Linear(32, 64),
            nn.Linear(64, 32),
            nn.Linear(32, 10),
            mx.array(2.6),
        )

    def __call__(self, pixels: mx.array, ids: mx.array) -> tuple[mx.array, mx.array]:
        x = self.tokens(ids) + self.positions[: ids.shape[1]]
        mask = nn.MultiHeadAttention.create_additive_causal_mask(ids.shape[1], x.dtype)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, mask)
        y = self.up(self.norm2(x))
        x = x + self.down(y * mx.sigmoid(1.702 * y))
        text = self.text(x[mx.arange(x.shape[0]), ids.argmax(axis=-1)])
        image = self.vision(pixels)
        text = text / mx.linalg.norm(text, axis=-1, keepdims=True)
        image = image / mx.linalg.norm(image, axis=-1, keepdims=True)
        similarity = mx.exp(self.scale) * (text @ image.T)
        return similarity, similarity.T


class WhisperAttention(nn.Module):
    def __init__(self, size: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(size, size), nn.Linear(size, size, bias=False)
        self.value, self.out = nn.Linear(size, size), nn.Linear(size, size)

    def __call__(
        self, x: mx.array, xa: mx.array | None = None, mask: mx.array | None = None, cache: Any = None
    ):
        q = self.query(x)
        if xa is None:
            k, v = self.key(x), self.value(x)
            if cache is not None:
                k, v = mx.concatenate([cache[0], k], axis=1), mx.concatenate([cache[1], v], axis=1)
        else:
            k, v = self.key(xa), self.value(xa)
        n, t, d = q.shape
        scale = (d // self.heads) ** -0.25
        q = q.reshape(n, t, self.heads, -1).transpose(0, 2, 1, 3) * scale
        keys = k.reshape(n, k.shape[1], self.heads, -1).transpose(0, 2, 3, 1) * scale
        values = v.reshape(n, v.shape[1], self.heads, -1).transpose(0, 2, 1, 3)
        scores = q @ keys
        if mask is not None:
            scores = scores + mask[:t, :t]
        w = mx.softmax(scores, axis=-1, precise=True)
        return self.out((w @ values).transpose(0, 2, 1, 3).reshape(n, t, d)), (k, v)


class WhisperBlock(nn.Module):
    def __init__(self, size: int, cross: bool):
        super().__init__()
        self.attn, self.attn_ln = WhisperAttention(size, 4), nn.LayerNorm(size)
        self.cross = WhisperAttention(size, 4) if cross else None
        self.cross_ln, self.mlp_ln = nn.LayerNorm(size), nn.LayerNorm(size)
        self.mlp1, self.mlp2 = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def __call__(
        self, x: mx.array, xa: mx.array | None = None, mask: mx.array | None = None, cache: Any = None
    ):
        y, kv = self.attn(self.attn_ln(x), mask=mask, cache=cache)
        x = x + y
        if self.cross is not None:
            x = x + self.cross(self.cross_ln(x), xa)[0]
        return x + self.mlp2(nn.gelu(self.mlp1(self.mlp_ln(x)))), kv


def sinusoids(length: int, channels: int) -> mx.array:
    steps = mx.exp(-math.log(10000) / (channels // 2 - 1) * mx.arange(channels // 2))
    scaled = mx.arange(length)[:, None] * steps[None]
    return mx.concatenate([mx.sin(scaled), mx.cos(scaled)], axis=1)


class WhisperEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(16, 32, 3, padding=1), nn.Conv1d(32, 32, 3, 2, 1)
        self.blocks, self.ln = [WhisperBlock(32, False) for _ in range(2)], nn.LayerNorm(32)

    def __call__(self, mel: mx.array) -> mx.array:
        x = nn.gelu(self.conv2(nn.gelu(self.conv1(mel))))
        x = x + sinusoids(x.shape[1], 32)
        for block in self.blocks:
            x, _ = block(x)
        return self.ln(x)


class WhisperDecoder(nn.Module):
    """One step: new ids, the encoder's output, keys and values so far."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(60, 32), mx.random.normal((64, 32)) * 0.1
        self.blocks, self.ln = [WhisperBlock(32, True) for _ in range(2)], nn.LayerNorm(32)

    def __call__(self, ids: mx.array, audio: mx.array, *past: mx.array) -> tuple[mx.array, ...]:
        offset = past[0].shape[1]
        x = self.tokens(ids) + self.positions[offset : offset + ids.shape[1]]
        present = []
        for block, (k, v) in zip(self.blocks, zip(past[::2], past[1::2], strict=True), strict=True):
            x, kv = block(x, audio, None, (k, v))
            present += kv
        return self.tokens.as_linear(self.ln(x)), *present


class T5(nn.Module):
    """Relative positions in buckets, RMS norm, gated GELU."""

    def __init__(self):
        super().__init__()
        self.tokens, self.bias = nn.Embedding(60, 32), nn.Embedding(8, 4)
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32, bias=False) for _ in range(4))
        self.ln1, self.ln2 = nn.RMSNorm(32), nn.RMSNorm(32)
        self.gate, self.up, self.down = (
            nn.Linear(a, b, bias=False) for a, b in ((32, 64), (32, 64), (64, 32))
        )

    @staticmethod
    def bucket(steps: mx.array) -> mx.array:
        found = (steps > 0).astype(mx.int16) * 4
        steps = mx.abs(steps)
        large = 2 + (mx.log(steps.astype(mx.float32) / 2) * (2 / math.log(16))).astype(mx.int16)
        return found + mx.where(steps < 2, steps, mx.minimum(large, 3))

    def __call__(self, ids: mx.array) -> mx.array:
        x = self.tokens(ids)
        n, t, _ = x.shape
        steps = mx.arange(t)[None] - mx.arange(t)[:, None]
        bias = self.bias(self.bucket(steps)).transpose(2, 0, 1)
        y = self.ln1(x)
        q, k, v = (f(y).reshape(n, t, 4, 8).transpose(0, 2, 1, 3) for f in (self.q, self.k, self.v))
        w = mx.softmax((q @ k.swapaxes(-1, -2) + bias).astype(mx.float32), axis=-1)
        x = x + self.o((w @ v).transpose(0, 2, 1, 3).reshape(n, t, 32))
        y = self.ln2(x)
        return x + self.down(nn.gelu_approx(self.gate(y)) * self.up(y))


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places, self.types = nn.Embedding(60, 32), nn.Embedding(40, 32), nn.Embedding(2, 32)
        self.norm, self.encoder, self.pooler = (
            nn.LayerNorm(32),
            nn.TransformerEncoder(2, 32, 4, 64, norm_first=False),
            nn.Linear(32, 32),
        )

    def __call__(self, ids: mx.array, kinds: mx.array, mask: mx.array) -> tuple[mx.array, mx.array]:
        places = mx.broadcast_to(mx.arange(ids.shape[1])[None], ids.shape)
        x = self.norm(self.words(ids) + self.places(places) + self.types(kinds))
        x = self.encoder(x, mx.expand_dims(mx.log(mask.astype(mx.float32)), (1, 2)))
        return x, mx.tanh(self.pooler(x[:, 0]))


class Seq2Seq(nn.Module):
    """nn.Transformer with its masks, sinusoidal positions and ALiBi-free heads."""

    def __init__(self):
        super().__init__()
        self.source, self.target = nn.Embedding(50, 32), nn.Embedding(50, 32)
        self.places = nn.SinusoidalPositionalEncoding(32)
        self.transformer = nn.Transformer(32, 4, 1, 2, 64, norm_first=True)
        self.head = nn.Linear(32, 50)

    def __call__(self, source: mx.array, target: mx.array) -> mx.array:
        x = self.source(source) + self.places(mx.arange(source.shape[1]))
        y = self.target(target) + self.places(mx.arange(target.shape[1]))
        mask = nn.MultiHeadAttention.create_additive_causal_mask(target.shape[1])
        return self.head(self.transformer(x, y, None, mask, None))


class Alibi(nn.Module):
    """Scores that fall with the distance, causal."""

    def __init__(self):
        super().__init__()
        self.tokens, self.qkv, self.out = nn.Embedding(50, 32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.alibi = nn.ALiBi()

    def __call__(self, ids: mx.array) -> mx.array:
        x = self.tokens(ids)
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, 4, 8).transpose(2, 0, 3, 1, 4)
        scores = self.alibi((q @ k.swapaxes(-1, -2)) / math.sqrt(8))
        mask = nn.MultiHeadAttention.create_additive_causal_mask(t)
        y = mx.softmax(scores + mask, axis=-1) @ v
        return self.out(y.transpose(0, 2, 1, 3).reshape(n, t, 32))


class Perceiver(nn.Module):
    """A fixed number of latents reads any number of inputs, by mx.fast's attention with grouped heads."""

    def __init__(self):
        super().__init__()
        self.latents, self.q, self.kv = mx.random.normal((6, 32)), nn.Linear(32, 32), nn.Linear(16, 32)
        self.out = [nn.Linear(a, b) for a, b in pairwise((32, 48, 5))]

    def __call__(self, x: mx.array) -> mx.array:
        n = x.shape[0]
        q = self.q(mx.broadcast_to(self.latents, (n, 6, 32))).reshape(n, 6, 4, 8).swapaxes(1, 2)
        k, v = mx.split(self.kv(x).reshape(n, -1, 4, 8).swapaxes(1, 2), 2, axis=1)
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=8**-0.5).swapaxes(1, 2).reshape(n, 6, 32)
        return self.out[1](nn.mish(self.out[0](y.mean(axis=1))))
