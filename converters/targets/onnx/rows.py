"""Linear layers become Gemm: the axes before the last are one, the rows of a matrix.

    y = Linear(x, w, b)  of (B, L, K)      ->      r = Reshape(x, shape=(B*L, K))
                                                   s = Linear(r, w, b)
                                                   y = Reshape(s, shape=(B, L, N))

What treats rows alike (elementwise ops, norms of the last axis) is done on the matrix too, so that a reshape
is left only before an op that needs the axes apart. Runtimes fuse MatMul and Add themselves only where
every size is known. Without a bias MatMul is as good, and faster for a single row, but wants the weight
transposed: an embedding that is also the last layer is a Gemm too, so that the file holds it once.
"""

from __future__ import annotations

from converters.graph import Builder, Graph, Value
from converters.ops.activation import ACTIVATIONS
from converters.ops.elementwise import ELEMENTWISE
from converters.passes.reshapes import RULES as RESHAPES
from converters.pattern import Match, Rule, op, rewrite
from converters.sizes import Shape, product

NORMS = {"LayerNorm", "RMSNorm"}
ROW_BY_ROW = "|".join(sorted(ELEMENTWISE | set(ACTIVATIONS) | NORMS))


def in_rows(graph: Graph) -> Graph:
    """The graph with the rows of its linear layers in one axis."""
    if not any(node.op == "Linear" and len(node.inputs[0].shape) > 2 for node in graph.nodes):
        return graph
    return rewrite(graph, RULES)


def _check_linear(m: Match) -> str | None:
    x, weight, *bias = m.root.inputs
    if len(x.shape) < 3:
        return "a matrix already"
    return None if bias or m.graph.uses.get(weight, 0) > 1 else "MatMul does"


def _rows(shape: Shape) -> Shape:
    return (product(shape[:-1]), shape[-1])


def _linear(b: Builder, m: Match) -> Value:
    x, *weights = m.root.inputs
    rows = b("Reshape", x, shape=_rows(x.shape))
    return b("Reshape", b("Linear", rows, *weights), shape=m.root.output.shape)


def _matrix(m: Match, value: Value) -> Value | None:
    """The matrix of which `value` is a reshape that keeps the last axis."""
    node = m.graph.producers.get(value)
    if node is None or node.op != "Reshape" or len(value.shape) < 3:
        return None
    matrix = node.inputs[0]
    return matrix if matrix.shape == _rows(value.shape) else None


def _is_row(shape: Shape) -> bool:
    """Whether every row meets the same elements."""
    return all(size == 1 for size in shape[:-1])


def _check(m: Match) -> str | None:
    shape, inputs = m.root.output.shape, m.root.inputs
    if not any(value.shape == shape and _matrix(m, value) is not None for value in inputs):
        return "no operand is a matrix with its rows apart"
    others = inputs[1:] if m.root.op in NORMS else [value for value in inputs if value.shape != shape]
    return None if all(_is_row(value.shape) for value in others) else "an operand differs from row to row"


def _on_matrix(b: Builder, m: Match) -> Value:
    shape = m.root.output.shape
    operands = []
    for value in m.root.inputs:
        matrix = _matrix(m, value)
        if value.shape == shape:
            operands.append(matrix if matrix is not None else b("Reshape", value, shape=_rows(shape)))
        else:
            operands.append(b("Reshape", value, shape=value.shape[-1:]) if len(value.shape) > 2 else value)
    return b("Reshape", b(m.root.op, *operands, **m.root.attrs), shape=shape)


RULES = (
    Rule(
        "linear-of-rows",
        op("Linear"),
        _linear,
        _check_linear,
    ),
    Rule("row-by-row", op(ROW_BY_ROW), _on_matrix, _check),
    *RESHAPES,
)
