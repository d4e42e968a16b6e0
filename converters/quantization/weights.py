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

from converters.graph import Builder, Graph, Value
from converters.pattern import Match, Rule, const, op, rewrite, var
from converters.quantization.codes import block_codes, palette
from converters.quantization.experts import EXPERTS, chosen_experts, dense_experts, packed_experts
from converters.quantization.store import Codes, channels_of, group_of

Replace = Callable[[Builder, Match], Value]


def in_channels(graph: Graph, codes: Codes, paired: bool = False) -> Graph:
    """Weights with 8 bits each, a scale for each output; `paired` as in `channel_codes`, for a runtime that
    multiplies the codes themselves."""

    def dense(b: Builder, m: Match) -> Value:
        return b("ScaleCodes", *channels_of(b, m["w"], codes, paired))

    return rewrite(graph, (*_readers(dense, codes.refusal), *dense_experts(codes, paired)))


def picked(codes: Codes) -> tuple[Rule, ...]:
    """Embeddings and experts of which only what is chosen is unpacked."""
    return (*embeddings(codes), *chosen_experts(codes))


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
    return in_channels(rewrite(graph, (*rules, *packed_experts(codes), *picked(codes))), codes, paired=True)


def blocks_of(b: Builder, weight: Value, codes: Codes) -> tuple[Value, ...]:
    """Words, scales and biases as MLX packs them."""
    group = _attrs(weight)["group_size"]

    def make(array: np.ndarray) -> tuple[np.ndarray, ...]:
        words, *rest = block_codes(array, group)
        return words, *(part.astype(array.dtype) for part in rest)

    return codes.of(b, weight, "blocks", make)


def _in_whole_blocks(codes: Codes) -> Callable[[Match], str | None]:
    def check(m: Match) -> str | None:
        whole = len(m["w"].shape) == 2 and group_of(m["w"].shape[1]) is not None
        return codes.refusal(m) if whole else "no whole blocks"

    return check


def _attrs(weight: Value) -> dict[str, Any]:
    return {"group_size": group_of(weight.shape[1]), "bits": 4}


def in_palette(bits: int) -> Callable[[Graph, Codes], Graph]:
    """Weights as indices into a table of 2**bits numbers each."""

    def compressed(graph: Graph, codes: Codes) -> Graph:
        def dense(b: Builder, m: Match) -> Value:
            return b("LookUp", *codes.of(b, m["w"], f"palette{bits}", lambda array: palette(array, bits)))

        def product(b: Builder, m: Match) -> Value:
            return b("GatherMM", m["x"], dense(b, m), m["left"], m["right"])

        return rewrite(
            graph, (*_readers(dense, codes.refusal), Rule("palette", EXPERTS, product, codes.refusal))
        )

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
