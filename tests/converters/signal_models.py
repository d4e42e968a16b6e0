"""Models of sound and of other signals as MLX projects write them, tiny.

N: batch, T: samples or frames.
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class Wav2Vec(nn.Module):
    """Samples through strided convolutions without padding: one frame for every twenty."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv1d(1, 8, 10, 5), nn.GroupNorm(8, 8, pytorch_compatible=True)
        self.more = [nn.Conv1d(8, 8, 3, 2), nn.Conv1d(8, 8, 2, 2)]
        self.places, self.last = nn.Conv1d(8, 8, 16, padding=8, groups=2), nn.LayerNorm(8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16)

    def __call__(self, x: mx.array) -> mx.array:
        x = nn.gelu(self.norm(self.first(x[..., None])))
        for layer in self.more:
            x = nn.gelu(layer(x))
        x = self.last(x)
        return self.block(x + nn.gelu(self.places(x)[:, :-1]), None)


class MelSpectrogram(nn.Module):
    """Whisper's features: windows of 64 samples every 16, their power on a scale of 8 bands, logarithms."""

    def __init__(self):
        super().__init__()
        self._window = mx.array(np.hanning(65)[:-1].astype(np.float32))
        self._bands = mx.abs(mx.random.normal((33, 8)))

    def __call__(self, x: mx.array) -> mx.array:
        n, t = x.shape
        frames = mx.as_strided(x, (n, (t - 64) // 16 + 1, 64), (t, 16, 1))
        power = mx.square(mx.abs(mx.fft.rfft(frames * self._window)))
        levels = mx.log10(mx.maximum(power @ self._bands, 1e-10))
        return (mx.maximum(levels, levels.max(axis=(1, 2), keepdims=True) - 8.0) + 4.0) / 4.0


class LongConvolution(nn.Module):
    """Hyena: each channel convolved with a kernel as long as the text, by way of frequencies."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(8, 8)
        self.decay = mx.random.uniform(shape=(8,))

    def __call__(self, x: mx.array) -> mx.array:
        length = x.shape[1]
        gate, y = mx.split(self.inner(x), 2, axis=-1)
        kernel = mx.exp(-self.decay * mx.arange(length)[:, None])
        waves = mx.fft.rfft(y, n=2 * length, axis=1) * mx.fft.rfft(kernel, n=2 * length, axis=0)
        return self.outer(gate * mx.fft.irfft(waves, n=2 * length, axis=1)[:, :length])


class Vocoder(nn.Module):
    """Magnitudes and phases of frames to samples: each frame is transformed back, and where they overlap
    they are added."""

    def __init__(self):
        super().__init__()
        self.to_waves = nn.Conv1d(8, 18, 3, padding=1)
        self._window = mx.array(np.hanning(16).astype(np.float32))

    def __call__(self, x: mx.array) -> mx.array:
        size, phase = mx.split(self.to_waves(x), 2, axis=-1)
        frames = mx.fft.irfft(mx.exp(size) * mx.exp(1j * phase), axis=-1) * self._window
        n, t, _ = frames.shape
        places = (4 * mx.arange(t)[:, None] + mx.arange(16)).reshape(-1)
        return mx.zeros((n, 4 * (t - 1) + 16)).at[:, places].add(frames.reshape(n, -1))


class FourierMixer(nn.Module):
    """FNet: tokens mixed by a transform over text and width."""

    def __init__(self):
        super().__init__()
        self.norms = [nn.LayerNorm(16), nn.LayerNorm(16)]
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.norms[0](x + mx.real(mx.fft.fft2(x)))
        return self.norms[1](x + self.down(nn.gelu(self.up(x))))
