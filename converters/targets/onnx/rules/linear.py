"""Matrix products. A linear layer on a matrix is Gemm, on higher ranks MatMul and Add."""

from __future__ import annotations

import numpy as np

from converters.graph import Node
from converters.targets.onnx.rules.lowering import Lowering, renamed
from converters.targets.onnx.writer import Writer


def _linear(w: Writer, node: Node) -> None:
    x, weight, *bias = node.inputs
    if len(x.shape) == 2:
        w.emit("Gemm", node, transB=1)
        return
    name = w.name(weight)
    if weight in w.graph.constants:
        transposed = f"{name}.T" if f"{name}.T" in w.initializers else w.unique(f"{name}.T")
        w.initializers[transposed] = np.transpose(w.graph.constants[weight])
    else:
        transposed = w.node("Transpose", name, perm=[1, 0])
    if not bias:
        w.give("MatMul", [w.name(x), transposed], [w.name(node.output)])
        return
    product = w.node("MatMul", w.name(x), transposed)
    w.give("Add", [product, w.name(bias[0])], [w.name(node.output)])


RULES = {"Matmul": renamed("MatMul"), "Linear": Lowering(_linear)}
