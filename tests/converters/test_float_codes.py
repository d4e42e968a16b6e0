"""Weights of 4-bit floating-point numbers, mxfp4 (of gpt-oss) and nvfp4: small in the file as well."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

import converters as cv

GROUPS = {"mxfp4": 32, "nvfp4": 16, "mxfp8": 32}
ROWS = np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32)

CHOSEN = {"linear": {}, "embedding": {}, "experts": {"chosen": np.array([0, 2, 1], np.int32)}}


class Experts(nn.Module):
    """Each row through a matrix of its own."""

    def __init__(self, mode: str):
        super().__init__()
        self.form = {"group_size": GROUPS[mode], "bits": 8 if mode == "mxfp8" else 4, "mode": mode}
        self.codes, self.scales, *_ = mx.quantize(mx.random.normal((4, 64, 128)), **self.form)

    def __call__(self, x: mx.array, chosen: mx.array) -> mx.array:
        return mx.gather_qmm(
            x[:, None], self.codes, self.scales, rhs_indices=chosen, transpose=True, **self.form
        )


def module(kind: str, mode: str) -> nn.Module:
    mx.random.seed(0)
    if kind == "experts":
        return Experts(mode)
    layer = nn.Linear(128, 64) if kind == "linear" else nn.Embedding(50, 128)
    made = layer.to_quantized(group_size=GROUPS[mode], bits=8 if mode == "mxfp8" else 4, mode=mode)
    mx.eval(made.parameters())
    return made


@pytest.mark.parametrize("runtime", [None, "onnxruntime"])
@pytest.mark.parametrize("mode", ["mxfp4", "nvfp4"])
@pytest.mark.parametrize("kind", ["linear", "embedding", "experts"])
def test_the_same_numbers_as_mlx(kind, mode, runtime, tmp_path):
    layer = module(kind, mode)
    inputs = {"x": np.array([3, 0, 49], np.int32) if kind == "embedding" else ROWS, **CHOSEN[kind]}
    specs = {name: cv.Spec(array.shape, array.dtype.name) for name, array in inputs.items()}
    graph = cv.capture(layer, specs, module=layer)
    path = cv.convert(graph, tmp_path / "model.onnx", runtime=runtime)
    report = cv.compare(layer, path, inputs)
    assert report.max_rel <= 1e-6, str(report)
    assert (
        path.stat().st_size
        < {"linear": 64 * 128 * 2, "embedding": 50 * 128 * 2, "experts": 4 * 64 * 128 * 2}[kind]
    )


@pytest.mark.parametrize("kind", ["linear", "experts"])
def test_8_bits_are_refused_by_name(kind):
    with pytest.raises(cv.UnsupportedOp, match="mxfp8 weights, use affine ones"):
        more = {name: cv.Spec((3,), "int32") for name in CHOSEN[kind]}
        cv.capture(module(kind, "mxfp8"), {"x": cv.Spec((3, 128)), **more})
