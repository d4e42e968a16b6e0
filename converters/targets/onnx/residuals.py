"""A residual connection and the norm behind it are one op of onnxruntime, which reads the stream once.

sum = Add(x, y)
n = RMSNorm(sum, weight)       ->      n, sum = SkipSimplifiedLayerNormalization(x, y, weight)
"""

from __future__ import annotations

from collections.abc import Mapping

from converters.graph import Graph, Node
from converters.targets.onnx.writer import Writer


def joined(graph: Graph) -> Mapping[Node, Node]:
    """The norm that is computed with each sum. Only float32 weights that are constants are taken, and x, y of
    one shape."""
    found: dict[Node, Node] = {}
    for norm in graph.nodes:
        if norm.op != "RMSNorm" or len(norm.inputs) != 2 or norm.inputs[1] not in graph.constants:
            continue
        stream = norm.inputs[0]
        total = graph.producers.get(stream)
        if total is None or total.op != "Add" or total in found or len(stream.shape) != 3:
            continue
        if all(value.shape == stream.shape for value in total.inputs) and stream.dtype == "float32":
            found[total] = norm
    return found


def emit(w: Writer, total: Node, norm: Node) -> None:
    """Both at the place of the sum."""
    names = [w.name(value) for value in (*total.inputs, norm.inputs[1])]
    outputs = [w.name(norm.output), "", "", w.name(total.output)]
    epsilon = float(norm.attrs["eps"])
    w.give("SkipSimplifiedLayerNormalization", names, outputs, domain="com.microsoft", epsilon=epsilon)


__all__ = ["emit", "joined"]
