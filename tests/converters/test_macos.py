"""Core ML itself, on the CPU, the GPU and the Neural Engine: only on a Mac, where `cv.load` uses it."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

import converters as cv
from converters.targets.coreml.plan import compute_plan

pytestmark = pytest.mark.macos


def classifier() -> nn.Module:
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm(8), nn.ReLU(), nn.MaxPool2d(2, 2)),
        *(nn.Conv2d(8, 10, 3), lambda x: x.mean(axis=(1, 2))),
    )
    mx.eval(model.parameters())
    return model.eval()


def transformer() -> nn.Module:
    model = nn.TransformerEncoder(2, 32, 4)
    mx.eval(model.parameters())
    return model.eval()


@pytest.mark.parametrize("units", ["cpu", "gpu", "ne", "all"])
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_picture_is_classified_alike(units, precision, tmp_path):
    model = classifier()
    graph = cv.capture(model, {"image": cv.Image(size=(32, 32), color="rgb")}, outputs=["scores"])
    cv.convert(graph, tmp_path / "m.mlpackage", precision=precision, labels=[str(i) for i in range(10)])
    package = cv.load(tmp_path / "m.mlpackage", units=units)
    assert package.runtime.startswith("Core ML on macOS")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)) / np.float32(255)
    assert cv.compare(model, package, {"image": pixels}).ok


@pytest.mark.parametrize("units", ["cpu", "gpu", "ne", "all"])
def test_any_length_within_its_bounds_agrees(units, tmp_path):
    model = transformer()
    spec = cv.Spec((1, "length", 32))
    graph = cv.capture(lambda x: model(x, None), {"x": spec}, dims={"length": (1, 64)}, module=model)
    cv.convert(graph, tmp_path / "m.mlpackage")
    package = cv.load(tmp_path / "m.mlpackage", units=units)
    for length in (1, 17, 64):
        x = np.random.default_rng(0).normal(size=(1, length, 32)).astype(np.float32)
        assert cv.compare(lambda x: model(x, None), package, {"x": x}).ok


def test_every_operation_has_a_place(tmp_path):
    cv.convert(cv.capture(classifier(), {"x": cv.Spec((1, 32, 32, 3))}), tmp_path / "m.mlpackage")
    planned = compute_plan(tmp_path / "m.mlpackage")["main"]
    assert planned
    assert all(one.device in ("cpu", "gpu", "ne") for one in planned)
