"""Preparing a Graph for a target: what the target has no rule for is expanded into simpler ops, or refused,
all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from converters.errors import UnsupportedOp
from converters.graph import Builder, Graph, Node, Value
from converters.ops import OPS
from converters.pattern import Rewriter, without_dead

Refusal = Callable[[Node, Mapping[Value, np.ndarray]], "str | None"]


def legalize(graph: Graph, refusal: Refusal) -> Graph:
    """The graph in ops that the target takes.

    Args:
        refusal: node and the constants to why the target has no rule for it, or None where it has.

    Raises:
        UnsupportedOp: lists every op that has neither a rule nor an expansion, with the weight nearest to it.
    """
    missing: dict[str, str] = {}
    rewriter = Rewriter(graph)

    def add(node: Node) -> tuple[Value, ...]:
        folded = rewriter.fold(node)
        if folded is not None:
            return folded
        reason = refusal(node, rewriter.constants)
        if reason is None:
            return rewriter.emit(node)
        expand = OPS[node.op].expand
        b = Builder()
        result = None if expand is None else expand(b, *node.inputs, **node.attrs)
        if result is None:
            missing.setdefault(f"{node.op} ({reason})", nearest_weight(graph, node))
            return rewriter.emit(node)
        return adopt(b, node, result if isinstance(result, tuple) else (result,))

    def adopt(b: Builder, node: Node, results: tuple[Value, ...]) -> tuple[Value, ...]:
        rewriter.constants.update(b.constants)
        for inner in b.nodes:
            inputs = tuple(rewriter.resolve(value) for value in inner.inputs)
            outputs = add(Node(inner.op, inputs, inner.outputs, inner.attrs))
            rewriter.substitutes.update(
                (o, n) for o, n in zip(inner.outputs, outputs, strict=True) if o is not n
            )
        replaced = tuple(rewriter.resolve(value) for value in results)
        for old, new in zip(node.outputs, replaced, strict=True):
            assert str(old) == str(new), f"{node.op} expands from {old} to {new}"
            rewriter.substitutes[old] = new
        return replaced

    for node in graph.nodes:
        add(Node(node.op, tuple(rewriter.resolve(value) for value in node.inputs), node.outputs, node.attrs))
    if missing:
        raise UnsupportedOp.listing(missing)
    outputs = {name: rewriter.resolve(value) for name, value in graph.outputs.items()}
    return without_dead(graph, rewriter.nodes, rewriter.constants, outputs)


def nearest_weight(graph: Graph, node: Node) -> str:
    """The named constant that is the fewest operations upstream of `node`, or ""."""
    front, seen = list(node.inputs), set(node.inputs)
    while front:
        for value in front:
            if value in graph.constants and value.name != "constant":
                return value.name
        producers = [graph.producers[value] for value in front if value in graph.producers]
        front = [value for p in producers for value in p.inputs if value not in seen]
        seen.update(front)
    return ""
