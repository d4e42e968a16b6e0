"""Recovering rotary positions in both conventions, however written; and what only looks like them."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from rewriting import assert_same, count, optimized

import converters as cv

X = cv.Spec(("B", 4, "L", 8))
TABLE = mx.array(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
UNEQUAL = mx.array(np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32))


def fast(x: mx.array, dims: int, traditional: bool, offset: Any = 0) -> mx.array:
    return mx.fast.rope(x, dims, traditional=traditional, base=10000, scale=1.0, offset=offset)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("traditional", [False, True])
@pytest.mark.parametrize("dims", [8, 4])
@pytest.mark.parametrize(
    ("offset", "spec"),
    [
        (lambda p: 0, ("P",)),
        (lambda p: 7, ("P",)),
        (lambda p: p.shape[0], ("P",)),
        (lambda p: p, ()),
        (lambda p: p, ("B",)),
    ],
    ids=["none", "constant", "size", "input", "inputs"],
)
def test_fast(dims, traditional, offset, spec, dtype):
    inputs = {"x": cv.Spec(X.shape, dtype), "p": cv.Spec(spec, "int32")}
    before = cv.capture(lambda x, p: fast(x, dims, traditional, offset(p)), inputs)
    after = optimized(before)
    assert count(after)["RoPE"] == 1
    assert not {"Slice", "Concatenate", "Subtract"} & set(count(after))
    assert after.nodes[-1].attrs["traditional"] == traditional
    assert_same(before, after)


def angles(length: int) -> mx.array:
    return mx.arange(length)[:, None].astype(mx.float32) * (0.1 ** mx.arange(4))


def rotated_half(x: mx.array) -> mx.array:
    """Hugging Face's form: doubled tables and a rotated half."""
    table = mx.concatenate([angles(x.shape[2])] * 2, axis=-1)
    turned = mx.concatenate([-x[..., 4:], x[..., :4]], axis=-1)
    return x * mx.cos(table) + turned * mx.sin(table)


def split_halves(x: mx.array) -> mx.array:
    one, two = mx.split(x, 2, axis=-1)
    cos, sin = mx.cos(angles(x.shape[2])), mx.sin(angles(x.shape[2]))
    return mx.concatenate([one * cos - two * sin, two * cos + one * sin], axis=-1)


def stacked_pairs(x: mx.array) -> mx.array:
    pairs = x.reshape(*x.shape[:-1], 4, 2)
    one, two = pairs[..., 0], pairs[..., 1]
    cos, sin = mx.cos(angles(x.shape[2])), mx.sin(angles(x.shape[2]))
    return mx.stack([one * cos - two * sin, one * sin + two * cos], axis=-1).reshape(x.shape)


@pytest.mark.parametrize(
    ("fn", "traditional"), [(rotated_half, False), (split_halves, False), (stacked_pairs, True)]
)
def test_by_hand(fn, traditional):
    before = cv.capture(fn, {"x": X})
    after = optimized(before)
    assert count(after)["RoPE"] == 1
    assert "Concatenate" not in count(after)
    assert after.nodes[-1].attrs["traditional"] == traditional
    assert_same(before, after)


def swapped(x: mx.array) -> mx.array:
    one, two = x[..., 4:], x[..., :4]
    return mx.concatenate([one * TABLE - two, one + two * TABLE], axis=-1)


def other_sign(x: mx.array) -> mx.array:
    one, two = x[..., :4], x[..., 4:]
    return mx.concatenate([one * TABLE + two * TABLE, one * TABLE - two * TABLE], axis=-1)


def unequal_halves(x: mx.array) -> mx.array:
    turned = mx.concatenate([-x[..., 4:], x[..., :4]], axis=-1)
    return x * UNEQUAL + turned * UNEQUAL


@pytest.mark.parametrize("fn", [swapped, other_sign, unequal_halves])
def test_refused(fn):
    before = cv.capture(fn, {"x": cv.Spec(("B", 4, 5, 8))})
    after = optimized(before)
    assert "RoPE" not in count(after)
    assert_same(before, after)
