"""The discrete Fourier transform along one axis, of complex numbers as pairs of real arrays.

In simpler ops it is a product with a matrix of cosines and sines; a long one goes through two short ones
(Cooley and Tukey 1965, "An algorithm for the machine calculation of complex Fourier series").
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np

from converters.graph import Builder, Value
from converters.ops.definition import Inferred, Op, scalar, size_as
from converters.sizes import AnySize

LONGEST_PRODUCT = 1024  # points of a transform that is one product
FORMS = (
    "forward",
    "inverse",
    "half",
    "real",
)  # half: of real numbers, without conjugates; real: back from these


def _points(x: Value, axis: int, form: str, size: AnySize) -> AnySize:
    """How many points the transform has: as many as the real side."""
    return size if form == "real" else x.shape[axis]


def _shapes(x: Value, *imaginary: Value, axis: int, form: str, size: AnySize) -> Inferred:
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    return [(shape, x.dtype)] * (1 if form == "real" else 2)


def _fft(x: np.ndarray, *imaginary: np.ndarray, axis: int, form: str, size: int) -> Any:
    z = x.astype(np.complex128)
    z = z + 1j * imaginary[0] if imaginary else z
    if form == "real":
        return np.fft.irfft(z, size, axis).astype(x.dtype)
    z = np.fft.ifft(z, axis=axis) if form == "inverse" else np.fft.fft(z, axis=axis)
    z = np.take(z, np.arange(size), axis)
    return z.real.astype(x.dtype), z.imag.astype(x.dtype)


def _expand(b: Builder, x: Value, *imaginary: Value, axis: int, form: str, size: AnySize) -> Any:
    rank = len(x.shape)
    order = (*(i for i in range(rank) if i != axis), axis)
    parts = [b("Transpose", part, axes=order) if axis != rank - 1 else part for part in (x, *imaginary)]
    points = _points(x, axis, form, size)
    if form != "real" and _factor(points) is not None:
        results = _in_two(b, parts, int(points), size, form)  # type: ignore[arg-type]
    else:
        joined = b("Concatenate", *parts, axis=rank - 1) if len(parts) > 1 else parts[0]
        y = b(
            "Matmul", joined, _matrix(b, joined.dtype, points, parts[0].shape[-1], size, form, len(parts) > 1)
        )
        results = [y] if form == "real" else list(b.outputs("Split", y, sizes=(size, size), axis=rank - 1))
    back = tuple(int(i) for i in np.argsort(order))
    turned = [b("Transpose", part, axes=back) if axis != rank - 1 else part for part in results]
    return turned[0] if form == "real" else tuple(turned)


def _factor(points: AnySize) -> int | None:
    """The divisor nearest to the root of a size that is too long for one product."""
    if not isinstance(points, int) or points <= LONGEST_PRODUCT:
        return None
    return next((f for f in range(isqrt(points), 1, -1) if points % f == 0), None)


def _in_two(b: Builder, parts: list[Value], points: int, size: AnySize, form: str) -> list[Value]:
    """x[j * b + i] to X[k + a * l]: transforms of a points, a turn by i * k / (a * b), transforms of b."""
    first = _factor(points)
    assert first is not None
    second, lead, rank = points // first, parts[0].shape[:-1], len(parts[0].shape)
    direction = "inverse" if form == "inverse" else "forward"
    folded = [b("Reshape", part, shape=(*lead, first, second)) for part in parts]
    re, im = b.outputs("FFT", *folded, axis=rank - 1, form=direction, size=first)
    angles = np.outer(np.arange(first), np.arange(second)) * (2 * np.pi / points)
    turn = np.exp((1j if form == "inverse" else -1j) * angles)
    cos, sin = (b.constant(part(turn), dtype=re.dtype) for part in (np.real, np.imag))
    re, im = (
        b("Subtract", b("Multiply", re, cos), b("Multiply", im, sin)),
        b("Add", b("Multiply", re, sin), b("Multiply", im, cos)),
    )
    turned = b.outputs("FFT", re, im, axis=rank, form=direction, size=second)
    axes = (*range(rank - 1), rank, rank - 1)
    flat = [b("Reshape", b("Transpose", part, axes=axes), shape=(*lead, points)) for part in turned]
    whole = {"start": (0,) * rank, "end": (*lead, size), "strides": (1,) * rank}
    return flat if size == points else [b("Slice", part, **whole) for part in flat]


def _matrix(
    b: Builder, dtype: str, points: AnySize, given: AnySize, size: AnySize, form: str, pair: bool
) -> Value:
    """Rows for the real, and with `pair` for the imaginary part; columns for both parts of the result."""
    if isinstance(points, int) and isinstance(given, int) and isinstance(size, int):
        angles = np.outer(np.arange(given), np.arange(size)) % points * (2 * np.pi / points)
        cos, sin = np.cos(angles), np.sin(angles)
        if form == "real":
            twice = (
                np.where((np.arange(given) == 0) | (2 * np.arange(given) == points), 1, 2)[:, None] / points
            )
            return b.constant(np.concatenate([cos * twice, -sin * twice]), dtype=dtype)
        sin = -sin if form == "inverse" else sin
        scale = 1 / points if form == "inverse" else 1
        rows = np.block([[cos, -sin], [sin, cos]] if pair else [[cos, -sin]])
        return b.constant(rows * scale, dtype=dtype)
    return _computed_matrix(b, dtype, points, given, size, form, pair)


def _computed_matrix(
    b: Builder, dtype: str, points: AnySize, given: AnySize, size: AnySize, form: str, pair: bool
) -> Value:
    """The same where sizes are known only when the artefact runs."""

    def counted(length: AnySize, shape: tuple[AnySize, ...]) -> Value:
        return b("Reshape", b("Arange", start=0, step=1, size=length, dtype="int32"), shape=shape)

    rows, columns = counted(given, (given, 1)), counted(size, (1, size))
    steps = b("Remainder", b("Multiply", rows, columns), size_as(b, points, "int32"))
    whole = b("AsType", size_as(b, points, "int32"), dtype="float32")
    share = b("Divide", b("AsType", steps, dtype="float32"), whole)
    angles = b("Multiply", share, scalar(b, 2 * np.pi, share))
    cos, sin = b("Cos", angles), b("Sin", angles)
    if form == "inverse":
        cos, sin = b("Divide", cos, whole), b("Negative", b("Divide", sin, whole))
    minus = b("Negative", sin)
    if form == "real":
        twice = b("Multiply", rows, b.constant(2, dtype="int32"))
        rest = b("Remainder", twice, size_as(b, points, "int32"))
        edge = b("Equal", rest, b.constant(0, dtype="int32"), equal_nan=False)
        once = b("Divide", scalar(b, 1, whole), whole)
        weight = b("Select", edge, once, b("Multiply", once, scalar(b, 2, once)))
        blocks = [b("Multiply", cos, weight), b("Multiply", minus, weight)]
        matrix = b("Concatenate", *blocks, axis=0)
    else:
        matrix = b("Concatenate", cos, minus, axis=1)
        if pair:
            matrix = b("Concatenate", matrix, b("Concatenate", sin, cos, axis=1), axis=0)
    return matrix if dtype == "float32" else b("AsType", matrix, dtype=dtype)


OPS = (Op("FFT", ("axis", "form", "size"), _fft, _shapes, _expand),)
