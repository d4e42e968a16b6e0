"""Constants made in Python or NumPy from a size: scalars, and what counts, such as positions and grids.

`mx.array(np.arange(past, past + length))` is a constant to MLX, with other numbers at every size. It is
joined where its elements are `start + steps[0] * i + steps[1] * j + …`, with shape and start polynomials in
the dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.fit import Fitter
from converters.graph import Builder, Value
from converters.sizes import AnySize, Shape, Size, substitute

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


FORMS = {
    "": lambda v: v,
    "reciprocal": lambda v: 1 / v if v else 0.0,
    "Sqrt": lambda v: v * v,
    "Rsqrt": lambda v: 1 / (v * v) if v else 0.0,
}


def fit(arrays: Sequence[np.ndarray], fitter: Fitter) -> Ramp | tuple[Size, str, str] | None:
    """What all arrays are, one per sample of the fitter: a ramp, or (size, dtype, form) of a scalar; None
    where there is no such."""
    first = arrays[0]
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


def _fit_scalars(arrays: Sequence[np.ndarray], fitter: Fitter) -> tuple[Size, str, str] | None:
    values = [float(array) for array in arrays]
    for form, undo in FORMS.items():
        size = _fit_floats([undo(v) for v in values], fitter, exact=form == "")
        if size is not None:
            return size, arrays[0].dtype.name, form
    return None


def _fit_floats(values: Sequence[float], fitter: Fitter, exact: bool) -> Size | None:
    rounded = [round(v) for v in values]
    tolerance = 0 if exact else 1e-5
    if any(abs(v - r) > tolerance * max(1, abs(r)) for v, r in zip(values, rounded, strict=True)):
        return None
    size = fitter.fit(rounded)
    return size if isinstance(size, Size) else None


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
