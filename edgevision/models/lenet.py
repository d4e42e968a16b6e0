"""LeNet: convolution and subsampling twice, then a small fully connected network.

1998    LeNet-5 of LeCun, Bottou, Bengio, Haffner: "Gradient-Based Learning Applied to Document Recognition",
        Proceedings of the IEEE 86(11), 1998, section II.B. 60,000 trainable parameters, counted as there.
modern  what textbooks draw since: rectifiers, max pooling, a linear output layer. 61,706 parameters.

Letters: B batch, H height, W width, C channels; arrays are NHWC.

Where `1998` differs from the paper:
- The output units compare F6 with fixed codes of +-1, as the paper's radial basis functions do, but give the
  scalar product of F6 and the code in place of minus their squared distance. All codes have the same length,
  so that both rank the classes alike; the product is scaled by 1 / sqrt(84).
- The codes are our own drawings of the digits on 7 x 12 cells; the paper's are those of printed ASCII.
- Subsampling multiplies the mean of four units where the paper multiplies their sum: the same function, its
  coefficient is four times the paper's.
- Training minimises cross-entropy by AdamW on slightly distorted pictures; the paper minimises its equation 9
  by a stochastic Levenberg-Marquardt method, and distorts pictures only in its second experiment.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import mlx.core as mx
import mlx.nn as nn


@dataclass(frozen=True)
class Config:
    """`style` picks the architecture; both take (B, 28, 28, 1) in [0, 1] and give logits (B, classes)."""

    style: str = "modern"
    classes: int = 10


VARIANTS = {"modern": Config("modern"), "1998": Config("1998")}

# Table I of the paper: which of the 6 maps of S2 each of the 16 maps of C3 sees.
CONNECTIONS = (
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

# The output codes: ten drawings of 12 rows of 7 cells, a row as a binary number.
CODES = (
    "1c 22 41 41 41 41 41 41 41 41 22 1c",
    "08 18 28 48 08 08 08 08 08 08 08 7f",
    "3e 41 41 01 01 02 04 08 10 20 40 7f",
    "3e 41 01 01 01 1e 01 01 01 01 41 3e",
    "02 06 0a 12 22 42 42 7f 02 02 02 02",
    "7f 40 40 40 7e 01 01 01 01 01 41 3e",
    "1e 20 40 40 40 7e 41 41 41 41 41 3e",
    "7f 01 01 02 02 04 04 08 08 10 10 10",
    "3e 41 41 41 41 3e 41 41 41 41 41 3e",
    "3e 41 41 41 41 3f 01 01 01 02 04 38",
)


class Model(nn.Module):
    """Digits (B, 28, 28, 1) in [0, 1], white on black, to logits (B, classes)."""

    def __init__(self, config: Config):
        super().__init__()
        if config.style == "1998":
            self.c1, self.s2 = SquashedConv(1, 6), Subsampling(6)
            self.c3, self.s4 = SquashedConv(6, 16, CONNECTIONS), Subsampling(16)
            self.c5 = SquashedConv(16, 120)
            self.f6 = nn.Linear(120, 84)
            self.f6.weight, self.f6.bias = _uniform((84, 120), 120), mx.zeros((84,))
            self._codes = output_codes(config.classes)
        else:
            self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.pool = nn.MaxPool2d(2, 2)
            self.fc1, self.fc2 = nn.Linear(400, 120), nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, config.classes)
        self.style = config.style

    def __call__(self, x: mx.array) -> mx.array:
        return self._paper(x) if self.style == "1998" else self._modern(x)

    def _modern(self, x: mx.array) -> mx.array:
        x = self.pool(nn.relu(self.conv1(x)))  # (B, 14, 14, 6)
        x = self.pool(nn.relu(self.conv2(x)))  # (B, 5, 5, 16)
        x = nn.relu(self.fc1(x.reshape(x.shape[0], -1)))
        return self.fc3(nn.relu(self.fc2(x)))

    def _paper(self, x: mx.array) -> mx.array:
        # the paper's input: background -0.1, ink 1.175, on 32 x 32
        x = mx.pad(1.275 * x - 0.1, [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=mx.array(-0.1))
        x = self.s2(self.c1(x))  # (B, 14, 14, 6)
        x = self.s4(self.c3(x))  # (B, 5, 5, 16)
        x = self.c5(x)  # (B, 1, 1, 120)
        x = squash(self.f6(x.reshape(x.shape[0], -1)))  # (B, 84)
        return x @ self._codes.T


def squash(x: mx.array) -> mx.array:
    """The paper's scaled hyperbolic tangent: 1.7159 tanh(2/3 x), so that f(+-1) = +-1 (its appendix A)."""
    return 1.7159 * mx.tanh((2 / 3) * x)


class SquashedConv(nn.Module):
    """A 5 x 5 convolution and the squashing; `connections` lists the input maps that each output map sees."""

    def __init__(self, inputs: int, outputs: int, connections: tuple[tuple[int, ...], ...] | None = None):
        super().__init__()
        seen = connections or (tuple(range(inputs)),) * outputs
        self.weight = mx.stack(
            [_uniform((5, 5, inputs), 25 * len(maps)) for maps in seen]
        )  # (outputs, 5, 5, inputs)
        self.bias = mx.zeros((outputs,))
        self.connected = sum(len(maps) for maps in seen)
        self._mask = None
        if connections is not None:
            rows = [[1.0 if i in maps else 0.0 for i in range(inputs)] for maps in connections]
            self._mask = mx.array(rows).reshape(outputs, 1, 1, inputs)

    def __call__(self, x: mx.array) -> mx.array:
        weight = self.weight if self._mask is None else self.weight * self._mask
        return squash(mx.conv2d(x, weight) + self.bias)


class Subsampling(nn.Module):
    """Halves height and width: the mean of 2 x 2 units times a trainable coefficient per map, plus a bias."""

    def __init__(self, maps: int):
        super().__init__()
        self.coefficient = mx.ones((maps,))
        self.bias = mx.zeros((maps,))
        self.pool = nn.AvgPool2d(2, 2)

    def __call__(self, x: mx.array) -> mx.array:
        return squash(self.pool(x) * self.coefficient + self.bias)


def _uniform(shape: tuple[int, ...], fan_in: int) -> mx.array:
    """The paper's initial weights: uniform within +-2.4 / fan-in."""
    return mx.random.uniform(-2.4 / fan_in, 2.4 / fan_in, shape)


def output_codes(classes: int) -> mx.array:
    """(classes, 84) of +-1 / sqrt(84): the drawings in CODES, row by row. There are ten."""
    if classes > len(CODES):
        raise ValueError(f"LeNet-5 has codes for {len(CODES)} classes, not for {classes}")
    cells = ["".join(f"{int(row, 16):07b}" for row in code.split()) for code in CODES[:classes]]
    return mx.array([[(1.0 if cell == "1" else -1.0) / sqrt(84) for cell in code] for code in cells])


def parameter_counts(model: Model) -> dict[str, int]:
    """Trainable parameters of each layer, unconnected weights not counted, as in the paper."""
    counts = {}
    for name, layer in model.children().items():
        if isinstance(layer, SquashedConv):
            counts[name] = 25 * layer.connected + layer.bias.size
        elif isinstance(layer, nn.Module) and layer.parameters():
            counts[name] = sum(
                array.size for array in layer.parameters().values() if isinstance(array, mx.array)
            )
    return counts


def sanitize(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Weights of another program under our names; there is no other format for this model."""
    return weights
