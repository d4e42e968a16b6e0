"""Recovering activations: every one of mlx.nn that targets have, and what people write by hand."""

from math import pi, sqrt

import mlx.core as mx
import mlx.nn as nn
import pytest
from rewriting import Rewriting, assert_same, check, count, optimized

import converters as cv

X = {"x": cv.Spec(("B", 8))}
STEEP = sqrt(2 / pi)

LAYERS = {
    "GELU": [nn.gelu, nn.gelu_approx, nn.gelu_fast_approx, nn.GELU(), nn.GELU("tanh"), nn.GELU("fast")],
    "SiLU": [nn.silu, nn.SiLU()],
    "ReLU": [nn.relu, nn.ReLU()],
    "LeakyReLU": [nn.leaky_relu, nn.LeakyReLU(0.2)],
    "ELU": [nn.elu, nn.ELU(0.5)],
    "Hardswish": [nn.hardswish],
    "Softplus": [nn.softplus],
    "Mish": [nn.mish],
    "Clip": [nn.relu6, nn.hard_tanh, lambda x: mx.clip(x, -0.5, 2)],
    "LogSoftmax": [nn.log_softmax, lambda x: x - mx.logsumexp(x, axis=-1, keepdims=True)],
}
BY_HAND = [
    lambda x: 0.5 * x * (1 + mx.erf(x / sqrt(2))),
    lambda x: x * 0.5 * (1 + mx.erf(x * sqrt(0.5))),
    lambda x: x * (0.5 * (1 + mx.erf(x / sqrt(2)))),
    lambda x: 0.5 * x * (1 + mx.tanh(STEEP * (x + 0.044715 * mx.power(x, 3)))),
    lambda x: 0.5 * x * (1 + mx.tanh(STEEP * (x + 0.044715 * x * x * x))),
    lambda x: 0.5 * x * (1 + mx.tanh(STEEP * x * (1 + 0.044715 * x * x))),
    lambda x: x * mx.sigmoid(1.702 * x),
]
ROWS = [
    *(
        Rewriting(f"{op} {index} {dtype}", fn, {"x": cv.Spec(("B", 8), dtype)}, {op: 1})
        for op, functions in LAYERS.items()
        for index, fn in enumerate(functions)
        for dtype in ("float32", "float16", "bfloat16")
    ),
    *(Rewriting(f"gelu by hand {index}", fn, X, {"GELU": 1}) for index, fn in enumerate(BY_HAND)),
    Rewriting("log sigmoid", nn.log_sigmoid, X, {"Negative": 2, "Softplus": 1}),
    Rewriting("selu", nn.selu, X, {"ELU": 1, "Multiply": 1}),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_recovered(row):
    check(row)


@pytest.mark.parametrize(
    ("fn", "op"),
    [
        (lambda x: 0.5 * x * (1 + mx.erf(x / 1.5)), "GELU"),  # another root
        (lambda x: 0.4 * x * (1 + mx.erf(x / sqrt(2))), "GELU"),  # another half
        (lambda x: x * mx.sigmoid(1.8 * x), "GELU"),
        (lambda x: mx.maximum(x, 0.5), "ReLU"),
        (lambda x: mx.maximum(2 * x, x), "LeakyReLU"),  # a slope above one takes the other branch
        (lambda x: mx.minimum(mx.maximum(x, 3), 1), "Clip"),  # bounds that cross
        (lambda x: mx.maximum(x, mx.zeros((3, 1, 8))), "ReLU"),  # widens
        (lambda x: x - mx.logsumexp(x, axis=0, keepdims=True), "LogSoftmax0"),
    ],
)
def test_refused(fn, op):
    before = cv.capture(fn, X)
    after = optimized(before)
    assert op not in count(after)
    assert_same(before, after)


def test_integers_keep_their_maximum():
    before = cv.capture(lambda x: mx.maximum(x, 0), {"x": cv.Spec(("B", 8), "int32")})
    assert count(optimized(before)) == {"Maximum": 1}
