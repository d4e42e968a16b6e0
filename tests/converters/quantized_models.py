"""What the tests of quantising share: small models, their graphs and inputs, and how far off results are."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

import converters as cv
from converters.quantization import Quantization

RNG = np.random.default_rng(0)


def ready(module):
    mx.eval(module.parameters())
    module.eval()
    return module


class Text(nn.Module):
    """Tokens (B, L) to logits through attention; the embedding is the last layer as well."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(300, 64)
        self.norm, self.qkv, self.out = nn.LayerNorm(64), nn.Linear(64, 192), nn.Linear(64, 64)

    def __call__(self, ids):
        x = self.token(ids)
        q, k, v = (
            p.reshape(*ids.shape, 2, 32).transpose(0, 2, 1, 3) for p in self.qkv(self.norm(x)).split(3, -1)
        )
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=32**-0.5, mask="causal")
        x = x + self.out(y.transpose(0, 2, 1, 3).reshape(*ids.shape, 64))
        return self.token.as_linear(x)


class Pictures(nn.Module):
    """Pictures (B, 16, 16, 3) through convolutions with a shortcut to ten classes."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(i, 24, 3, padding=1) for i in (3, 24, 24))
        self.norm, self.head = nn.BatchNorm(24), nn.Linear(24 * 16, 10)

    def __call__(self, x):
        x = POOL(nn.relu(self.norm(self.a(x))))
        x = nn.relu(x + self.c(nn.relu(self.b(x))))
        return self.head(POOL(x).flatten(1))


class Experts(nn.Module):
    """Rows (B, 64) through one of four matrices each."""

    def __init__(self):
        super().__init__()
        self.weight = mx.random.normal((4, 96, 64))

    def __call__(self, x, chosen):
        return mx.gather_mm(x[:, None], self.weight.swapaxes(-1, -2), rhs_indices=chosen)[:, 0]


POOL = nn.MaxPool2d(2, 2)
mx.random.seed(0)
TEXT, PICTURES, EXPERTS = ready(Text()), ready(Pictures()), ready(Experts())
MLP = ready(nn.Sequential(nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 40)))
IDS = RNG.integers(0, 300, (2, 12)).astype(np.int32)
PHOTOS = RNG.uniform(size=(8, 16, 16, 3)).astype(np.float32)
ROWS = RNG.normal(size=(5, 128)).astype(np.float32)


def text_graph():
    return cv.capture(TEXT, {"ids": cv.Spec(("batch", "length"), "int32")}, ["logits"])


def picture_graph():
    return cv.capture(PICTURES, {"photo": cv.Spec(("batch", 16, 16, 3))}, ["scores"])


def mlp_graph():
    return cv.capture(MLP, {"x": cv.Spec(("batch", 128))}, ["y"])


def off(got, wanted):
    """Root mean square of the difference, relative to the wanted result's."""
    return float(np.sqrt(np.mean((got - wanted) ** 2) / np.mean(wanted**2)))


def told(path) -> Quantization:
    """The report in an artefact."""
    found = cv.load(path).quantization
    assert found is not None
    return found
