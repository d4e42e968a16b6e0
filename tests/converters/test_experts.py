"""Products with a matrix chosen for each row: a step gathers matrices, a prompt loops over them."""

import mlx.core as mx
import numpy as np
import onnx
import pytest

import converters as cv

EXPERTS, CHOSEN, INPUTS, OUTPUTS = 6, 2, 64, 48
RANDOM = np.random.default_rng(0)
WEIGHTS = mx.array(RANDOM.normal(size=(EXPERTS, OUTPUTS, INPUTS)).astype(np.float32))


def product(weights: mx.array):
    def fn(x: mx.array, experts: mx.array) -> mx.array:
        return mx.gather_mm(x[:, :, None, None], weights.swapaxes(-1, -2), rhs_indices=experts)[..., 0, :]

    return fn


def quantised_product(bits: int):
    parts = mx.quantize(WEIGHTS, 32, bits)

    def fn(x: mx.array, experts: mx.array) -> mx.array:
        y = mx.gather_qmm(x[:, :, None, None], *parts, rhs_indices=experts, group_size=32, bits=bits)
        return y[..., 0, :]

    return fn


FUNCTIONS = {"floats": product(WEIGHTS), **{f"{bits} bits": quantised_product(bits) for bits in (2, 4, 8)}}


@pytest.mark.parametrize(
    ("name", "opset"), [*((name, 23) for name in FUNCTIONS), ("floats", 17), ("4 bits", 21)]
)
def test_steps_and_prompts_equal_mlx(name, opset, tmp_path):
    fn = FUNCTIONS[name]
    specs = {
        "x": cv.Spec(("batch", "length", INPUTS)),
        "experts": cv.Spec(("batch", "length", CHOSEN), "uint32"),
    }
    path = cv.convert(cv.capture(fn, specs), tmp_path / "model.onnx", opset=opset)
    assert [node.op_type for node in onnx.load(str(path)).graph.node].count("If") == 1
    for batch, length in ((1, 1), (1, 3), (2, 2), (3, 40)):
        x = RANDOM.normal(size=(batch, length, INPUTS)).astype(np.float32)
        experts = RANDOM.integers(0, EXPERTS - 1, (batch, length, CHOSEN)).astype(
            np.uint32
        )  # one is never chosen
        report = cv.compare(fn, path, {"x": x, "experts": experts})
        assert report.ok, f"{batch} x {length}: {report}"


def test_a_few_rows_need_no_branch(tmp_path):
    specs = {"x": cv.Spec((1, 2, INPUTS)), "experts": cv.Spec((1, 2, CHOSEN), "uint32")}
    path = cv.convert(cv.capture(FUNCTIONS["floats"], specs), tmp_path / "model.onnx")
    assert "If" not in {node.op_type for node in onnx.load(str(path)).graph.node}
