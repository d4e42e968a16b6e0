"""Diffusion, recurrent, graph and coordinate networks as MLX projects write them, tiny."""

import math

import mlx.core as mx
import mlx.nn as nn


def upsample_nearest(x: mx.array, scale: int = 2) -> mx.array:
    n, h, w, c = x.shape
    x = mx.broadcast_to(x[:, :, None, :, None, :], (n, h, scale, w, scale, c))
    return x.reshape(n, h * scale, w * scale, c)


class ResnetBlock(nn.Module):
    """Of Stable Diffusion, with or without the time."""

    def __init__(self, inputs: int, outputs: int, time: int | None = None):
        super().__init__()
        self.norm1 = nn.GroupNorm(4, inputs, eps=1e-5, pytorch_compatible=True)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, outputs) if time else None
        self.norm2 = nn.GroupNorm(4, outputs, eps=1e-5, pytorch_compatible=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Linear(inputs, outputs) if inputs != outputs else None

    def __call__(self, x: mx.array, temb: mx.array | None = None) -> mx.array:
        y = self.conv1(nn.silu(self.norm1(x)))
        if self.time is not None and temb is not None:
            y = y + self.time(nn.silu(temb))[:, None, None, :]
        y = self.conv2(nn.silu(self.norm2(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class PlaceAttention(nn.Module):
    """Attention over the places of a picture."""

    def __init__(self, size: int):
        super().__init__()
        self.group_norm = nn.GroupNorm(4, size, eps=1e-6, pytorch_compatible=True)
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))

    def __call__(self, x: mx.array) -> mx.array:
        n, h, w, c = x.shape
        y = self.group_norm(x)
        q, k, v = (layer(y).reshape(n, h * w, c) for layer in (self.query, self.key, self.value))
        weights = mx.softmax((q * c**-0.5) @ k.swapaxes(1, 2), axis=-1)
        return x + self.out((weights @ v).reshape(n, h, w, c))


class VaeDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_in = nn.Conv2d(4, 16, 3, padding=1)
        self.mid = [ResnetBlock(16, 16), PlaceAttention(16), ResnetBlock(16, 16)]
        self.up = [ResnetBlock(16, 8), ResnetBlock(8, 8)]
        self.resize = [nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)]
        self.norm = nn.GroupNorm(4, 8, pytorch_compatible=True)
        self.conv_out = nn.Conv2d(8, 3, 3, padding=1)

    def __call__(self, z: mx.array) -> mx.array:
        x = self.conv_in(z / 0.18215)
        for layer in self.mid:
            x = layer(x)
        for block, resize in zip(self.up, self.resize, strict=True):
            x = resize(upsample_nearest(block(x)))
        return mx.clip(self.conv_out(nn.silu(self.norm(x))) / 2 + 0.5, 0, 1)


class CrossBlock(nn.Module):
    """A transformer block over places that reads a text, with GEGLU."""

    def __init__(self, size: int, text: int):
        super().__init__()
        self.norm, self.proj_in = (
            nn.GroupNorm(4, size, eps=1e-6, pytorch_compatible=True),
            nn.Linear(size, size),
        )
        self.norms = [nn.LayerNorm(size) for _ in range(3)]
        self.attn1 = nn.MultiHeadAttention(size, 2)
        self.attn2 = nn.MultiHeadAttention(size, 2, key_input_dims=text, value_input_dims=text)
        self.gate, self.up, self.down = (
            nn.Linear(size, 2 * size),
            nn.Linear(size, 2 * size),
            nn.Linear(2 * size, size),
        )
        self.proj_out = nn.Linear(size, size)

    def __call__(self, x: mx.array, text: mx.array) -> mx.array:
        n, h, w, c = x.shape
        y = self.proj_in(self.norm(x).reshape(n, h * w, c))
        z = self.norms[0](y)
        y = y + self.attn1(z, z, z)
        y = y + self.attn2(self.norms[1](y), text, text)
        z = self.norms[2](y)
        y = y + self.down(self.up(z) * nn.gelu(self.gate(z)))
        return x + self.proj_out(y).reshape(n, h, w, c)


class DiffusionUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = [nn.Linear(16, 32), nn.Linear(32, 32)]
        self.conv_in = nn.Conv2d(4, 8, 3, padding=1)
        self.down_block, self.down_attn = ResnetBlock(8, 16, 32), CrossBlock(16, 24)
        self.down = nn.Conv2d(16, 16, 3, 2, 1)
        self.middle = ResnetBlock(16, 16, 32)
        self.up_conv, self.up_block = nn.Conv2d(16, 16, 3, padding=1), ResnetBlock(32, 8, 32)
        self.norm, self.conv_out = nn.GroupNorm(4, 8, pytorch_compatible=True), nn.Conv2d(8, 4, 3, padding=1)
        self.places = nn.SinusoidalPositionalEncoding(16, max_freq=1, cos_first=True, full_turns=False)

    def __call__(self, x: mx.array, timestep: mx.array, text: mx.array) -> mx.array:
        temb = self.time[1](nn.silu(self.time[0](self.places(timestep))))
        x = self.conv_in(x)
        skip = self.down_attn(self.down_block(x, temb), text)
        x = self.middle(self.down(skip), temb)
        x = self.up_conv(upsample_nearest(x))
        x = self.up_block(mx.concatenate([x, skip], axis=-1), temb)
        return self.conv_out(nn.silu(self.norm(x)))


class Recurrent(nn.Module):
    """A tagger: embedding, a recurrent layer forth and back, all its states."""

    def __init__(self, kind: str):
        super().__init__()
        self.tokens, self.head = nn.Embedding(50, 16), nn.Linear(48, 9)
        self.forth, self.back = (getattr(nn, kind)(16, 24) for _ in range(2))

    def __call__(self, ids: mx.array) -> mx.array:
        x = self.tokens(ids)
        states = [self.forth(x), self.back(x[:, ::-1])]
        states = [s[0] if isinstance(s, tuple) else s for s in states]
        return self.head(mx.concatenate([states[0], states[1][:, ::-1]], axis=-1))


class RecurrentStep(nn.Module):
    """One step of an LSTM with its state in and out."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(16, 24), nn.Linear(24, 5)

    def __call__(self, x: mx.array, hidden: mx.array, cell: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        h, c = self.cell(x[:, None], hidden, cell)
        return self.head(h[:, -1]), h[:, -1], c[:, -1]


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16), nn.Linear(16, 10)
        self.norms = [nn.LayerNorm(16), nn.LayerNorm(16)]
        self.places = [nn.Linear(64, 32), nn.Linear(32, 64)]
        self.channels = [nn.Linear(16, 32), nn.Linear(32, 16)]

    def __call__(self, x: mx.array) -> mx.array:
        x = self.patch(x).flatten(1, 2)
        y = self.norms[0](x).swapaxes(1, 2)
        x = x + self.places[1](nn.gelu(self.places[0](y))).swapaxes(1, 2)
        x = x + self.channels[1](nn.gelu(self.channels[0](self.norms[1](x))))
        return self.head(self.norm(x).mean(axis=1))


class GraphConvolution(nn.Module):
    """Messages along edges, summed and normed by the degree."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def __call__(self, nodes: mx.array, source: mx.array, target: mx.array) -> mx.array:
        degree = mx.zeros((nodes.shape[0],)).at[target].add(1.0)
        norm = mx.rsqrt(mx.maximum(degree, 1))
        x = nodes
        for layer in (self.first, self.second):
            messages = layer(x)[source] * (norm[source] * norm[target])[:, None]
            x = mx.zeros((x.shape[0], messages.shape[-1])).at[target].add(messages)
            x = nn.relu(x) if layer is self.first else x
        return nn.log_softmax(x, axis=-1)


class GraphAttention(nn.Module):
    """A softmax over the edges of each node, the maximum taken out by scatter."""

    def __init__(self):
        super().__init__()
        self.project, self.score = nn.Linear(8, 16), mx.random.normal((32,)) * 0.2

    def __call__(self, nodes: mx.array, edges: mx.array) -> mx.array:
        x, (source, target) = self.project(nodes), (edges[0], edges[1])
        e = nn.leaky_relu(mx.concatenate([x[source], x[target]], axis=-1) @ self.score, 0.2)
        highest = mx.full((x.shape[0],), -1e9).at[target].maximum(e)
        weights = mx.exp(e - highest[target])
        total = mx.zeros((x.shape[0],)).at[target].add(weights)
        weights = weights / (total[target] + 1e-9)
        return nn.elu(mx.zeros(x.shape).at[target].add(weights[:, None] * x[source]))


class Field(nn.Module):
    """A radiance field: coordinates in waves, a skip, several outputs."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(27, 32), nn.Linear(32, 32), nn.Linear(59, 32)]
        self.density, self.color = nn.Linear(32, 1), nn.Linear(32, 3)

    def __call__(self, x: mx.array) -> dict[str, mx.array]:
        scaled = x[..., None, :] * (2.0 ** mx.arange(4))[:, None] * math.pi
        waves = mx.concatenate([x, mx.sin(scaled).flatten(-2), mx.cos(scaled).flatten(-2)], axis=-1)
        y = nn.relu(self.layers[1](nn.relu(self.layers[0](waves))))
        y = mx.sin(30 * self.layers[2](mx.concatenate([y, waves], axis=-1)))
        return {"density": nn.softplus(self.density(y))[..., 0], "color": mx.sigmoid(self.color(y))}


class WaveNet(nn.Module):
    """Causal dilated convolutions with gates."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(1, 8, 1)
        self.filters = [nn.Conv1d(8, 16, 2, dilation=d) for d in (1, 2, 4)]
        self.mixes, self.last = [nn.Conv1d(8, 8, 1) for _ in range(3)], nn.Conv1d(8, 1, 1)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.first(x)
        skips = []
        for d, gated, mix in zip((1, 2, 4), self.filters, self.mixes, strict=True):
            y = nn.glu(gated(mx.pad(x, [(0, 0), (d, 0), (0, 0)])), axis=-1)
            skips.append(y)
            x = x + mix(mx.tanh(y))
        return self.last(nn.relu(sum(skips)))


class Keypoints(nn.Module):
    """Heat maps, and where each is highest, weighted by a softmax."""

    def __init__(self):
        super().__init__()
        self.features, self.maps = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 5, 1)

    def __call__(self, x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        heat = self.maps(nn.selu(self.features(x)))
        n, h, w, k = heat.shape
        flat = heat.reshape(n, h * w, k)
        weights = mx.softmax(flat, axis=1).reshape(n, h, w, k)
        rows = (weights.sum(axis=2) * mx.arange(h)[None, :, None]).sum(axis=1)
        columns = (weights.sum(axis=1) * mx.arange(w)[None, :, None]).sum(axis=1)
        best = mx.argmax(flat, axis=1)
        return mx.stack([rows, columns], axis=-1), best // w, best % w
