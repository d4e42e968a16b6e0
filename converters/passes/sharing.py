"""Weights that are equal are one weight.

    y = Linear(x, embedding.weight)                 y = Linear(x, embedding.weight)
    z = Linear(y, head.weight)              ->      z = Linear(y, embedding.weight)

Named vectors stay apart: sharing them saves nothing, and before training all of a kind are equal. Only arrays
of one shape and type whose samples agree are compared in full.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Graph, Node, Value

SAMPLE = 64  # elements that tell most different weights apart


def share(graph: Graph) -> Graph:
    """The graph with the first of equal constants in place of all of them."""
    groups: dict[object, list[Value]] = {}
    same: dict[Value, Value] = {}
    for value, array in graph.constants.items():
        if array.ndim < 2 and value.name != "constant":
            continue
        step = max(1, array.size // SAMPLE)
        sample = np.ascontiguousarray(array.ravel(order="K")[::step][:SAMPLE])
        known = groups.setdefault((value.shape, value.dtype, array.strides, sample.tobytes()), [])
        twin = next((other for other in known if _equal(graph.constants[other], array)), None)
        if twin is None:
            known.append(value)
        else:
            same[value] = twin
    if not same:
        return graph
    nodes = [
        Node(n.op, tuple(same.get(v, v) for v in n.inputs), n.outputs, n.attrs)
        if same.keys() & set(n.inputs)
        else n
        for n in graph.nodes
    ]
    constants = {value: array for value, array in graph.constants.items() if value not in same}
    outputs = {name: same.get(value, value) for name, value in graph.outputs.items()}
    return graph.replace(nodes=tuple(nodes), constants=constants, outputs=outputs)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit, so that nan equals nan and -0 does not equal 0."""
    if a.__array_interface__["data"] == b.__array_interface__["data"]:
        return True
    return a.tobytes() == b.tobytes() if a.size <= SAMPLE else np.array_equal(_bits(a), _bits(b))


def _bits(array: np.ndarray) -> np.ndarray:
    return array.view(f"u{array.itemsize}") if array.dtype.kind != "c" else array.view(np.uint64)
