"""Pictures in and out of packages: colors, scale, mean and std, against MLX with the same done by hand."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from coreml_programs import tools, verify
from PIL import Image as Picture

import converters as cv

SIZE = (6, 5)
CHANNELS = {"rgb": 3, "bgr": 3, "grey": 1}
STATISTICS = {
    "plain": {},
    "unscaled": {"scale": 1.0},
    "mean": {"mean": 0.5},
    "std": {"std": 0.25},
    "both": {"scale": 1 / 127.5, "mean": 1.0, "std": 0.5},
    "per channel": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
}
SPACES = {"rgb": "RGB", "bgr": "BGR", "grey": "GRAYSCALE"}


def photo(seed: int = 0) -> np.ndarray:
    """RGB pixels, every channel different."""
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def spec_of(color: str, given: dict) -> cv.Image:
    cut: Any = {k: v[: CHANNELS[color]] if isinstance(v, tuple) else v for k, v in given.items()}
    return cv.Image(size=SIZE, color=color, **cut)


def by_hand(color: str, pixels: np.ndarray, given: dict) -> np.ndarray:
    """What the function sees, written out."""
    if color == "grey":
        channels = np.asarray(Picture.fromarray(pixels).convert("L"), np.float64)[..., None]
    else:
        channels = pixels[..., :: -1 if color == "bgr" else 1].astype(np.float64)
    count = CHANNELS[color]
    mean, std = (
        np.resize(given.get(name, default), count) for name, default in (("mean", 0.0), ("std", 1.0))
    )
    return ((channels * given.get("scale", 1 / 255) - mean) / std).astype(np.float32)[None]


def conv(channels: int, outputs: int = 4) -> nn.Module:
    mx.random.seed(0)
    model = nn.Conv2d(channels, outputs, 3, padding=1)
    mx.eval(model.parameters())
    return model.eval()


def feature(path, kind: str = "input"):
    (found,) = getattr(tools().utils.load_spec(str(path)).description, kind)
    return found.type


@pytest.mark.parametrize("given", STATISTICS.values(), ids=STATISTICS)
@pytest.mark.parametrize("color", CHANNELS)
@pytest.mark.parametrize("ios", [15, 18])
def test_a_picture_goes_in(ios, color, given, tmp_path):
    model = conv(CHANNELS[color])
    graph = cv.capture(model, {"photo": spec_of(color, given)}, ["y"])
    path = cv.convert(graph, tmp_path / "m.mlpackage", precision="float32", minimum_ios=ios)
    verify(path)
    image = feature(path).imageType
    assert (image.height, image.width) == SIZE
    assert image.ColorSpace.Name(image.colorSpace) == SPACES[color]
    wanted = by_hand(color, photo(), given)
    expected = np.array(model(mx.array(wanted)))
    package = cv.load(path)
    for picture in (Picture.fromarray(photo()), wanted):
        found = package(photo=picture)["y"]
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


OUTPUTS = {
    "0 to 1": {},
    "-1 to 1": {"scale": 1 / 127.5, "mean": 1.0},
    "0 to 255": {"scale": 1.0},
    "per channel": STATISTICS["per channel"],
}


class Painter(nn.Module):
    """Makes pictures that leave the range at both ends, in the units of a spec."""

    def __init__(self, color: str, given: dict):
        super().__init__()
        mx.random.seed(1)
        self.conv = nn.Conv2d(8, CHANNELS[color], 3, padding=1)
        low, high = (by_hand(color, np.full((*SIZE, 3), end, np.uint8), given) for end in (0, 255))
        self.middle, self.half = mx.array((low + high) / 2), mx.array((high - low) / 2)

    def __call__(self, latent: mx.array) -> mx.array:
        return self.middle + self.half * 3 * self.conv(latent)


@pytest.mark.parametrize("given", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("color", CHANNELS)
@pytest.mark.parametrize(("ios", "precision"), [(15, "float16"), (18, "float16"), (18, "float32")])
def test_a_picture_comes_out(ios, precision, color, given, tmp_path):
    paint = Painter(color, given)
    mx.eval(paint.parameters())
    paint.eval()
    graph = cv.capture(paint, {"latent": cv.Spec((1, *SIZE, 8))}, {"painted": spec_of(color, given)})
    path = cv.convert(graph, tmp_path / "m.mlpackage", precision=precision, minimum_ios=ios)
    verify(path)
    image = feature(path, "output").imageType
    assert (image.height, image.width) == SIZE
    assert image.ColorSpace.Name(image.colorSpace) == SPACES[color]
    assert cv.inspect(path)["functions"]["main"]["outputs"] == {"painted": f"{color} picture {SIZE}"}

    latent = np.random.default_rng(3).normal(size=(1, *SIZE, 8)).astype(np.float32)
    array = np.array(paint(mx.array(latent)), np.float64)
    zero, full = (
        by_hand(color, np.full((*SIZE, 3), end, np.uint8), given).astype(np.float64) for end in (0, 255)
    )
    unclipped = (array - zero) / (full - zero) * 255
    assert unclipped.min() < -5
    assert unclipped.max() > 260
    wanted = np.clip(unclipped, 0, 255)
    found = cv.load(path)(latent=latent)["painted"]
    assert (found.dtype, found.shape) == (np.uint8, (1, *SIZE, CHANNELS[color]))
    assert np.abs(found - wanted).max() < (0.501 if precision == "float32" else 2)
    assert cv.compare(paint, path, {"latent": latent}).ok

    onnx = cv.convert(graph, tmp_path / "m.onnx")
    np.testing.assert_array_equal(cv.load(onnx)(latent=latent)["painted"], np.rint(wanted))
    assert cv.compare(paint, onnx, {"latent": latent}).ok


@pytest.mark.parametrize("color", CHANNELS)
def test_a_picture_that_stays_as_it_is(color, tmp_path):
    spec = spec_of(color, STATISTICS["per channel"])
    graph = cv.capture(lambda x: x, {"before": spec}, {"after": spec})
    path = cv.convert(graph, tmp_path / "m.mlpackage")
    verify(path)
    picture = Picture.fromarray(photo())
    pixels = np.asarray(picture.convert("L") if color == "grey" else picture).reshape(1, *SIZE, -1)
    pixels = pixels[..., ::-1] if color == "bgr" else pixels
    np.testing.assert_array_equal(cv.load(path)(before=picture)["after"], pixels)
    assert cv.load(path)(before=np.repeat(by_hand(color, photo(), STATISTICS["per channel"]), 3, 0))[
        "after"
    ].shape == (3, *SIZE, CHANNELS[color])


def test_a_convolution_between_two_pictures_has_no_transposes(tmp_path):
    spec = cv.Image(size=SIZE)
    graph = cv.capture(conv(3, 3), {"before": spec}, {"after": spec})
    path = cv.convert(graph, tmp_path / "m.mlpackage")
    assert "transpose" not in cv.inspect(path)["functions"]["main"]["operations"]
    assert cv.compare(conv(3, 3), path, {"before": Picture.fromarray(photo())}).ok


def test_a_wrong_picture_is_found(tmp_path):
    spec = cv.Image(size=SIZE)
    path = cv.convert(cv.capture(lambda x: x, {"x": spec}, {"y": spec}), tmp_path / "m.mlpackage")
    report = cv.compare(lambda x: x + 0.1, path, {"x": Picture.fromarray(photo() // 2)})
    assert not report.ok
    assert report.max_abs == pytest.approx(25.5, abs=0.6)


@pytest.mark.parametrize(
    ("fn", "described", "message"),
    [
        (lambda x: x[0], cv.Image(size=SIZE), "channels last"),
        (lambda x: x[..., :1], cv.Image(size=SIZE), "output 'y' is float32"),
        (lambda x: x > 0, cv.Image(size=SIZE), "output 'y' is bool"),
        (lambda x: x, cv.Image(size=(9, 9)), r"\(9, 9\)"),
        (lambda x: x, cv.Spec((1, *SIZE, 3)), "Image or None"),
    ],
)
def test_what_is_no_picture_is_refused(fn, described, message):
    with pytest.raises(cv.CaptureError, match=message):
        cv.capture(fn, {"x": cv.Spec((1, *SIZE, 3))}, {"y": described})


def test_a_picture_beside_labels(tmp_path):
    model = conv(3, 3)
    graph = cv.capture(
        lambda x: (model(x), model(x).mean((1, 2))),
        {"x": cv.Image(size=(8, 3))},
        {"heat": cv.Image(size=(8, 3)), "scores": None},
    )
    path = cv.convert(graph, tmp_path / "m.mlpackage", labels=["a", "b", "c"])
    verify(path)
    assert set(cv.load(path)(x=Picture.new("RGB", (3, 8)))) == {"heat", "scores"}
