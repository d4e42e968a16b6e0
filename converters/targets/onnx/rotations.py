"""Rotary positions inside onnxruntime's attention, which also takes queries, keys and values unsplit.

    q, k, v = Split(x)
    y, ... = CachedAttention(RoPE(q, cos, sin), RoPE(k, cos, sin), v, past_k, past_v)
                                 ->      y, ... = GroupQueryAttention(x, past_k, past_v, cosines, sines)

Its rotation is that of the place in the cache, so this holds where the tables say the same: what computes
them is run at several sizes, and must give rows P to P + L of one table. Where they depend on an input, such
as positions that a caller gives, or where no longest text is known, the graph stays as it is; also where
neighbours make the pairs, which onnxruntime's kernel for browsers' GPUs refuses.

B: batch, L: tokens of this call, P: tokens before it, D: size of a head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.graph import Graph, Node, Value
from converters.ops import OPS
from converters.sizes import AnySize, Size, sizes_in, substitute

MOST_BYTES = 2**24  # of one table; with longer ones the file would grow more than it becomes faster
MOST_NODES = 40


Tables = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Operands:
    """What onnxruntime's attention reads in place of the queries, keys and values.

    Attributes:
        values: these three, not yet rotated, or the one value that was split into them.
        tables: cosines and sines (T, D / 2) by place in the cache; None where nothing is rotated.
    """

    values: tuple[Value, ...]
    tables: Tables | None = None


def operands(graph: Graph, attentions: Iterable[Node]) -> dict[Node, Operands]:
    """What each of these (CachedAttentions with heads in one axis) can start from."""
    known: dict[Value, np.ndarray | None] = {}
    return {node: _operands(graph, node, known) for node in attentions}


def _operands(graph: Graph, attention: Node, known: dict[Value, np.ndarray | None]) -> Operands:
    q, k, v = attention.inputs[:3]
    tables = _tables(graph, attention, known)
    if tables is None:
        return Operands(_together(graph, (q, k, v)))
    rotation = graph.producers[q]
    values = (rotation.inputs[0], graph.producers[k].inputs[0], v)
    return Operands(_together(graph, values), tables)


def needed(graph: Graph, read: Mapping[Node, tuple[Value, ...]]) -> set[Node]:
    """The nodes that the outputs need, where those in `read` read these values and no others."""
    wanted, nodes = set(graph.outputs.values()), set()
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.outputs):
            nodes.add(node)
            wanted.update(read.get(node, node.inputs))
    return nodes


def _together(graph: Graph, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """The one value of which these are all parts, in order, or else these."""
    split = graph.producers.get(values[0])
    if split is None or split.op != "Split" or split.outputs != values:
        return values
    return split.inputs if split.attrs["axis"] == len(values[0].shape) - 1 else values


def _tables(graph: Graph, attention: Node, known: dict[Value, np.ndarray | None]) -> Tables | None:
    q, k = (graph.producers.get(value) for value in attention.inputs[:2])
    if q is None or k is None or (q.op, k.op) != ("RoPE", "RoPE") or q.inputs[1:] != k.inputs[1:]:
        return None
    heads, width = attention.attrs["heads"], attention.inputs[3].shape[3]
    whole = isinstance(width, int) and width % 16 == 0 and 2 * q.inputs[1].shape[-1] == width
    if not whole or heads != (q.attrs["heads"], k.attrs["heads"]):
        return None
    if q.attrs["traditional"] or k.attrs["traditional"]:
        return None
    length, past = attention.inputs[0].shape[1], attention.inputs[3].shape[2]
    for table in q.inputs[1:]:
        if table not in known:
            known[table] = _table(graph, table, past, length)
    cos, sin = (known[table] for table in q.inputs[1:])
    return None if cos is None or sin is None else (cos, sin)


def _table(graph: Graph, value: Value, past: AnySize, length: AnySize) -> np.ndarray | None:
    """(T, D / 2), of which `value` is rows P to P + L at all sizes; None where it is not."""
    names = [str(size) for size in (past, length) if isinstance(size, Size)]
    if len(names) != 2 or not set(names) <= set(graph.dims) or value.shape[-2:-1] != (length,):
        return None
    highest = [graph.dims[name].high for name in names]
    nodes = _made_of_sizes(graph, value, set(names))
    if nodes is None or None in highest or any(size != 1 for size in value.shape[:-2]):
        return None
    rows = max(highest[0] + 1, highest[1])  # type: ignore[operator]
    width = int(value.shape[-1])  # type: ignore[arg-type]
    if rows < 4 or 4 * rows * width > MOST_BYTES or value.dtype != "float32":
        return None

    def computed(before: int, count: int) -> np.ndarray:
        sizes = dict(zip(names, (before, count), strict=True))
        return _evaluate(graph, nodes, value, sizes).reshape(count, width)

    table = computed(0, rows)
    trials = ((0, 2), (1, 1), (2, rows - 3), (rows // 2, rows - rows // 2), (rows - 1, 1))
    same = all(np.allclose(computed(p, n), table[p : p + n], rtol=0, atol=1e-6) for p, n in trials if n > 0)
    return table if same else None


def _made_of_sizes(graph: Graph, value: Value, names: set[str]) -> list[Node] | None:
    """The nodes that compute a value from these sizes alone, in order; None where more takes part."""
    found: set[Node] = set()
    front = [value]
    while front:
        current = front.pop()
        if current in graph.constants:
            continue
        node = graph.producers.get(current)
        if node is None or len(found) > MOST_NODES:
            return None
        if not {name for attr in node.attrs.values() for s in sizes_in(attr) for name in s.names()} <= names:
            return None
        if node not in found:
            found.add(node)
            front += node.inputs
    return [node for node in graph.nodes if node in found]


def _evaluate(graph: Graph, nodes: list[Node], value: Value, sizes: dict[str, int]) -> np.ndarray:
    known: dict[Value, Any] = {}
    for node in nodes:
        arrays = [known[v] if v in known else graph.constants[v] for v in node.inputs]
        attrs = {name: substitute(attr, sizes) for name, attr in node.attrs.items()}
        known.update(zip(node.outputs, OPS[node.op].evaluate(arrays, attrs), strict=True))
    return known[value]


__all__ = ["Operands", "needed", "operands"]
