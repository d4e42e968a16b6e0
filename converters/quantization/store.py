"""The codes of each weight, made once, and which weights are worth it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from converters.dtypes import is_float
from converters.graph import Builder, Value
from converters.pattern import Match
from converters.quantization.codes import channel_codes
from converters.sizes import AnySize

LEAST = 4096  # elements; smaller weights are not worth the work of unpacking them
GROUPS = (32, 16)  # elements of a block: the first that divides a row


class Codes:
    """The codes of each weight, made once for all that read it, in whatever graph."""

    def __init__(self) -> None:
        self.made: dict[Any, tuple[Any, tuple[np.ndarray, ...]]] = {}
        self.parts: set[int] = set()  # addresses of what was made, which is not coded once more

    def of(
        self, b: Builder, weight: Value, kind: str, make: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    ) -> tuple[Value, ...]:
        """Constants by the names that `nn.quantize` gives: weight, scales, biases."""
        array = b.constants[weight]
        key = (kind, _address(array), array.strides, array.shape)
        if key not in self.made:
            self.made[key] = (array, make(array))  # the arrays stay alive, and so their addresses their own
            self.parts |= {_address(part) for part in self.made[key][1]}
        names = (weight.name, named(weight, "scales"), named(weight, "biases"))
        return tuple(b.constant(part, name) for part, name in zip(self.made[key][1], names, strict=False))

    def refusal(self, m: Match) -> str | None:
        """Why the constant "w" of a match stays as it is, or None."""
        value, array = m["w"], m.array("w")
        if not is_float(value.dtype) or len(value.shape) < 2:
            return "no floating-point matrix"
        if self.owns(array):
            return "scales"
        return "too small" if array.size < LEAST else None

    def owns(self, array: np.ndarray) -> bool:
        """Whether these are codes, scales or biases."""
        return _address(array) in self.parts


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def named(weight: Value, what: str) -> str:
    """blocks.0.up.weight as blocks.0.up.scales."""
    stem = weight.name.removesuffix("weight").removesuffix(".")
    return f"{stem}.{what}" if stem else what


def channels_of(b: Builder, weight: Value, codes: Codes, paired: bool = True) -> tuple[Value, Value]:
    """8-bit codes, and scales with a unit axis for all but the first; `paired` as in `channel_codes`."""

    def make(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        whole, scales = channel_codes(array, paired)
        return whole, scales.reshape(-1, *(1,) * (array.ndim - 1)).astype(array.dtype)

    whole, scales = codes.of(b, weight, "paired channels" if paired else "channels", make)
    return whole, scales


def group_of(inputs: AnySize) -> int | None:
    """The elements of a block of rows with so many, or None where they have no whole blocks."""
    assert isinstance(inputs, int)
    return next((group for group in GROUPS if inputs % group == 0), None)
