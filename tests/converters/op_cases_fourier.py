"""Fourier transforms, and arithmetic with complex numbers, which become pairs of real arrays."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from case_table import Arg, Case, case

X, LINE, ROWS = Arg((2, 3, 8)), Arg((3, 10)), Arg(("n", "t", 6))
FREE = ({"n": 1, "t": 2}, {"n": 2, "t": 9})
EVEN = ({"n": 1, "t": 2}, {"n": 2, "t": 10})
LONG = mx.array(np.random.default_rng(0).normal(size=(2, 3)).astype("f4") * (1 + 2j))


def pair(z: mx.array) -> tuple[mx.array, mx.array]:
    return mx.real(z), mx.imag(z)


def branches(x: mx.array) -> mx.array:
    """A number with both parts."""
    return x + 1j * mx.cos(3 * x)


CASES: list[Case] = [
    case("FFT of real numbers", lambda x: pair(mx.fft.fft(x)), X),
    case("FFT of complex numbers", lambda x: pair(mx.fft.fft(branches(x), axis=1)), X),
    case("FFT inverse", lambda x: pair(mx.fft.ifft(branches(x), axis=0)), X),
    case("FFT half", lambda x: pair(mx.fft.rfft(x, axis=-2)), X),
    case("FFT half, odd", lambda x: pair(mx.fft.rfft(x[..., :7])), X),
    case("FFT half back", lambda x: mx.fft.irfft(mx.fft.rfft(x) * (2 - 1j)), X),
    case("FFT half back, odd", lambda x: mx.fft.irfft(mx.fft.rfft(x[..., :5]), n=5), X),
    case("FFT of several axes", lambda x: pair(mx.fft.fftn(x, axes=(2, 0))), X),
    case("FFT of several axes, half", lambda x: pair(mx.fft.rfft2(x, axes=(1, 2))), X),
    case("FFT back over several axes", lambda x: mx.fft.irfft2(mx.fft.rfft2(x), s=(3, 8)), X),
    case("FFT filled up", lambda x: mx.abs(mx.fft.rfft(x, n=16)), LINE),
    case("FFT cut", lambda x: mx.abs(mx.fft.fft(x, n=4)), LINE),
    case("FFT through two shorter ones", lambda x: pair(mx.fft.rfft(x)), Arg((2, 1200)), tolerance=1e-5),
    case("FFT through two shorter ones, back", lambda x: pair(mx.fft.ifft(branches(x))), Arg((1, 2048))),
    case(
        "FFT of a size, both ways", lambda x: mx.fft.irfft(mx.fft.rfft(x, axis=1), axis=1), ROWS, sizes=EVEN
    ),
    case("FFT of a size", lambda x: pair(mx.fft.fft(branches(x), axis=1)), ROWS, sizes=FREE),
    case("FFT of a size, inverse", lambda x: pair(mx.fft.ifft(branches(x), axis=1)), ROWS, sizes=FREE),
    case("FFT of half", lambda x: mx.abs(mx.fft.rfft(x)), Arg((2, 8), "float16"), tolerance=1e-3),
    case("FFT of integers", lambda x: mx.abs(mx.fft.fft(x)), Arg((2, 8), "int32")),
    case("Exp of complex numbers", lambda x: pair(mx.exp(branches(x))), LINE),
    case("Log of complex numbers", lambda x: pair(mx.log(branches(x))), LINE),
    case("Divide complex numbers", lambda x: pair(branches(x) / (branches(x) + 2)), LINE),
    case("Divide by real numbers", lambda x: pair(branches(x) / 4.0), LINE),
    case("Multiply complex numbers", lambda x: pair(branches(x) * mx.conj(x * 1j) - (3 - 2j)), LINE),
    case("Matmul of complex numbers", lambda x: pair(branches(x)[:, :2] @ LONG), LINE),
    case(
        "Power of complex numbers",
        lambda x: pair(mx.power(branches(x), 2.5)),
        LINE,
        ops="Exp",
        tolerance=1e-4,
    ),
    case("Equal complex numbers", lambda x: (x + 0j == branches(x) - 1j, x + 0j != x + 1j), LINE),
    case("Reshape complex numbers", lambda x: pair(branches(x).T.reshape(2, -1)[:, ::3]), LINE),
    case("Concatenate complex numbers", lambda x: pair(mx.concatenate([branches(x), x * (1 + 0j)])), LINE),
    case("Reduce complex numbers", lambda x: pair(mx.sum(branches(x), axis=1)), LINE),
    case("Select complex numbers", lambda x: pair(mx.where(x > 0, branches(x), mx.square(x + 1j))), LINE),
    case("Reshape to pairs", lambda x: branches(x).view(mx.float32), LINE),
    case("Split pairs", lambda x: pair(x.view(mx.complex64) * 1j), LINE),
]
