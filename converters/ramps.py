"""Constants made in Python or NumPy from a size: scalars, and what counts, such as positions and grids.

`mx.array(np.arange(past, past + length))` is a constant to MLX, with other numbers at every size. It is
joined where its elements are `start + steps[0] * i + steps[1] * j + …`, with shape and start polynomials in
the dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, lcm
from typing import Any

import numpy as np

from converters.dtypes import is_float, numpy_dtype
from converters.fit import Fitter
from converters.graph import Builder, Value
from converters.ops.definition import size_as
from converters.sizes import AnySize, Shape, substitute

Number = int | float | bool


@dataclass(frozen=True)
class Ramp:
    """An array whose elements grow by a fixed step along each axis."""

    shape: Shape
    dtype: str
    start: Number | AnySize
    steps: tuple[Number, ...]

    def at(self, sizes: Mapping[str, int]) -> np.ndarray:
        """The array at given sizes."""
        return _counted(
            substitute(self.shape, sizes), numpy_dtype(self.dtype), substitute(self.start, sizes), self.steps
        )

    def build(self, b: Builder) -> Value:
        """The array computed from the sizes."""
        rank = len(self.shape)
        total = None
        for axis, step in enumerate(self.steps):
            if step:
                start = self.start if total is None else 0
                line = b("Arange", start=start, step=step, size=self.shape[axis], dtype=self.dtype)
                spread = tuple(size if i == axis else 1 for i, size in enumerate(self.shape))
                line = b("Reshape", line, shape=spread) if rank > 1 else line
                total = line if total is None else b("Add", total, line)
        if total is None and isinstance(self.start, int | float):
            total = b.constant(self.start, dtype=self.dtype)
        elif total is None:
            total = b("Dimension", size=self.start, dtype=self.dtype)
        return total if total.shape == self.shape else b("Broadcast", total, shape=self.shape)


@dataclass(frozen=True)
class Scalar:
    """A number `form(top / bottom)` of sizes: 1 / (H * W), L ** -0.5, the step (N - 1) / (2 * N - 1)."""

    top: AnySize
    bottom: AnySize
    dtype: str
    form: str = ""

    def at(self, sizes: Mapping[str, int]) -> np.ndarray:
        """The number at given sizes."""
        top, bottom = (float(substitute(size, sizes)) for size in (self.top, self.bottom))
        ratio = top / bottom if bottom else float("inf") if top else float("nan")
        number = {"": ratio, "Sqrt": max(ratio, 0.0) ** 0.5, "Rsqrt": ratio**-0.5 if ratio > 0 else 0.0}[
            self.form
        ]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(number).astype(numpy_dtype(self.dtype))

    def build(self, b: Builder) -> Value:
        """The number computed from the sizes."""
        wide = "float32" if is_float(self.dtype) else self.dtype  # a half holds no product of sizes
        top, bottom = (size_as(b, size, wide) for size in (self.top, self.bottom))
        number = top if self.bottom == 1 else b("Divide", top, bottom)
        number = b(self.form, number) if self.form else number
        return number if wide == self.dtype else b("AsType", number, dtype=self.dtype)


def fit(arrays: Sequence[np.ndarray], fitter: Fitter) -> Ramp | Scalar | None:
    """What all arrays are, one per sample of the fitter; None where no formula gives them."""
    first = arrays[0]
    if first.dtype.kind == "c":
        return None
    if first.ndim == 0:
        return _fit_scalars(arrays, fitter)
    if len({array.ndim for array in arrays}) > 1 or not all(a.size for a in arrays):
        return None
    shape = [fitter.fit([array.shape[axis] for array in arrays]) for axis in range(first.ndim)]
    longest = max(arrays, key=lambda array: array.size)
    steps = tuple(_step(longest, axis) for axis in range(first.ndim))
    starts = [array[(0,) * array.ndim].item() for array in arrays]
    for array, start in zip(arrays, starts, strict=True):
        if not np.array_equal(array, _counted(array.shape, array.dtype, start, steps), equal_nan=True):
            return None
    start = _start(starts, fitter)
    if start is None or any(size is None for size in shape):
        return None
    return Ramp(tuple(size for size in shape if size is not None), first.dtype.name, start, steps)


UNDONE = {"": lambda v: v, "Sqrt": lambda v: v * v, "Rsqrt": lambda v: 1 / (v * v) if v else 0.0}
EXACT = {
    "float32": 2.0**-22,
    "float16": 2.0**-9,
    "bfloat16": 2.0**-6,
}  # twice the rounding of the element type


def _fit_scalars(arrays: Sequence[np.ndarray], fitter: Fitter) -> Scalar | None:
    values, dtype = [float(array) for array in arrays], arrays[0].dtype.name
    if not all(map(isfinite, values)):
        return None
    for form, undo in UNDONE.items():
        undone = [undo(value) for value in values]
        for top, bottom in _ratios(undone, fitter, dtype, form == ""):
            found = Scalar(top, bottom, dtype, form)
            if all(is_near(found.at(sample), v) for sample, v in zip(fitter.samples, values, strict=True)):
                return found
    return None


def is_near(got: np.ndarray, value: float) -> bool:
    tolerance = EXACT.get(got.dtype.name, 0)
    return abs(float(got) - value) <= tolerance * abs(value)


def _ratios(
    values: Sequence[float], fitter: Fitter, dtype: str, exact: bool
) -> Iterator[tuple[AnySize, AnySize]]:
    """Tops and bottoms that may give the values: a polynomial over 1, 1 over a polynomial, a quotient."""
    whole = [round(value) for value in values]
    if all(abs(v - w) <= (0 if exact else 1e-5) * max(1, abs(w)) for v, w in zip(values, whole, strict=True)):
        size = fitter.fit(whole)
        if size is not None:
            yield size, 1
    if not is_float(dtype):
        return
    fractions = [_simplest(value, EXACT.get(dtype, 2.0**-22)) for value in values]
    if all(fractions):
        scale = lcm(*(f.numerator for f in fractions))
        size = fitter.fit([int(scale / f) for f in fractions])
        if size is not None:
            yield scale, size
    scale = lcm(*(f.denominator for f in fractions))
    size = fitter.fit([int(f * scale) for f in fractions])
    if size is not None:
        yield size, scale
    quotient = fitter.fit_quotient(fractions)
    if quotient is not None:
        yield quotient


def _simplest(value: float, tolerance: float) -> Fraction:
    """The fraction of the smallest denominator that rounds to the value."""
    tried = (Fraction(value).limit_denominator(1 << digits) for digits in range(1, 17))
    near = (one for one in tried if abs(float(one) - value) <= tolerance / 2 * abs(value))
    return next(near, Fraction(value))


def _step(array: np.ndarray, axis: int) -> Number:
    if array.shape[axis] < 2 or array.dtype == bool:
        return 0
    origin = [0] * array.ndim
    here = array[tuple(origin)].item()
    origin[axis] = 1
    there = array[tuple(origin)].item()
    return 0 if there == here else there - here


def _start(starts: Sequence[Any], fitter: Fitter) -> Number | AnySize | None:
    if all(start == starts[0] or start != start for start in starts):
        return starts[0]
    if not all(isfinite(start) and start == int(start) for start in starts):
        return None
    return fitter.fit([int(start) for start in starts])


def _counted(shape: Sequence[int], dtype: np.dtype, start: Any, steps: Sequence[Number]) -> np.ndarray:
    total = np.full(shape, start, dtype)
    for axis, step in enumerate(steps):
        if step:
            spread = [-1 if i == axis else 1 for i in range(len(shape))]
            total = total + (step * np.arange(shape[axis])).astype(dtype).reshape(spread)
    return total
