"""Models of sound and of other signals as MLX projects write them, tiny.

N: batch, T: samples or frames.
"""

import mlx.core as mx
import mlx.nn as nn


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
