"""Arrays without elements are constants: nothing computes them, and runtimes differ in what they give.

a = Slice(x, (0:2, 3:3))                        a = constant of shape (2, 0)
y = Tanh(a)                             ->      y = constant of shape (2, 0)
z = Reduce(y, kind=sum, axes=(1,))              z = constant: 0, 0 (a broadcast 0 where its length is free)
c = Concatenate(a, b, y)                        c = Reshape(b)
d = ScatterAxis(b, indices, a)                  d = Reshape(b)
"""

from __future__ import annotations

import numpy as np

from converters.dtypes import numpy_dtype
from converters.graph import Graph, Node, Value
from converters.ops import OPS
from converters.sizes import Shape, is_static

WRITES = {"SliceUpdate": 1, "DynamicSliceUpdate": 1, "ScatterAxis": 1, "ScatterND": 1}  # the operand written


def make_constant(graph: Graph) -> Graph:
    """The graph with a constant in place of every value that has an axis of size 0 at any dimensions, and of
    what such a value is reduced to: a runtime gave whatever its memory held."""
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        if node.op == "Reduce" and 0 in node.inputs[0].shape:
            empty = np.zeros(_least(node.inputs[0].shape), numpy_dtype(node.inputs[0].dtype))
            arrays = OPS["Reduce"].evaluate([empty], node.attrs)
        elif node.outputs and all(0 in value.shape for value in node.outputs):
            arrays = [np.zeros(_least(value.shape), numpy_dtype(value.dtype)) for value in node.outputs]
        else:
            nodes.append(_without_empty(node))
            continue
        for value, array in zip(node.outputs, arrays, strict=True):
            if is_static(value.shape):
                constants[value] = array
            else:
                constant = Value("constant", array.shape, value.dtype)
                constants[constant] = array
                nodes.append(Node("Broadcast", (constant,), (value,), {"shape": value.shape}))
    return graph.replace(nodes=tuple(nodes), constants=constants)


def _least(shape: Shape) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else 1 for size in shape)


def _without_empty(node: Node) -> Node:
    """A concatenation of what has elements; of one alone, the same array. What nothing is written into."""
    if node.op in WRITES and 0 in node.inputs[WRITES[node.op]].shape:
        return Node("Reshape", node.inputs[:1], node.outputs, {"shape": node.inputs[0].shape})
    if node.op != "Concatenate":
        return node
    kept = tuple(value for value in node.inputs if 0 not in value.shape)
    if len(kept) == 1:
        return Node("Reshape", kept, node.outputs, {"shape": kept[0].shape})
    return Node(node.op, kept, node.outputs, node.attrs)
