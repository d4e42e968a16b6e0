"""Recognising a causal mask by what it computes, not by how it is spelled.

A mask made of positions and sizes alone (arange, comparisons, tril, constants) is computed at several
sizes, larger than every number in it, so that a sliding window shows as one. Equal everywhere to "query i
sees the keys up to its own position", it is causal.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.graph import Node, Value
from converters.ops import OPS
from converters.pattern import Match
from converters.sizes import AnySize, sizes_in, substitute

MOST_NODES = 40
LARGEST = 1024
LENGTHS = 1e4  # a constant at least as large hides, and is no length
HIDDEN = {"float16": -3e4, "float32": -1e9, "bfloat16": -1e9}  # no score is as large


def is_causal(m: Match, mask: Value, queries: AnySize, keys: AnySize) -> str | None:
    """None where the mask (..., L, S) hides exactly the future of the last L of S positions, else why not."""
    if any(size != 1 for size in mask.shape[:-2]) or mask.shape[-2:] != (queries, keys):
        return "the mask differs within the batch, or is broadcast"
    if mask in m.graph.constants:
        return None if _hides_future(m.graph.constants[mask]) else "the mask hides something else"
    key = ("causal", mask)
    if key not in m.graph.facts:
        m.graph.facts[key] = _computed(m, mask)
    return m.graph.facts[key]


def _hides_future(mask: np.ndarray) -> bool:
    queries, keys = mask.shape[-2:]
    mask = mask.reshape(queries, keys)
    seen = np.tri(queries, keys, keys - queries, dtype=bool)
    if mask.dtype == bool:
        return bool(np.array_equal(mask, seen))
    hidden = HIDDEN.get(mask.dtype.name)
    return hidden is not None and bool(np.all(np.where(seen, mask == 0, mask <= hidden)))


def _computed(m: Match, mask: Value) -> str | None:
    nodes = _made_of_positions(m, mask)
    if nodes is None:
        return "the mask is not made of positions alone"
    names = {name for node in nodes for size in _sizes(node) for name in size.names()}
    largest = max((_largest(m, node) for node in nodes), default=0)
    if largest > LARGEST:
        return "numbers in the mask are too large to try larger sizes"
    for start in (3, largest + 3):
        for step in (0, 1):
            sizes = _trial(m, sorted(names), start + step)
            if not _hides_future(_evaluate(m, nodes, mask, sizes)):
                return "the mask hides something else"
    return None


def _made_of_positions(m: Match, mask: Value) -> list[Node] | None:
    """The nodes that compute the mask, in order; None where an input takes part."""
    found: dict[int, Node] = {}
    front = [mask]
    while front:
        value = front.pop()
        if value in m.graph.constants:
            continue
        node = m.graph.producers.get(value)
        if node is None or len(found) > MOST_NODES:
            return None
        if id(node) not in found:
            found[id(node)] = node
            front += node.inputs
    order = {id(node): index for index, node in enumerate(m.graph.nodes)}
    return sorted(found.values(), key=lambda node: order[id(node)])


def _sizes(node: Node) -> list[Any]:
    return [size for attr in node.attrs.values() for size in sizes_in(attr)]


def _largest(m: Match, node: Node) -> int:
    """The largest number in constants and attributes that may stand for a length."""
    numbers = [abs(term) for size in _sizes(node) for _, term in size.terms]
    for attr in node.attrs.values():
        numbers += [
            abs(part)
            for part in (attr if isinstance(attr, tuple) else (attr,))
            if isinstance(part, int | float)
        ]
    for value in node.inputs:
        array = m.graph.constants.get(value)
        if array is not None and array.size:
            wide = np.abs(array.astype(np.float64))
            numbers += [wide.max(initial=0, where=wide < LENGTHS)]
    return int(max(numbers, default=0))


def _trial(m: Match, names: list[str], start: int) -> dict[str, int]:
    """Different sizes for all names, each from `start` on and within its bounds' multiple."""
    sizes, dims = {}, m.graph.source.dims
    for index, name in enumerate(names):
        multiple = dims[name].multiple if name in dims else 1
        sizes[name] = -(-(start + 2 * index) // multiple) * multiple
    return sizes


def _evaluate(m: Match, nodes: list[Node], mask: Value, sizes: dict[str, int]) -> np.ndarray:
    computed: dict[Value, Any] = {}
    for node in nodes:
        operands = [computed[v] if v in computed else m.graph.constants[v] for v in node.inputs]
        attrs = {name: substitute(attr, sizes) for name, attr in node.attrs.items()}
        computed.update(zip(node.outputs, OPS[node.op].evaluate(operands, attrs), strict=True))
    return computed[mask]
