"""Ops put the way Core ML has them, before what it lacks is expanded.

y = GatherQMM(x, words, ...)        ->      y = GatherMM(x, Dequantize(words, ...), ...)
"""

from __future__ import annotations

from converters.graph import Builder, Graph, Value
from converters.passes.reshapes import RULES as RESHAPES
from converters.pattern import Match, Rule, const, op, rewrite, var
from converters.targets.coreml import attention


def spelled(graph: Graph) -> Graph:
    """The graph in Core ML's forms of its ops."""
    return rewrite(graph, (*RULES, *attention.RULES, *RESHAPES))


BITWISE = "BitwiseAnd|BitwiseOr|BitwiseXor|BitwiseInvert|LeftShift|RightShift"


def _in_32_bits(b: Builder, m: Match) -> Value:
    """Of 64 bits Core ML keeps 32; what is shifted by more is lost, but for the sign."""
    narrow = [b("AsType", value, dtype="int32") for value in m.root.inputs]
    if m.root.op.endswith("Shift"):
        value, steps = narrow
        last, zero = b.constant(31, dtype="int32"), b.constant(0, dtype="int32")
        fits = b("LogicalAnd", b("GreaterEqual", steps, zero), b("LessEqual", steps, last))
        y = b(m.root.op, value, b("Select", fits, steps, last), **m.root.attrs)
        y = y if m.root.op == "RightShift" else b("Select", fits, y, zero)
    else:
        y = b(m.root.op, *narrow, **m.root.attrs)
    return b("AsType", y, dtype=m.root.output.dtype)


def _on_dense_experts(b: Builder, m: Match) -> Value:
    attrs = dict(m.root.attrs)
    transpose = attrs.pop("transpose")
    weight = b("Dequantize", m["words"], m["scales"], m["biases"], **attrs)
    if transpose:
        rank = len(weight.shape)
        weight = b("Transpose", weight, axes=(*range(rank - 2), rank - 1, rank - 2))
    return b("GatherMM", m["x"], weight, m["left"], m["right"])


RULES = (
    Rule(
        "bits",
        op(BITWISE),
        _in_32_bits,
        lambda m: None if m.root.output.dtype.endswith("64") else "32 bits or fewer",
    ),
    Rule(
        "nothing-replaced",
        op("SliceUpdate", var("x"), var("update")),
        lambda b, m: m["x"],
        lambda m: None if 0 in m["update"].shape else "something is replaced",
    ),
    Rule(
        "dense-experts",
        op(
            "GatherQMM",
            var("x"),
            const("words"),
            const("scales"),
            const("biases"),
            var("left"),
            var("right"),
        ),
        _on_dense_experts,
    ),
)
