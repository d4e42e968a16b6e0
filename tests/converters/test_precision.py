"""float16 files keep in float32 what float16 would spoil, if not in every runtime."""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import converters as cv
from converters.passes import optimize
from converters.sensitive import sensitive

RANDOM = np.random.default_rng(0)
VECTORS = np.concatenate([np.zeros((1, 8)), RANDOM.normal(size=(2, 8)), 300 * RANDOM.normal(size=(1, 8))])


@dataclass(frozen=True)
class Row:
    """A function of one array, and what is fed to it."""

    name: str
    function: Any
    array: np.ndarray


def rotated(position: mx.array) -> mx.array:
    angles = position.astype(mx.float32)[:, None] * mx.power(10_000.0, -mx.arange(8) / 8)
    return mx.concatenate([mx.cos(angles), mx.sin(angles)], axis=-1)


def interpolated(x: mx.array) -> mx.array:
    """3,001 places between the elements of a vector (N,)."""
    places = mx.arange(3001) * 0.3331
    left = mx.floor(places)
    low = mx.take(x, left.astype(mx.int32))
    return low + (mx.take(x, left.astype(mx.int32) + 1) - low) * (places - left)


ROWS = [
    Row("rotary angles", rotated, np.array([0, 7, 2047, 3001, 4095], np.int32)),
    Row("interpolation", interpolated, RANDOM.normal(size=1002).astype(np.float32)),
    Row(
        "unit vectors",
        lambda x: x / (mx.sqrt(mx.sum(x * x, axis=-1, keepdims=True)) + 1e-12),
        VECTORS.astype(np.float32),
    ),
    Row(
        "unit vectors by the root",
        lambda x: x * mx.rsqrt(mx.sum(mx.square(x), axis=-1, keepdims=True) + 1e-10),
        VECTORS.astype(np.float32),
    ),
    Row("a long sum", lambda x: mx.sum(x, axis=0) / 70_000, np.full((70_000, 2), 1.5, np.float32)),
    Row("a long running sum", lambda x: mx.cumsum(x, axis=0) / 8000, np.full((8000,), 1.5, np.float32)),
    Row("a long softmax", lambda x: mx.softmax(x) * 5000, RANDOM.normal(size=5000).astype(np.float32)),
    Row("a logarithm near zero", lambda x: mx.log(x + 1e-9), np.array([0.0, 1e-3, 5.0], np.float32)),
]


@pytest.mark.parametrize("suffix", ["onnx", "mlpackage"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_float16_is_not_spoilt(row, suffix, tmp_path):
    spec = cv.Spec(row.array.shape, row.array.dtype.name)
    path = cv.convert(cv.capture(row.function, {"x": spec}), tmp_path / f"m.{suffix}", precision="float16")
    expected = np.array(row.function(mx.array(row.array)))
    got = cv.load(path)(x=row.array)["output"]
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


PLAIN = {
    "a small network": lambda x: mx.tanh(x @ mx.ones((8, 4))) + 0.5,
    "a mask": lambda x: mx.softmax(x + mx.where(mx.arange(8) > 3, -1e9, 0.0)),
    "a short mean": lambda x: mx.mean(x, axis=-1),
}


@pytest.mark.parametrize("name", PLAIN)
def test_nothing_else_is_kept(name):
    graph = optimize(cv.capture(PLAIN[name], {"x": cv.Spec(("n", 8))}))
    assert sensitive(graph, "float16") == set()
    assert sensitive(graph, "float32") == set()
