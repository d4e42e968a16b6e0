"""The matrices of a mixture's experts as codes; only those of the chosen experts are unpacked.

y = GatherMM(x, w, left, right)   ->   y = Matmul(x[left], codes[right]) * scales[right]             8 bits
                                  ->   y = GatherQMM(x, words, scales, biases, left, right)          4 bits

E experts of K inputs and N outputs: w is (E, K, N).
"""

from __future__ import annotations

import numpy as np

from converters.graph import Builder, Value
from converters.ops.linear import gathered
from converters.pattern import Match, Rule, const, op, var
from converters.quantization.codes import block_codes, channel_codes
from converters.quantization.store import Codes, group_of

EXPERTS = op("GatherMM", var("x"), const("w"), var("left"), var("right"))


def experts_of(b: Builder, weight: Value, codes: Codes, paired: bool = True) -> tuple[Value, ...]:
    """8-bit codes (E, K, N), and scales (E, 1, N); `paired` as in `channel_codes`."""

    def make(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.ascontiguousarray(array.swapaxes(1, 2))  # (E, N, K)
        whole, scales = channel_codes(rows.reshape(-1, rows.shape[-1]), paired)
        shaped = scales.reshape(len(rows), 1, -1).astype(array.dtype)
        return np.ascontiguousarray(whole.reshape(rows.shape).swapaxes(1, 2)), shaped

    return codes.of(b, weight, "paired experts" if paired else "experts", make)


def chosen_experts(codes: Codes) -> tuple[Rule, ...]:
    """Products with 8-bit codes that are picked first."""

    def product(b: Builder, m: Match) -> Value:
        whole, scales = experts_of(b, m["w"], codes)
        picked, factors = (b("Gather", part, m["right"], axis=0) for part in (whole, scales))
        x = gathered(b, m["x"], m["left"])
        return b("Multiply", b("Matmul", x, b("AsType", picked, dtype=x.dtype)), factors)

    return (Rule("experts", EXPERTS, product, lambda m: _refusal(codes, m)),)


def packed_experts(codes: Codes) -> tuple[Rule, ...]:
    """Products with 4-bit blocks, as mlx-lm quantises them."""

    def product(b: Builder, m: Match) -> Value:
        group = group_of(m["w"].shape[1])

        def make(array: np.ndarray) -> tuple[np.ndarray, ...]:
            rows = np.ascontiguousarray(array.swapaxes(1, 2))
            parts = block_codes(rows.reshape(-1, rows.shape[-1]), group or 1)
            words, *rest = (part.reshape(*rows.shape[:2], -1) for part in parts)
            return words, *(part.astype(array.dtype) for part in rest)

        packed = codes.of(b, m["w"], "experts in blocks", make)
        attrs = {"group_size": group, "bits": 4, "transpose": True}
        return b("GatherQMM", m["x"], *packed, m["left"], m["right"], **attrs)

    def check(m: Match) -> str | None:
        return _refusal(codes, m) if group_of(m["w"].shape[1]) else "no whole blocks"

    return (Rule("packed-experts", EXPERTS, product, check),)


def dense_experts(codes: Codes, paired: bool) -> tuple[Rule, ...]:
    """Products with what 8-bit codes stand for, where the runtime unpacks weights by itself."""

    def product(b: Builder, m: Match) -> Value:
        dense = b("ScaleCodes", *experts_of(b, m["w"], codes, paired))
        return b("GatherMM", m["x"], dense, m["left"], m["right"])

    return (Rule("dense-experts", EXPERTS, product, lambda m: _refusal(codes, m)),)


def _refusal(codes: Codes, m: Match) -> str | None:
    return codes.refusal(m) if len(m["w"].shape) == 3 else "experts along several axes"
