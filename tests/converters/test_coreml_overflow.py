"""64-bit integers in Core ML: what is known to leave 32 bits is refused, what fits is computed."""

import mlx.core as mx
import numpy as np
import pytest
from coreml_programs import verify

import converters as cv

BYTES, FLAGS, IDS = cv.Spec((4, 300), "uint8"), cv.Spec((4, 300), "bool"), cv.Spec((4, 300), "int64")
ROWS = cv.Spec(("n", 300), "uint16")


def wide(x: mx.array) -> mx.array:
    return x.astype(mx.int64)


# function, input, the number that it can reach
BEYOND = {
    "a product": (lambda x: wide(x) * 10_000_000, BYTES, "2,550,000,000"),
    "a product of two": (lambda x: wide(x) * (wide(x) * 40_000), BYTES, "2,601,000,000"),
    "a sum": (lambda x: wide(x) * 8_000_000 + 2_000_000_000, BYTES, "4,040,000,000"),
    "a difference": (lambda x: -2_000_000_000 - wide(x) * 8_000_000, BYTES, "-4,040,000,000"),
    "a square": (lambda x: mx.square(wide(x) * 1000), BYTES, "65,025,000,000"),
    "a power": (lambda x: wide(x) ** 4, BYTES, "4,228,250,625"),
    "a shift": (lambda x: wide(x) << 24, BYTES, "4,278,190,080"),
    "a sum over an axis": (lambda x: (wide(x) * 30_000).sum(1), BYTES, "2,295,000,000"),
    "sums along an axis": (lambda x: mx.cumsum(wide(x) * 30_000, axis=1), BYTES, "2,295,000,000"),
    "a sum over a free axis": (lambda x: wide(x).sum(0), ROWS, "2,621,400,000"),
    "positions": (lambda x: wide(mx.argmax(x, 1)) * 10_000_000, BYTES, "3,000,000,000"),
    "a sequence": (lambda x: wide(x) + wide(mx.arange(x.shape[0]))[:, None] * 60_000, ROWS, "2,399,940,000"),
    "truth": (lambda x: wide(x) * 3_000_000_000, FLAGS, "3,000,000,000"),
    "a choice": (lambda x: mx.where(x > 3, wide(x) << 24, wide(x)), BYTES, "4,278,190,080"),
    "a constant": (lambda x: x + mx.array([3_000_000_000], mx.int64), IDS, "3,000,000,000"),
}
WITHIN = {
    "a product": (lambda x: wide(x) * 8_000_000, BYTES),
    "a shift back": (lambda x: (wide(x) << 20) >> 10, BYTES),
    "a remainder": (lambda x: (wide(x) * 8_000_000) % 1000 * 2_000_000, BYTES),
    "a mean": (lambda x: (wide(x) * 20_000).sum(1) // 300, BYTES),
    "the least of 64 bits": (lambda x: mx.where(x > 3, wide(x), mx.iinfo(mx.int64).min).max(1), BYTES),
    "one beyond, not read": (lambda x: (wide(x) * 10_000_000, wide(x))[1], BYTES),
    "ids": (lambda x: x * 4 + wide(mx.arange(300)), IDS),
}


def arrays(spec: cv.Spec, top: int = 50_000) -> np.ndarray:
    shape = tuple(size if isinstance(size, int) else 4 for size in spec.shape)
    highest = 2 if spec.dtype == "bool" else min(top, np.iinfo(spec.dtype).max) + 1
    array = np.random.default_rng(0).integers(0, highest, shape).astype(spec.dtype)
    array.flat[0] = highest - 1
    return array


@pytest.mark.parametrize("case", BEYOND)
def test_what_is_known_to_pass_32_bits_is_refused(case, tmp_path):
    fn, spec, reached = BEYOND[case]
    graph = cv.capture(fn, {"x": spec}, dims={"n": (1, 40_000)} if spec is ROWS else None)
    with pytest.raises(cv.UnsupportedOp, match="no integers beyond 32 bits") as caught:
        cv.convert(graph, tmp_path / "m.mlpackage")
    assert reached in str(caught.value)
    assert not (tmp_path / "m.mlpackage").exists()
    assert cv.compare(fn, cv.convert(graph, tmp_path / "m.onnx"), {"x": arrays(spec)}).ok


@pytest.mark.parametrize("case", WITHIN)
def test_what_fits_is_computed(case, tmp_path):
    fn, spec = WITHIN[case]
    path = cv.convert(fn, tmp_path / "m.mlpackage", inputs={"x": spec})
    verify(path)
    assert cv.compare(fn, path, {"x": arrays(spec)}).ok


def test_what_is_not_known_is_told_by_compare(tmp_path):
    path = cv.convert(lambda x: x * x, tmp_path / "m.mlpackage", inputs={"x": IDS})
    assert cv.compare(lambda x: x * x, path, {"x": arrays(IDS, 40_000)}).ok
    report = cv.compare(lambda x: x * x, path, {"x": arrays(IDS, 50_000)})
    assert not report.ok
    with pytest.raises(cv.ParityError, match="DIFFERS"):
        report.raise_if_different()


def test_an_input_beyond_32_bits_is_named(tmp_path):
    path = cv.convert(lambda x: x + 1, tmp_path / "m.mlpackage", inputs={"token_ids": cv.Spec((1,), "int64")})
    with pytest.raises(cv.ShapeError, match="token_ids has integers beyond 32 bits"):
        cv.load(path)(token_ids=np.array([2**31]))
