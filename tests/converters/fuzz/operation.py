"""What a table of random operations holds, and how elements are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.dtypes import is_float, numpy_dtype

if TYPE_CHECKING:
    from fuzz.drawing import Drawing, Known

Choice = tuple[tuple["Known", ...], dict[str, Any]]


class Unfit(Exception):
    """The values at hand do not suit the operation."""


@dataclass(frozen=True)
class Operation:
    """One operation of random programs.

    Attributes:
        compute: `mx.array`s and attributes to the result, or several.
        choose: picks operands and attributes that suit each other; raises `Unfit` where there are none.
        rounding: what it does to floats.
            "smooth": computes with rounding errors.
            "exact": as smooth, but numbers of few digits stay exact (sums, products).
            "whole": as exact, and integers must not overflow.
            "moves": only moves elements, or chooses between them.
            "steps": jumps (floor, comparisons, positions): needs exact operands to agree everywhere.
        inside: it takes an exponential of what it has rounded on the way, as attention does of its scores:
            rounding errors count before it as well as after it.
    """

    compute: Callable[..., Any]
    choose: Callable[[Drawing], Choice]
    rounding: str = "smooth"
    inside: bool = False


def drawn_array(shape: tuple[int, ...], dtype: str, values: str, seed: int) -> np.ndarray:
    """Elements by kind.

    "grid": floats of few digits in [-4, 4], so that sums and products of them are exact in any precision;
    small integers. "positive": the same without zero and below. "normal": floats of all digits; integers of
    the whole range.
    """
    random = np.random.default_rng((seed, *shape))
    target = numpy_dtype(dtype)
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if is_float(dtype):
        if values == "normal":
            return random.normal(size=shape).astype(target)
        low = 1 if values == "positive" else -16
        return (random.integers(low, 17, shape) / 4).astype(target)
    if values == "normal":
        limits = np.iinfo(target)
        return random.integers(limits.min, limits.max, shape, target, endpoint=True)
    low = 1 if values == "positive" else 0 if target.kind == "u" else -9
    return random.integers(low, 10, shape).astype(target)
