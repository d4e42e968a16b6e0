"""Linear layers in 8-bit integers, the range of their input found each time they run.

y = Linear(x, weight, bias)    ->   y = DynamicLinear(x, codes, scales, bias)

As in Zafrir et al. 2019 ("Q8BERT"): a scale for each output, one for the whole input.
"""

from __future__ import annotations

from converters.graph import Builder, Graph, Value
from converters.pattern import Match, Rule, const, op, rewrite, var
from converters.quantization.weights import Codes, channels_of, embeddings


def with_dynamic_layers(graph: Graph, codes: Codes) -> Graph:
    """Linear layers as DynamicLinear, embeddings as 8-bit codes."""

    def replace(b: Builder, m: Match) -> Value:
        x, weight, *bias = m.root.inputs
        whole, scales = channels_of(b, weight, codes)
        return b("DynamicLinear", x, whole, b("Reshape", scales, shape=scales.shape[:1]), *bias)

    rules = (
        Rule("dynamic", op("Linear", var("x"), const("w")), replace, codes.refusal),
        Rule("dynamic", op("Linear", var("x"), const("w"), var("bias")), replace, codes.refusal),
    )
    return rewrite(graph, (*rules, *embeddings(codes)))
