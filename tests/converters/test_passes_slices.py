"""Slices go up to where rows are made, and stay where a row needs the others."""

import mlx.core as mx
import mlx.nn as nn
import pytest
from rewriting import SIZES, Rewriting, assert_same, check, count, optimized

import converters as cv

X = {"x": cv.Spec(("B", "L", 8))}
mx.random.seed(0)
LINEAR, NORM, OTHER = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8)
TABLE = mx.random.normal((1, 1, 8))
mx.eval(TABLE, LINEAR.parameters(), NORM.parameters(), OTHER.parameters())
QUERIES = cv.Spec(("B", "L", 16))


def attended(mask):
    def fn(x):
        heads = x.reshape(*x.shape[:2], 2, 8).transpose(0, 2, 1, 3)
        y = mx.fast.scaled_dot_product_attention(heads, heads, heads, scale=0.3, mask=mask)
        return y.transpose(0, 2, 1, 3).reshape(x.shape)[:, :1]

    return fn


def block(x):
    x = x + OTHER(nn.gelu(LINEAR(NORM(x))))
    return NORM(x + LINEAR(x) * TABLE)[:, 0]


def linear_rows(graph):
    """Sizes of the second axis that linear layers compute."""
    return [str(node.output.shape[1]) for node in graph.nodes if node.op == "Linear"]


ROWS = [
    Rewriting("norm", lambda x: NORM(x)[:, 0], X, {"Slice": 1, "LayerNorm": 1, "Reshape": 1}),
    Rewriting("layer", lambda x: LINEAR(mx.tanh(x))[:1], X, {"Slice": 1, "Tanh": 1, "Linear": 1}),
    Rewriting("attention", attended(None), {"x": QUERIES}, {"Slice": 1, "ScaledDotProductAttention": 1}),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_slice_comes_first(row):
    check(row)
    graph = optimized(cv.capture(row.fn, row.inputs))
    assert graph.nodes[0].op == "Slice"


def test_only_one_row_of_a_block_is_computed():
    before = cv.capture(block, X)
    after = optimized(before)
    assert linear_rows(after) == ["1", "1", "1"]
    assert count(after)["Slice"] == 1
    assert_same(before, after)


STAY = {
    "mixed-axis": (lambda x: LINEAR(x)[..., :2], X),
    "normalised-axis": (lambda x: NORM(x)[..., :1], X),
    "most-is-needed": (lambda x: mx.tanh(x)[..., :6], X),
    "others-read-it": (lambda x: (lambda y: (y[:, :1], y))(mx.tanh(x)), X),
    "causal": (attended("causal"), {"x": QUERIES}),
}


@pytest.mark.parametrize("name", STAY)
def test_slice_stays(name):
    fn, inputs = STAY[name]
    before = cv.capture(fn, inputs)
    after = optimized(before)
    produced = [after.producers.get(node.inputs[0]) for node in after.nodes if node.op == "Slice"]
    assert produced
    assert all(node is not None for node in produced)
    assert_same(before, after, SIZES)


def stacked(taken_apart):
    """Attention whose queries, keys and values are stacked along an axis of their own."""
    both = nn.Linear(16, 48)
    mx.eval(both.parameters())

    def function(x):
        batch, length, width = x.shape
        q, k, v = taken_apart(both(x).reshape(batch, length, 3, 4, 4).transpose(2, 0, 3, 1, 4))
        y = mx.softmax(q @ k.transpose(0, 1, 3, 2) / 2, axis=-1) @ v
        return y.transpose(0, 2, 1, 3).reshape(batch, length, width)

    return function


@pytest.mark.parametrize(
    "taken_apart",
    [
        lambda y: (y[0], y[1], y[-1]),
        lambda y: y,
        lambda y: [part.squeeze(0) for part in mx.split(y, 3)],
        lambda y: [part[0] for part in mx.split(y, [1, 2])],
    ],
    ids=["indices", "unpacked", "split", "split at"],
)
@pytest.mark.parametrize("length", [5, "L"])
def test_stacked_queries_keys_and_values_are_parts_of_the_layer(taken_apart, length):
    left = {"Linear": 1, "Split": 1, "ScaledDotProductAttention": 1}
    check(Rewriting("stacked", stacked(taken_apart), {"x": cv.Spec(("B", length, 16))}, left))


def test_what_is_read_as_a_whole_too_is_not_split():
    def function(x):
        y = x.reshape(2, 3, 4).transpose(1, 0, 2)
        return y[0] + y[1] + y[2], mx.exp(y)

    before = cv.capture(function, {"x": cv.Spec((2, 12))})
    assert "Split" in count(optimized(cv.capture(lambda x: function(x)[0], {"x": cv.Spec((2, 12))})))
    after = optimized(before)
    assert "Split" not in count(after)
    assert_same(before, after)
