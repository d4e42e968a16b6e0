"""What the Neural Engine wants beyond the layout: fixed sizes, at most five axes, SiLU spelled out.

From the rules that Apple publishes with its Core AI models.
"""

from __future__ import annotations

from converters.errors import ConversionError, UnsupportedOp
from converters.graph import Graph
from converters.pattern import Rule, op
from converters.sizes import is_static

AXES = 5


def refuse_elsewhere(graph: Graph) -> None:
    """Raises where the graph cannot run on the Neural Engine.

    Raises:
        ConversionError: a size is free. UnsupportedOp: lists what has more than five axes.
    """
    free = sorted({str(s) for v in graph.inputs for s in v.shape if not is_static((s,))})
    if free:
        raise ConversionError(
            f'layout="neural-engine" takes fixed sizes in Core AI, and {", ".join(free)} is free',
            hint="capture one function for each size, and convert them together",
        )
    wide = {
        f"{node.op} ({len(value.shape)} axes)": ""
        for node in graph.nodes
        for value in (*node.inputs, *node.outputs)
        if len(value.shape) > AXES
    }
    if wide:
        raise UnsupportedOp.listing(wide)


SPELLED = (
    Rule("silu", op("SiLU"), lambda b, m: b("Multiply", m.root.inputs[0], b("Sigmoid", m.root.inputs[0]))),
)

__all__ = ["SPELLED", "refuse_elsewhere"]
