"""Weights as codes, arithmetic as before: what every target can take.

y = Linear(x, w)               ->   y = Linear(x, ScaleCodes(codes, scales))         8 bits, by channel
                               ->   y = QuantizedMatmul(x, words, scales, biases)    4 bits, by block
                               ->   y = Linear(x, LookUp(codes, table))              a palette

y = Gather(table, indices)     ->   y = Gather(codes, indices) * Gather(scales, indices)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from converters.dtypes import is_float
from converters.graph import Builder, Graph, Value
from converters.pattern import Match, Rule, const, op, rewrite, var
from converters.quantization.codes import block_codes, channel_codes, palette

LEAST = 4096  # elements; smaller weights are not worth the work of unpacking them
GROUPS = (32, 16)  # elements of a block: the first that divides a row

Replace = Callable[[Builder, Match], Value]


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


def in_channels(graph: Graph, codes: Codes) -> Graph:
    """Weights with 8 bits each, a scale for each output."""

    def dense(b: Builder, m: Match) -> Value:
        return b("ScaleCodes", *channels_of(b, m["w"], codes))

    return rewrite(graph, _readers(dense, codes.refusal))


def channels_of(b: Builder, weight: Value, codes: Codes) -> tuple[Value, Value]:
    """8-bit codes, and scales with a unit axis for all but the first."""

    def make(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        whole, scales = channel_codes(array)
        return whole, scales.reshape(-1, *(1,) * (array.ndim - 1)).astype(array.dtype)

    whole, scales = codes.of(b, weight, "channels", make)
    return whole, scales


def embeddings(codes: Codes) -> tuple[Rule, ...]:
    """Rows of a table are picked as codes."""

    def pick(b: Builder, m: Match) -> Value:
        whole, scales = channels_of(b, m["w"], codes)
        rows, factors = (b("Gather", part, m["i"], axis=0) for part in (whole, scales))
        return b("Multiply", b("AsType", rows, dtype=m["w"].dtype), factors)

    return (Rule("embedding", op("Gather", const("w"), var("i"), axis=0), pick, codes.refusal),)


def in_blocks(graph: Graph, codes: Codes) -> Graph:
    """Matrices with 4 bits for each weight, a scale and a zero for each block; what has no whole blocks as
    `in_channels`."""

    def dense(b: Builder, m: Match) -> Value:
        return b("Dequantize", *blocks_of(b, m["w"], codes), **_attrs(m["w"]))

    return in_channels(rewrite(graph, _readers(dense, _in_whole_blocks(codes))), codes)


def in_packed_blocks(graph: Graph, codes: Codes) -> Graph:
    """The same as `nn.quantize` leaves it: products and embeddings that read the packed words themselves."""

    def product(b: Builder, m: Match) -> Value:
        packed = blocks_of(b, m["w"], codes)
        y = b("QuantizedMatmul", m["x"], *packed, **_attrs(m["w"]), transpose=True)
        return b("Add", y, m["bias"]) if "bias" in m.bound else y

    def pick(b: Builder, m: Match) -> Value:
        rows = (b("Gather", part, m["i"], axis=0) for part in blocks_of(b, m["w"], codes))
        return b("Dequantize", *rows, **_attrs(m["w"]))

    check = _in_whole_blocks(codes)
    rules = (
        Rule("blocks", op("Linear", var("x"), const("w")), product, check),
        Rule("blocks", op("Linear", var("x"), const("w"), var("bias")), product, check),
        Rule("blocks-embedding", op("Gather", const("w"), var("i"), axis=0), pick, check),
    )
    return in_channels(rewrite(graph, (*rules, *embeddings(codes))), codes)


def blocks_of(b: Builder, weight: Value, codes: Codes) -> tuple[Value, ...]:
    """Words, scales and biases as MLX packs them."""
    group = _attrs(weight)["group_size"]

    def make(array: np.ndarray) -> tuple[np.ndarray, ...]:
        words, *rest = block_codes(array, group)
        return words, *(part.astype(array.dtype) for part in rest)

    return codes.of(b, weight, "blocks", make)


def _in_whole_blocks(codes: Codes) -> Callable[[Match], str | None]:
    return lambda m: codes.refusal(m) if _group(m["w"]) else "no whole blocks"


def _attrs(weight: Value) -> dict[str, Any]:
    return {"group_size": _group(weight), "bits": 4}


def _group(weight: Value) -> int | None:
    last = weight.shape[-1]
    if len(weight.shape) != 2 or not isinstance(last, int):
        return None
    return next((group for group in GROUPS if last % group == 0), None)


def in_palette(bits: int) -> Callable[[Graph, Codes], Graph]:
    """Weights as indices into a table of 2**bits numbers each."""

    def compressed(graph: Graph, codes: Codes) -> Graph:
        def dense(b: Builder, m: Match) -> Value:
            return b("LookUp", *codes.of(b, m["w"], f"palette{bits}", lambda array: palette(array, bits)))

        return rewrite(graph, _readers(dense, codes.refusal))

    return compressed


def _readers(dense: Replace, check: Callable[[Match], str | None]) -> tuple[Rule, ...]:
    """The weight of a layer, or the table of an embedding, is replaced by what `dense` makes of it."""

    def layer(b: Builder, m: Match) -> Value:
        x, _, *bias = m.root.inputs
        return b(m.root.op, x, dense(b, m), *bias, **m.root.attrs)

    def pick(b: Builder, m: Match) -> Value:
        return b("Gather", dense(b, m), m["i"], axis=0)

    return (
        Rule("codes", op("Linear|Convolution", var("x"), const("w")), layer, check),
        Rule("codes", op("Linear|Convolution", var("x"), const("w"), var("bias")), layer, check),
        Rule("codes", op("Gather", const("w"), var("i"), axis=0), pick, check),
    )
