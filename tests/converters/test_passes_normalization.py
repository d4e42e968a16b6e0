"""Recovering LayerNorm, RMSNorm, GroupNorm, InstanceNorm and BatchNorm: before, after, refused."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from rewriting import Rewriting, assert_same, check, count, optimized

import converters as cv

WEIGHT, BIAS = (mx.array(np.random.default_rng(i).normal(size=8).astype(np.float32)) for i in (1, 2))
WEIGHT_HALF = WEIGHT.astype(mx.float16)
mx.eval(WEIGHT_HALF)
X = {"x": cv.Spec(("B", "L", 8))}
HALF = {"x": cv.Spec(("B", "L", 8), "float16")}
BRAIN = {"x": cv.Spec(("B", "L", 8), "bfloat16")}
PICTURE = {"x": cv.Spec(("B", "H", "W", 8))}


def filled(module: nn.Module, dtype: mx.Dtype = mx.float32) -> nn.Module:
    """The module with weights that are neither zero nor one."""
    random = np.random.default_rng(3)
    for name, array in nn.utils.tree_flatten(module.parameters()):
        value = mx.array(random.uniform(0.5, 1.5, array.shape).astype(np.float32)).astype(dtype)
        module.load_weights([(name, value)], strict=False)
    module.eval()
    mx.eval(module.state)
    return module


def mean(x: mx.array) -> mx.array:
    return x.mean(-1, keepdims=True)


def centered(x: mx.array) -> mx.array:
    return x - mean(x)


def llama(x: mx.array) -> mx.array:
    wide = x.astype(mx.float32)
    return WEIGHT_HALF * (wide * mx.rsqrt(mean(wide.square()) + 1e-5)).astype(mx.float16)


def layer_norm(name: str, fn: Callable[[mx.array], mx.array]) -> Rewriting:
    return Rewriting(name, fn, X, {"LayerNorm": 1})


def rms_norm(name: str, fn: Callable[[mx.array], mx.array]) -> Rewriting:
    return Rewriting(name, fn, X, {"RMSNorm": 1})


ROWS = (
    layer_norm("module", filled(nn.LayerNorm(8))),
    layer_norm("no affine", nn.LayerNorm(8, affine=False)),
    layer_norm("no bias", filled(nn.LayerNorm(8, bias=False))),
    layer_norm(
        "divided", lambda x: WEIGHT * (centered(x) / mx.sqrt(mx.var(x, -1, keepdims=True) + 1e-5)) + BIAS
    ),
    layer_norm(
        "weight first", lambda x: WEIGHT * centered(x) / mx.sqrt(mean(centered(x) ** 2) + 1e-5) + BIAS
    ),
    layer_norm("squared by hand", lambda x: centered(x) * mx.rsqrt(mean(centered(x) * centered(x)) + 1e-5)),
    Rewriting("half", filled(nn.LayerNorm(8), mx.float16), HALF, {"LayerNorm": 1}),
    rms_norm("rms module", filled(nn.RMSNorm(8))),
    rms_norm("rms no weight", lambda x: mx.fast.rms_norm(x, None, 1e-5)),
    rms_norm("rms divided", lambda x: x / mx.sqrt(mean(x**2) + 1e-5) * WEIGHT),
    rms_norm("rms weight first", lambda x: WEIGHT * x * mx.rsqrt(mean(x * x) + 1e-5)),
    rms_norm("gemma", lambda x: mx.fast.rms_norm(x, 1.0 + WEIGHT, 1e-5)),
    rms_norm("gemma by hand", lambda x: (1.0 + WEIGHT) * (x * mx.rsqrt(mean(x.square()) + 1e-5))),
    Rewriting("rms half", filled(nn.RMSNorm(8), mx.float16), HALF, {"RMSNorm": 1}),
    Rewriting("rms bfloat16", filled(nn.RMSNorm(8), mx.bfloat16), BRAIN, {"RMSNorm": 1}),
    Rewriting("llama in half", llama, HALF, {"RMSNorm": 1}),
    Rewriting(
        "rms of a dynamic axis",
        lambda x: x * mx.rsqrt(mean(x * x) + 1e-5),
        {"x": cv.Spec(("B", "L"))},
        {"RMSNorm": 1},
    ),
)
CHANNELS = (
    Rewriting(
        "groups",
        filled(nn.GroupNorm(2, 8, pytorch_compatible=True)),
        PICTURE,
        {"GroupNorm": 1, "Transpose": 2},
    ),
    Rewriting("interleaved", filled(nn.GroupNorm(2, 8)), PICTURE, {"GroupNorm": 1, "Transpose": 2}),
    Rewriting(
        "instances", filled(nn.InstanceNorm(8, affine=True)), PICTURE, {"GroupNorm": 1, "Transpose": 2}
    ),
    Rewriting("batch norm alone", filled(nn.BatchNorm(8)), PICTURE, {"Multiply": 1, "Add": 1}),
)


@pytest.mark.parametrize("row", [*ROWS, *CHANNELS], ids=lambda row: row.name)
def test_recovered(row):
    check(row)


@pytest.mark.parametrize(
    ("fn", "op"),
    [
        (lambda x: centered(x) / mx.sqrt(mean(centered(x) ** 2)), "LayerNorm"),  # no eps
        (
            lambda x: centered(x) / (mx.sqrt(mean(centered(x) ** 2)) + 1e-5),
            "LayerNorm",
        ),  # eps outside the root
        (lambda x: x * mx.rsqrt((x * x).mean(1, keepdims=True) + 1e-5), "RMSNorm"),  # not the last axis
        (lambda x: x * mx.rsqrt((x * x).sum(-1, keepdims=True) + 1e-5), "RMSNorm"),  # a sum, no mean
        (
            lambda x: x * mx.rsqrt((x * x).sum(-1, keepdims=True) / 7 + 1e-5),
            "RMSNorm",
        ),  # another number of terms
    ],
)
def test_refused(fn, op):
    before = cv.capture(fn, X)
    after = optimized(before)
    assert op not in count(after)
    assert_same(before, after)


def test_a_weight_over_positions_stays_outside():
    positions = mx.array(np.arange(1, 6, dtype=np.float32)[:, None])
    before = cv.capture(lambda x: mx.fast.rms_norm(x, None, 1e-5) * positions, {"x": cv.Spec(("B", 5, 8))})
    after = optimized(before)
    assert count(after) == {"RMSNorm": 1, "Multiply": 1}
    assert_same(before, after)


class Convolved(nn.Module):
    """A convolution or linear layer with BatchNorm behind it."""

    def __init__(self, layer: nn.Module, channels: int):
        super().__init__()
        self.layer, self.norm = layer, nn.BatchNorm(channels)

    def __call__(self, x: mx.array) -> mx.array:
        return self.norm(self.layer(x))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("make", "shape", "left"),
    [
        (lambda bias: nn.Conv2d(8, 4, 3, bias=bias), ("B", 6, 6, 8), {"Convolution": 1, "Transpose": 2}),
        (lambda bias: nn.Conv1d(8, 4, 3, bias=bias), ("B", 6, 8), {"Convolution": 1, "Transpose": 2}),
        (lambda bias: nn.Linear(8, 4, bias=bias), ("B", 8), {"Linear": 1}),
    ],
)
def test_batch_norm_goes_into_the_layer(make, shape, left, bias):
    model = filled(Convolved(make(bias), 4))
    before = cv.capture(model, {"x": cv.Spec(shape)})
    after = optimized(before)
    assert count(after) == left
    assert {value.name for value in after.constants} >= {"layer.weight"}
    assert_same(before, after)


def test_batch_norm_after_a_layer_that_others_read_stays():
    model = filled(Convolved(nn.Linear(8, 4), 4))

    def both(x: mx.array) -> tuple[mx.array, mx.array]:
        y = model.layer(x)
        return y, model.norm(y)

    before = cv.capture(both, {"x": cv.Spec(("B", 8))}, module=model)
    after = optimized(before)
    assert count(after) == {"Linear": 1, "Multiply": 1, "Add": 1}
    assert_same(before, after)
