"""Models with an answer for each place, as MLX projects write them, tiny; sizes of pictures are free.

N: batch, H, W: places, C: channels.
"""

from typing import Literal

import mlx.core as mx
import mlx.nn as nn


class Segformer(nn.Module):
    """Attention over places whose keys come from a coarser grid; all levels resized and joined."""

    def __init__(self):
        super().__init__()
        sizes = (16, 32)
        self.patches = [nn.Conv2d(3, 16, 7, 4, 3), nn.Conv2d(16, 32, 3, 2, 1)]
        self.norms = [nn.LayerNorm(c) for c in sizes]
        self.queries = [nn.Linear(c, c) for c in sizes]
        self.pairs = [nn.Linear(c, 2 * c) for c in sizes]
        self.coarser = [nn.Conv2d(16, 16, 4, 4), nn.Conv2d(32, 32, 2, 2)]
        self.mixes = [nn.Conv2d(c, c, 3, padding=1, groups=c) for c in sizes]
        self.heads = [nn.Linear(c, 8) for c in sizes]
        self.classes = nn.Conv2d(16, 4, 1)

    def level(self, x: mx.array, i: int) -> mx.array:
        n, h, w, c = x.shape
        y = self.norms[i](x.reshape(n, h * w, c))
        coarse = self.coarser[i](y.reshape(n, h, w, c)).reshape(n, -1, c)
        q = self.queries[i](y).reshape(n, h * w, 2, -1).transpose(0, 2, 1, 3)
        k, v = self.pairs[i](coarse).reshape(n, -1, 2, 2, c // 2).transpose(2, 0, 3, 1, 4)
        seen = mx.fast.scaled_dot_product_attention(q, k, v, scale=(c // 2) ** -0.5)
        y = y + seen.transpose(0, 2, 1, 3).reshape(n, h * w, c)
        return nn.gelu(self.mixes[i](y.reshape(n, h, w, c)))

    def __call__(self, x: mx.array) -> mx.array:
        levels = []
        for i, patch in enumerate(self.patches):
            x = self.level(patch(x), i)
            levels.append(self.heads[i](x))
        _, h, w, _ = levels[0].shape
        _, low_h, low_w, _ = levels[1].shape
        levels[1] = nn.Upsample((h / low_h, w / low_w), "linear")(levels[1])
        return nn.Upsample(4.0, "linear")(self.classes(mx.concatenate(levels, axis=-1)))


class Detector(nn.Module):
    """YOLO's head without anchors: distances to four sides as distributions, three grids, the ten best."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.stages = [nn.Conv2d(16, 16, 3, 2, 1) for _ in range(3)]
        self.norms = [nn.BatchNorm(16) for _ in range(3)]
        self.sides, self.classes = ([nn.Conv2d(16, c, 1) for _ in range(3)] for c in (32, 5))

    def __call__(self, x: mx.array) -> tuple[mx.array, ...]:
        x = nn.silu(self.stem(x))
        found, centres, strides = [], [], []
        for i in range(3):
            x = nn.silu(self.norms[i](self.stages[i](x)))
            n, h, w, _ = x.shape
            found.append(mx.concatenate([self.sides[i](x), self.classes[i](x)], -1).reshape(n, h * w, -1))
            rows, columns = mx.meshgrid(mx.arange(h) + 0.5, mx.arange(w) + 0.5, indexing="ij")
            centres.append(mx.stack([columns, rows], -1).reshape(-1, 2))
            strides.append(mx.full((h * w, 1), 4.0 * 2**i))
        sides, scores = mx.split(mx.concatenate(found, 1), [32], axis=-1)
        shares = mx.softmax(sides.reshape(*sides.shape[:2], 4, 8), axis=-1)
        first, last = mx.split((shares * mx.arange(8)).sum(-1), 2, axis=-1)
        centre = mx.concatenate(centres, 0)
        start, end = centre - first, centre + last
        boxes = mx.concatenate([(start + end) / 2, end - start], -1) * mx.concatenate(strides, 0)
        best = mx.sigmoid(scores).max(-1)
        order = mx.argsort(-best, axis=1)[:, :10]
        return mx.take_along_axis(boxes, order[..., None], axis=1), mx.take_along_axis(best, order, axis=1)


class PlacedViT(nn.Module):
    """DINOv2: a table of positions is resized to the picture; the depth head back to its size."""

    def __init__(self, mode: Literal["linear", "cubic"]):
        super().__init__()
        self.patch, self.places = nn.Conv2d(3, 16, 4, 4), mx.random.normal((1, 8, 8, 16)) * 0.1
        self.block = nn.TransformerEncoderLayer(16, 2, 32, norm_first=True)
        self.depth, self.mode = nn.Conv2d(16, 1, 3, padding=1), mode

    def __call__(self, x: mx.array) -> mx.array:
        y = self.patch(x)
        n, h, w, c = y.shape
        places = nn.Upsample((h / 8, w / 8), self.mode)(self.places)
        y = self.block((y + places).reshape(n, h * w, c), None).reshape(n, h, w, c)
        y = nn.Upsample((x.shape[1] / h, x.shape[2] / w), "linear", align_corners=True)(y)
        return nn.relu(self.depth(y))


class ShiftedWindows(nn.Module):
    """Swin at any size: the mask of the shifted windows is drawn for the picture at hand."""

    def __init__(self, size: int = 16, side: int = 4):
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, size, 1), nn.LayerNorm(size)
        self.qkv, self.proj, self.side = nn.Linear(size, 3 * size), nn.Linear(size, size), side

    def windows(self, x: mx.array) -> mx.array:
        n, h, w, c = x.shape
        s = self.side
        return x.reshape(n, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.patch(x)
        n, h, w, c = x.shape
        s, shift = self.side, self.side // 2
        y = mx.roll(self.norm(x), (-shift, -shift), (1, 2))  # type: ignore[arg-type]
        region = mx.zeros((1, h, w, 1))
        for i, rows in enumerate((slice(0, -s), slice(-s, -shift), slice(-shift, None))):
            for j, columns in enumerate((slice(0, -s), slice(-s, -shift), slice(-shift, None))):
                region[:, rows, columns, :] = 3 * i + j
        regions = self.windows(region).squeeze(-1)
        mask = mx.where(regions[:, None] != regions[:, :, None], -100.0, 0.0)
        q, k, v = self.qkv(self.windows(y)).reshape(-1, s * s, 3, 2, c // 2).transpose(2, 0, 3, 1, 4)
        scores = (q * (c // 2) ** -0.5) @ k.swapaxes(-1, -2)
        scores = scores.reshape(-1, mask.shape[0], 2, s * s, s * s) + mask[None, :, None]
        y = mx.softmax(scores.reshape(-1, 2, s * s, s * s), axis=-1) @ v
        y = self.proj(y.transpose(0, 2, 1, 3).reshape(-1, s * s, c))
        y = y.reshape(n, h // s, w // s, s, s, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return x + mx.roll(y, (shift, shift), (1, 2))  # type: ignore[arg-type]
