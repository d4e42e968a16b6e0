"""Recovering attention: scales, masks, grouped queries, packed heads, caches; and what must stay."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from rewriting import Rewriting, assert_same, check, count, optimized

import converters as cv
from converters.graph import Graph, Node

fast = mx.fast.scaled_dot_product_attention
QKV = {name: cv.Spec(("B", 4, "L", 8)) for name in "qkv"}
GROUPED = {"q": cv.Spec(("B", 4, "L", 8)), **{name: cv.Spec(("B", 2, "L + P", 8)) for name in "kv"}}
ONE = {"ScaledDotProductAttention": 1}


def turned(k: mx.array) -> mx.array:
    return k.swapaxes(-1, -2)


def causal(length: int, keys: int | None = None) -> mx.array:
    keys = length if keys is None else keys
    return mx.arange(keys - length, keys)[:, None] >= mx.arange(keys)


def attention(graph: Graph) -> Node:
    (node,) = (node for node in graph.nodes if node.op.endswith("Attention"))
    return node


def repeated(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    k, v = (mx.repeat(x, 2, axis=1) for x in (k, v))
    return mx.softmax(q @ turned(k) * 0.3, axis=-1) @ v


def half_softmax(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    scores = (q * 0.3) @ turned(k)
    return mx.softmax(scores.astype(mx.float32), axis=-1).astype(q.dtype) @ v


def half(inputs: dict[str, cv.Spec]) -> dict[str, cv.Spec]:
    return {name: cv.Spec(spec.shape, "float16") for name, spec in inputs.items()}


ROWS = [
    Rewriting("fast", lambda q, k, v: fast(q, k, v, scale=0.3), QKV, ONE),
    Rewriting("grouped", lambda q, k, v: fast(q, k, v, scale=0.3), GROUPED, ONE),
    Rewriting("half", lambda q, k, v: fast(q, k, v, scale=0.3, mask="causal"), half(GROUPED), ONE),
    Rewriting("scaled queries", lambda q, k, v: mx.softmax((0.3 * q) @ turned(k), axis=-1) @ v, QKV, ONE),
    Rewriting("scaled keys", lambda q, k, v: mx.softmax(q @ turned(k * 0.3), axis=-1) @ v, QKV, ONE),
    Rewriting("scaled scores", lambda q, k, v: mx.softmax(q @ turned(k) * 0.3, axis=-1) @ v, QKV, ONE),
    Rewriting("divided scores", lambda q, k, v: mx.softmax(q @ turned(k) / 2.8, axis=-1) @ v, QKV, ONE),
    Rewriting("no scale", lambda q, k, v: mx.softmax(q @ turned(k), axis=-1) @ v, QKV, ONE),
    Rewriting("repeated keys", repeated, GROUPED, ONE),
    Rewriting("softmax in float32", half_softmax, half(QKV), ONE),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_recovered(row):
    check(row)


@pytest.mark.parametrize(
    "spec", [("L", "L + P"), (1, 1, "L", "L + P"), ("B", 1, "L", "L + P"), ("B", 4, "L", "L + P")]
)
@pytest.mark.parametrize("dtype", ["float32", "bool"])
@pytest.mark.parametrize("heads", [2, 4])
def test_masks_stay_as_small_as_they_come(spec, dtype, heads):
    inputs = {"q": GROUPED["q"], **{name: cv.Spec(("B", heads, "L + P", 8)) for name in "kv"}}
    before = cv.capture(
        lambda q, k, v, m: fast(q, k, v, scale=0.3, mask=m), {**inputs, "mask": cv.Spec(spec, dtype)}
    )
    after = optimized(before)
    assert count(after) == ONE
    assert attention(after).inputs[3] is after.inputs[3]
    assert_same(before, after)


def by_hand(mask: Callable[[mx.array, int], mx.array]) -> Callable[..., mx.array]:
    def fn(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return mx.softmax(mask(q @ turned(k) * 0.3, q.shape[2]), axis=-1) @ v

    return fn


CAUSAL = {
    "fast": lambda q, k, v: fast(q, k, v, scale=0.3, mask="causal"),
    "where": by_hand(lambda s, n: mx.where(causal(n), s, -mx.inf)),
    "where the future": by_hand(lambda s, n: mx.where(mx.arange(n)[:, None] < mx.arange(n), -1e9, s)),
    "tril": by_hand(lambda s, n: mx.where(mx.tril(mx.ones((n, n))) == 0, -1e9, s)),
    "triu added": by_hand(lambda s, n: s + mx.triu(mx.full((n, n), -mx.inf), k=1)),
    "mlx.nn": by_hand(lambda s, n: s + nn.MultiHeadAttention.create_additive_causal_mask(n)),
}


@pytest.mark.parametrize("length", ["L", 5])
@pytest.mark.parametrize("name", CAUSAL)
def test_causal_masks_are_known_by_what_they_hide(name, length):
    before = cv.capture(CAUSAL[name], {part: cv.Spec(("B", 4, length, 8)) for part in "qkv"})
    after = optimized(before)
    assert count(after) == ONE
    assert attention(after).attrs["causal"]
    assert_same(before, after)


def test_causal_from_the_end_of_longer_keys():
    before = cv.capture(lambda q, k, v: fast(q, k, v, scale=0.3, mask="causal"), GROUPED)
    after = optimized(before)
    assert count(after) == ONE
    assert attention(after).attrs["causal"]
    assert_same(before, after)


NOT_CAUSAL = {
    "window": lambda s, n: mx.where(causal(n) & (mx.arange(n)[:, None] < mx.arange(n) + 40), s, -mx.inf),
    "without itself": lambda s, n: s + mx.triu(mx.full((n, n), -1e9), k=0),
    "the past": lambda s, n: mx.where(mx.arange(n)[:, None] <= mx.arange(n), s, -mx.inf),
    "less than a score may be": lambda s, n: s + mx.triu(mx.full((n, n), -1e4), k=1),
    "a slope": lambda s, n: s + (mx.arange(n) - mx.arange(n)[:, None]).astype(mx.float32),
}


@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_other_masks_are_not_causal(name):
    before = cv.capture(by_hand(NOT_CAUSAL[name]), QKV)
    after = optimized(before)
    assert not attention(after).attrs["causal"]
    assert len(attention(after).inputs) == 4
    assert_same(before, after, {"B": 1, "L": 5})
    assert_same(before, after, {"B": 1, "L": 60})


def test_bias_and_mask_together():
    def fn(q: mx.array, k: mx.array, v: mx.array, bias: mx.array) -> mx.array:
        scores = q @ turned(k) * 0.3 + bias
        return mx.softmax(mx.where(causal(q.shape[2]), scores, -1e9), axis=-1) @ v

    before = cv.capture(fn, {**QKV, "bias": cv.Spec((1, 4, "L", "L"))})
    after = optimized(before)
    assert count(after)["ScaledDotProductAttention"] == 1
    assert "Softmax" not in count(after)
    assert_same(before, after)


@pytest.mark.parametrize(
    "fn",
    [
        lambda q, k, v: mx.softmax(q @ turned(k), axis=1) @ v,  # over the heads
        lambda q, k, v: (
            mx.softmax(mx.where(causal(q.shape[2]), q @ turned(k), 0.0), axis=-1) @ v
        ),  # hides nothing
        lambda q, k, v: mx.softmax(mx.tanh(q @ turned(k)), axis=-1) @ v,
        lambda q, k, v: mx.softmax(q[0, 0] @ k[0, 0].T, axis=-1) @ v[0, 0],  # matrices
    ],
)
def test_refused(fn):
    before = cv.capture(fn, QKV)
    after = optimized(before)
    assert "ScaledDotProductAttention" not in count(after)
    assert_same(before, after)


def test_weights_that_are_a_result_too_are_computed_as_written():
    def fn(q: mx.array, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
        weights = mx.softmax(q @ turned(k), axis=-1)
        return weights @ v, weights

    before = cv.capture(fn, QKV)
    after = optimized(before)
    assert "ScaledDotProductAttention" not in count(after)
    assert_same(before, after)


class Block(nn.Module):
    """Attention with heads, a Llama's way: rotary positions, fewer keys than queries, perhaps a cache."""

    def __init__(self, heads: int = 4, keys: int = 2, width: int = 8, rope: bool = True, norm: bool = False):
        super().__init__()
        self.heads, self.keys, self.width = heads, keys, width
        self.q, self.k = nn.Linear(16, heads * width), nn.Linear(16, keys * width)
        self.v, self.o = nn.Linear(16, keys * width), nn.Linear(heads * width, 16)
        self.rope = nn.RoPE(width) if rope else None
        self.norm = nn.RMSNorm(width) if norm else None

    def apart(self, x: mx.array, heads: int) -> mx.array:
        return x.reshape(*x.shape[:2], heads, self.width).transpose(0, 2, 1, 3)

    def __call__(self, x: mx.array, *past: mx.array) -> Any:
        q, k = self.apart(self.q(x), self.heads), self.apart(self.k(x), self.keys)
        v = self.apart(self.v(x), self.keys)
        if self.norm is not None:
            q, k = self.norm(q), self.norm(k)
        if self.rope is not None:
            offset = past[0].shape[2] if past else 0
            q, k = self.rope(q, offset=offset), self.rope(k, offset=offset)
        if past:
            k, v = mx.concatenate([past[0], k], axis=2), mx.concatenate([past[1], v], axis=2)
        y = fast(q, k, v, scale=0.3, mask="causal")
        y = self.o(y.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1))
        return (y, k, v) if past else y


def made(**options: Any) -> Block:
    block = Block(**options)
    mx.eval(block.parameters())
    return block


ANGLES = {"Arange": 1, "Reshape": 1, "Multiply": 1, "Cos": 1, "Sin": 1}
HEADS = {"Linear": 2, "Split": 1}
PAST = {"past_k": cv.Spec(("B", 2, "P", 8)), "past_v": cv.Spec(("B", 2, "P", 8))}


@pytest.mark.parametrize("width", [8, 6])
def test_heads_stay_packed(width):
    row = Rewriting("packed", made(rope=False, width=width), {"x": cv.Spec(("B", "L", 16))}, {**ONE, **HEADS})
    check(row)


def test_heads_stay_packed_through_rotary_positions():
    check(Rewriting("rotary", made(), {"x": cv.Spec(("B", "L", 16))}, {**ONE, **HEADS, **ANGLES, "RoPE": 2}))


def test_a_growing_cache_belongs_to_the_attention():
    before = cv.capture(made(norm=True), {"x": cv.Spec(("B", "L", 16)), **PAST}, dims={"L": cv.Dim(2)})
    after = optimized(before)
    assert count(after)["CachedAttention"] == 1
    assert not {"Concatenate", "Transpose", "ScaledDotProductAttention"} & set(count(after))
    assert_same(before, after)
    assert_same(before, after, {"B": 1, "L": 3, "P": 1})


def test_a_cache_that_others_read_is_joined_as_written():
    block = made(rope=False)

    def fn(x: mx.array, past_k: mx.array, past_v: mx.array) -> Any:
        y, k, v = block(x, past_k, past_v)
        return y, k.sum(axis=2), v

    before = cv.capture(fn, {"x": cv.Spec(("B", "L", 16)), **PAST}, dims={"L": cv.Dim(2)}, module=block)
    after = optimized(before)
    assert count(after)["Concatenate"] == 2
    assert_same(before, after)


def test_windows_keep_their_batch():
    """Swin's attention in windows: one more axis before the heads, a bias over it."""
    bias = mx.array(np.random.default_rng(0).normal(size=(4, 5, 5)).astype(np.float32))

    def fn(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return mx.softmax(q @ turned(k) * 0.3 + bias, axis=-1) @ v

    before = cv.capture(fn, {name: cv.Spec(("B", 3, 4, 5, 8)) for name in "qkv"})
    after = optimized(before)
    assert count(after) == {"Reshape": 4, **ONE}
    assert_same(before, after)
