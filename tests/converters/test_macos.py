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


@pytest.mark.parametrize("units", ["cpu", "gpu", "ne", "all"])
def test_a_picture_comes_out(units, tmp_path):
    mx.random.seed(0)
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Sigmoid())
    mx.eval(model.parameters())
    picture = cv.Image(size=(32, 48), color="bgr")
    graph = cv.capture(model.eval(), {"photo": picture}, {"painted": picture})
    package = cv.load(cv.convert(graph, tmp_path / "m.mlpackage"), units=units)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 48, 3)) / np.float32(255)
    assert package(photo=pixels)["painted"].dtype == np.uint8
    assert cv.compare(model, package, {"photo": pixels}).ok


@pytest.mark.parametrize("units", ["cpu", "gpu", "ne", "all"])
def test_functions_share_a_state(units, tmp_path):
    """Two functions of one package add to the same 64 numbers."""

    def captured(factor: float):
        return cv.capture(
            lambda x, total: (2 * (total + factor * x), total + factor * x),
            {"x": cv.Spec((1, 64)), "total": cv.Spec((1, 64))},
            ["twice", "after"],
            states={"total": "after"},
        )

    path = cv.convert({"one": captured(1.0), "half": captured(0.5)}, tmp_path / "m.mlpackage")
    package = cv.load(path, units=units)
    state, x = package.new_state("one"), np.ones((1, 64), np.float32)
    for name, wanted in (("one", 2), ("half", 3), ("half", 4), ("one", 6)):
        np.testing.assert_allclose(package[name](state=state, x=x)["twice"], wanted, rtol=1e-2)


@pytest.mark.parametrize("scheme", ["int8", "int4", "palette4", "palette6", "palette8"])
def test_codes_are_read(scheme, tmp_path):
    model = nn.Sequential(nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 64))
    mx.eval(model.parameters())
    graph = cv.capture(model.eval(), {"x": cv.Spec((4, 128))})
    path = cv.convert(graph, tmp_path / "m.mlpackage", quantize=scheme)
    x = np.random.default_rng(0).normal(size=(4, 128)).astype(np.float32)
    assert cv.compare(model, path, {"x": x}, rtol=0.2).ok


def test_every_operation_has_a_place(tmp_path):
    cv.convert(cv.capture(classifier(), {"x": cv.Spec((1, 32, 32, 3))}), tmp_path / "m.mlpackage")
    planned = compute_plan(tmp_path / "m.mlpackage")["main"]
    assert planned
    assert all(one.device in ("cpu", "gpu", "ne") for one in planned)
