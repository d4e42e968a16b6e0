"""Codes of weights, and the ops that read them."""

import numpy as np
import pytest
from quantized_models import RNG, off

from converters.graph import Builder, Graph, Value
from converters.ops import OPS
from converters.ops.quantized import unpacked
from converters.quantization.codes import block_codes, channel_codes, palette


@pytest.mark.parametrize("columns", [1, 7, 64])
def test_channel_codes_are_near_and_never_saturate(columns):
    weight = RNG.normal(size=(33, columns)).astype(np.float32)
    weight[3] = 0
    codes, scales = channel_codes(weight)
    assert codes.dtype == np.int8
    assert np.abs(codes * scales[:, None] - weight).max() <= 0.5 * scales.max() + 1e-6
    even = np.pad(codes.astype(np.int32), ((0, 0), (0, columns % 2)))
    for x in (
        np.full(even.shape[1], 255),
        RNG.integers(0, 256, even.shape[1]),
    ):  # vpmaddubsw: int16, saturating
        pairs = (even * x).reshape(33, -1, 2).sum(-1)
        np.testing.assert_array_equal(np.clip(pairs, -32768, 32767), pairs)


@pytest.mark.parametrize("group", [16, 32])
def test_block_codes_round_trip(group):
    weight = RNG.normal(size=(8, 64)).astype(np.float32)
    weight[0, :group] = 0
    weight[1, :group] = np.abs(weight[1, :group]) + 1  # 0 must be a code all the same
    words, scales, biases = block_codes(weight, group)
    codes = unpacked(words, 4).reshape(8, -1, group)
    back = (codes * scales[..., None] + biases[..., None]).reshape(8, 64)
    zeros = -biases / scales
    np.testing.assert_allclose(zeros, np.rint(zeros), atol=1e-4)
    assert off(back, weight) < 0.09
    plain = weight.reshape(8, -1, group)
    step = (np.maximum(plain.max(-1), 0) - np.minimum(plain.min(-1), 0)) / 15
    assert np.mean((back - weight) ** 2) <= np.mean(step**2) / 12 * 1.1


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_palette_is_better_than_even_steps(bits):
    weight = RNG.normal(size=(64, 64)).astype(np.float32)
    codes, table = palette(weight, bits)
    assert codes.shape == weight.shape
    assert table.shape == (2**bits,)
    step = (weight.max() - weight.min()) / (2**bits - 1)
    assert np.mean((table[codes] - weight) ** 2) < 0.8 * step**2 / 12


def test_palette_of_few_values_is_exact():
    weight = RNG.choice(np.array([-1.5, 0, 0.25, 7], np.float32), (32, 32))
    codes, table = palette(weight, 4)
    assert np.abs(table[codes] - weight).max() < 1e-3
    codes, table = palette(np.full((4, 4), 3, np.float32), 4)
    assert np.abs(table[codes] - 3).max() < 1e-3


def constant_case(op, inputs, constants, **attrs):
    """A graph of one op over a float input (where `inputs`) and constants."""
    b = Builder()
    given = tuple(Value(f"x{index}", array.shape, "float32") for index, array in enumerate(inputs))
    values = [*given, *(b.constant(array) for array in constants)]
    return Graph(given, {"y": b(op, *values, **attrs)}, tuple(b.nodes), b.constants)


CODES = RNG.integers(-127, 128, (6, 10)).astype(np.int8)
SCALES = RNG.uniform(0.01, 0.02, 6).astype(np.float32)
X = RNG.normal(size=(3, 4, 10)).astype(np.float32)
INTEGER_OPS = {
    "linear": ("DynamicLinear", [X], [CODES, SCALES], {}),
    "linear-bias": ("DynamicLinear", [X], [CODES, SCALES, SCALES], {}),
    "linear-of-zeros": ("DynamicLinear", [np.zeros_like(X)], [CODES, SCALES], {}),
    "linear-of-positive": ("DynamicLinear", [np.abs(X) + 3], [CODES, SCALES], {}),
    "scale": ("ScaleCodes", [], [CODES, SCALES[:, None]], {}),
    "look-up": ("LookUp", [], [CODES.view(np.uint8) % 16, RNG.normal(size=16).astype(np.float32)], {}),
    "in-steps": ("InSteps", [3 * X], [], {"scale": 0.02, "zero": 100}),
}


@pytest.mark.parametrize("name", INTEGER_OPS)
def test_expansion_is_the_meaning(name):
    op, inputs, constants, attrs = INTEGER_OPS[name]
    graph = constant_case(op, inputs, constants, **attrs)
    graph.verify()
    b = Builder()
    b.constants = dict(graph.constants)
    node = graph.nodes[0]
    expand = OPS[op].expand
    assert expand is not None
    result = expand(b, *node.inputs, **node.attrs)
    assert isinstance(result, Value)
    expanded = Graph(graph.inputs, {"y": result}, tuple(b.nodes), b.constants)
    expanded.verify()
    wanted, got = graph.evaluate(*inputs)["y"], expanded.evaluate(*inputs)["y"]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max() + 1e-7)
