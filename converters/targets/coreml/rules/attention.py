"""Attention, one op since iOS 18."""

from __future__ import annotations

from math import isclose, sqrt

import numpy as np

from converters.dtypes import numpy_dtype
from converters.graph import Node
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import Writer


def _attention(w: Writer, node: Node) -> None:
    """Core ML divides the scores by sqrt(D); another scale is brought into the queries."""
    q, k, v, *masks = node.inputs
    query, width = w.ref(q), q.shape[-1]
    factor = node.attrs["scale"] * sqrt(width)  # type: ignore[arg-type]
    if not isclose(factor, 1, rel_tol=1e-6):
        number = np.array(factor, numpy_dtype(q.dtype))
        query = w.op("mul", q.shape, q.dtype, x=query, y=number)
    mask = {"attn_mask": w.ref(masks[0])} if masks else {}
    w.emit("scaled_dot_product_attention", node, query=query, key=w.ref(k), value=w.ref(v), **mask)


def _refuse(ios: int, node: Node) -> str | None:
    q, k, *_ = node.inputs
    if ios < 18:
        return "attention came with iOS 18"
    if node.attrs["sinks"] or node.attrs["causal"] or node.attrs["heads"]:
        return "attention sinks"
    if not isinstance(q.shape[-1], int) or q.shape[:2] != k.shape[:2]:
        return "batch or heads differ"
    return None


RULES = {"ScaledDotProductAttention": Lowering(_attention, _refuse)}
