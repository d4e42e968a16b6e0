"""Operations that MLX cannot record are replaced while a function is traced, and only then."""

import mlx.core as mx
import numpy as np
import pytest

import converters as cv
from converters.patches import REPLACED, recordable
from converters.snapshot import to_numpy


@mx.custom_function
def doubled(x: mx.array) -> mx.array:
    return x * 2


@doubled.vjp
def _(primals: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent


FLOATS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
INTEGERS = np.array([[1, -2, 127], [0, 5, -128]], np.int8)
FUNCTIONS = {
    "invert int8": (lambda x: ~x, INTEGERS),
    "invert uint32": (lambda x: mx.bitwise_invert(x), INTEGERS.astype(np.uint32)),
    "invert bool": (lambda x: ~x, INTEGERS > 0),
    "contiguous": (lambda x: mx.contiguous(x.T) + 1, FLOATS),
    "checkpoint": (lambda x: mx.checkpoint(lambda y: y * 3)(x), FLOATS),
    "custom_function": (lambda x: doubled(mx.square(x)), FLOATS),
    "logcumsumexp flat": (lambda x: mx.logcumsumexp(x), FLOATS),
    "logcumsumexp": (lambda x: mx.logcumsumexp(x, axis=0), 30 * FLOATS),
    "logcumsumexp backwards": (lambda x: x.logcumsumexp(axis=1, reverse=True), FLOATS),
    "logcumsumexp exclusive": (lambda x: mx.logcumsumexp(x, axis=1, inclusive=False), FLOATS),
    "logcumsumexp of infinities": (
        lambda x: mx.logcumsumexp(x),
        np.array([-np.inf, 1, 2, np.inf, 3], np.float32),
    ),
    "segmented_mm": (
        lambda x: mx.segmented_mm(x, x.T, mx.array([[0, 2], [1, 4], [3, 3]], mx.uint32)),
        FLOATS,
    ),
    "from_fp8": (lambda x: mx.from_fp8(x, mx.float32), np.array([[0, 29, 37, 42, 173, 255]], np.uint8)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_replacement_computes_the_same(name):
    fn, array = FUNCTIONS[name]
    graph = cv.capture(fn, {"x": cv.Spec(array.shape, array.dtype)})
    (got,) = graph.evaluate(array).values()
    wanted = to_numpy(fn(mx.array(array)))
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back(fails):
    before = [getattr(owner, name) for owner, name, _ in REPLACED]

    def fn(x: mx.array) -> mx.array:
        if fails:
            raise ValueError("on purpose")
        return ~x

    try:
        cv.capture(fn, {"x": cv.Spec((2,), "int32")})
    except cv.CaptureError:
        assert fails
    assert [getattr(owner, name) for owner, name, _ in REPLACED] == before
    with recordable():
        assert [getattr(owner, name) for owner, name, _ in REPLACED] != before


@pytest.mark.parametrize(
    ("fn", "primitive"),
    [
        (lambda x: mx.linalg.solve(x, x, stream=mx.cpu), "LUF"),
        (lambda x: mx.to_fp8(x), "ToFP8"),
        (lambda x: mx.linalg.inv(x, stream=mx.cpu), "Inverse"),
        (lambda x: mx.linalg.cholesky(x, stream=mx.cpu), "Cholesky"),
        (lambda x: mx.linalg.svd(x, stream=mx.cpu), "SVD"),
        (lambda x: mx.linalg.qr(x, stream=mx.cpu), "QRF"),
        (lambda x: mx.linalg.eigh(x, stream=mx.cpu), "Eigh"),
        (lambda x: mx.abs(mx.sin(x * 1j)), "Sin .complex numbers"),
        (lambda x: mx.fft.fft(x), "output is of complex numbers"),
        (lambda x: x + mx.random.normal(x.shape), "RandomBits.*key is fixed"),
    ],
)
def test_what_cannot_be_replaced_is_refused_by_name(fn, primitive):
    with pytest.raises(cv.ConversionError, match=primitive):
        cv.capture(fn, {"x": cv.Spec((3, 3))})
