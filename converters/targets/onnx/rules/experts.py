"""Products with a matrix chosen for each row, as mixtures of experts need them.

    y = GatherMM(x, weights, left, right):  y[r] = x[left[r]] @ weights[right[r]]

    If(there are more rows than matrices)
        for each e:  y[rows of e] = x[left[rows of e]] @ weights[e]         a prompt: each is read once
    else
        y = MatMul(Gather(x, left), Gather(weights, right))                 a step: few matrices are read

The second alone would copy a matrix for each row: gigabytes for a prompt of a few hundred tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import GraphProto, TensorProto, helper

from converters.graph import Node
from converters.sizes import is_static, product
from converters.targets.onnx.rules.lowering import Lowering
from converters.targets.onnx.writer import ELEMENT_TYPES, Writer

Choose = Callable[[str], str]  # the name of indices to the name of (…, K, N), the matrices chosen


def _refuse(opset: int, node: Node) -> str | None:
    x, weights, *_ = node.inputs
    rows = product(node.output.shape[:-2])
    if len(weights.shape) != 3 or not is_static((*x.shape[-2:], *weights.shape)):
        return "sizes of a matrix vary"
    if isinstance(rows, int) and rows <= int(weights.shape[0]):  # type: ignore[arg-type]
        return "no more rows than matrices"
    return None


def _refuse_quantized(opset: int, node: Node) -> str | None:
    if not node.attrs["transpose"] or 32 % node.attrs["bits"]:
        return "codes lie across words, or the matrices are not transposed"
    return "Unsqueeze of opset 17 and bits" if opset < 18 else _refuse(opset, node)


def _plain(w: Writer, node: Node) -> None:
    weights = w.name(node.inputs[1])
    _chosen(w, node, lambda indices: w.node("Gather", weights, indices, axis=0))


def _quantized(w: Writer, node: Node) -> None:
    bits, group = node.attrs["bits"], node.attrs["group_size"]
    parts = [w.name(value) for value in node.inputs[1:4]]
    scales = node.inputs[2]
    outputs, groups = scales.shape[1:]
    shifts = w.constant(np.arange(0, 32, bits).astype(np.uint32))
    mask = w.constant(np.array(2**bits - 1, np.uint32))
    last, codes_shape = w.int64([-1]), w.int64([-1, int(outputs), int(groups), group])  # type: ignore[arg-type]
    matrix = w.int64([-1, int(outputs), int(groups) * group])  # type: ignore[arg-type]

    def choose(indices: str) -> str:
        words, scale, bias = (w.node("Gather", part, indices, axis=0) for part in parts)
        codes = w.node("BitShift", w.node("Unsqueeze", words, last), shifts, direction="RIGHT")
        codes = w.node("Cast", w.node("BitwiseAnd", codes, mask), to=ELEMENT_TYPES[scales.dtype])
        wide = w.node("Mul", w.node("Reshape", codes, codes_shape), w.node("Unsqueeze", scale, last))
        wide = w.node("Add", wide, w.node("Unsqueeze", bias, last))
        return w.node("Transpose", w.node("Reshape", wide, matrix), perm=[0, 2, 1])

    _chosen(w, node, choose)


def _chosen(w: Writer, node: Node, choose: Choose) -> None:
    x, weights, *_, left, right = node.inputs
    leading, (m, n) = node.output.shape[:-2], node.output.shape[-2:]
    count, k = int(weights.shape[0]), int(x.shape[-1])  # type: ignore[arg-type]
    last, zero = w.int64([-1]), w.int64([0])
    flat = w.node("Reshape", w.name(x), w.int64([-1, int(m), k]))  # type: ignore[arg-type]
    indices = []
    for value in (left, right):
        name = w.name(value)
        if value.shape != leading:
            name = w.node("Expand", name, w.shape(leading))
        indices.append(w.node("Reshape", name, last))
    rows = w.size(product(leading))
    shape = w.node("Concat", rows, w.int64([int(m), int(n)]), name="shape", axis=0)  # type: ignore[arg-type]
    many = w.node("Squeeze", w.node("Greater", rows, w.int64([count])), zero)
    element = ELEMENT_TYPES[node.output.dtype]

    def each_row() -> str:
        return w.node("MatMul", w.node("Gather", flat, indices[0], axis=0), choose(indices[1]))

    def each_matrix() -> str:
        start = w.node("Expand", w.constant(np.zeros(1, np.float32), node.output.dtype), shape)
        trips, go = w.constant(np.array(count, np.int64)), w.constant(np.array(True))
        body = _body(w, (flat, *indices), choose, element, [None, m, n])
        return w.node("Loop", trips, go, start, body=body)

    loop, gathers = (_branch(w, "rows", emit, element, [None, m, n]) for emit in (each_matrix, each_row))
    result = w.node("If", many, then_branch=loop, else_branch=gathers)
    w.give("Reshape", [result, w.shape(node.output.shape)], [w.name(node.output)])


def _branch(w: Writer, name: str, emit: Callable[[], str], element: int, shape: list) -> GraphProto:
    """What `emit` adds, as a graph of its own with one output."""
    outer, w.nodes = w.nodes, []
    result = emit()
    nodes, w.nodes = w.nodes, outer
    output = helper.make_tensor_value_info(result, element, shape)
    return GraphProto(node=nodes, name=w.unique(name), output=[output])


def _body(w: Writer, operands: tuple[str, str, str], choose: Choose, element: int, shape: list) -> GraphProto:
    """One turn of the loop: the rows of one matrix are computed and put in their places."""
    flat, left, right = operands
    turn, go, before = (w.unique(name) for name in ("turn", "go", "rows"))
    places: list[str] = []

    def emit() -> str:
        one = w.node("Unsqueeze", turn, w.int64([0]))
        same = w.node("Equal", w.node("Cast", right, to=TensorProto.INT64), one)
        place = w.node("Transpose", w.node("NonZero", same), perm=[1, 0])
        row = w.node("Gather", left, w.node("Squeeze", place, w.int64([1])), axis=0)
        y = w.node("MatMul", w.node("Gather", flat, row, axis=0), choose(one))
        places.append(w.node("Identity", go))
        return w.node("ScatterND", before, place, y)

    graph = _branch(w, "body", emit, element, shape)
    inputs = [(turn, TensorProto.INT64, []), (go, TensorProto.BOOL, []), (before, element, shape)]
    graph.input.extend(helper.make_tensor_value_info(*item) for item in inputs)
    graph.output.insert(0, helper.make_tensor_value_info(places[0], TensorProto.BOOL, []))
    return graph


RULES = {"GatherMM": Lowering(_plain, _refuse), "GatherQMM": Lowering(_quantized, _refuse_quantized)}
