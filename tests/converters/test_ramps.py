"""Constants that are made from a size outside MLX, and what does not count evenly."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

import converters as cv

CASES: dict[str, Callable[[mx.array], mx.array]] = {
    "positions": lambda x: x[:, 0] + mx.array(np.arange(x.shape[0])),
    "backwards": lambda x: x[:, 0] - mx.array(-np.arange(x.shape[0])),
    "from a size": lambda x: x[:, 0] * mx.array(np.arange(x.shape[1], x.shape[1] + x.shape[0], dtype="f4")),
    "rows and columns": lambda x: (
        x + mx.array(np.add.outer(np.arange(x.shape[0]), 3 * np.arange(x.shape[1])))
    ),
    "ones": lambda x: x + mx.array(np.ones(x.shape, np.float16)),
    "a mask of ones": lambda x: mx.where(mx.array(np.ones(x.shape, bool)), x, 0),
    "infinite": lambda x: mx.maximum(x, mx.array(np.full(x.shape, -np.inf, np.float32))),
    "a list": lambda x: x[:, 0] + mx.array([2 * i for i in range(x.shape[0])]),
    "a step between corners": lambda x: x[:, 0] * ((x.shape[0] - 1) / (2 * x.shape[0] - 1)),
    "a quotient of both sizes": lambda x: x * (3 * x.shape[0] / x.shape[1]),
    "one over many": lambda x: x * mx.array(1 / (x.shape[0] * x.shape[1]), mx.float16),
    "gathers": lambda x: x[mx.array(np.arange(x.shape[0])), mx.array(np.zeros(x.shape[0], np.int32))],
}


@pytest.mark.parametrize("name", CASES)
def test_counted_constants_follow_the_sizes(name, tmp_path):
    fn = CASES[name]
    path = cv.convert(cv.capture(fn, {"x": cv.Spec(("rows", "columns"))}), tmp_path / "model.onnx")
    for shape in ((1, 1), (3, 41), (50, 4)):
        report = cv.compare(fn, path, {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)})
        assert report.ok, str(report)


@pytest.mark.parametrize(
    "constant", [lambda n: np.arange(n) ** 2, lambda n: np.linspace(0, 1, n), lambda n: np.arange(n) // 2]
)
def test_a_constant_that_does_not_count_evenly_is_refused(constant):
    with pytest.raises(cv.CaptureError, match="a constant of shape"):
        cv.capture(lambda x: x + mx.array(constant(x.shape[0])), {"x": cv.Spec(("n",))})
