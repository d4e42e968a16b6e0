"""Matrix products."""

from __future__ import annotations

import numpy as np

from converters.dtypes import numpy_dtype
from converters.graph import Node
from converters.ops.integer import STORED
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import Writer


def _matmul(w: Writer, node: Node) -> None:
    x, y = (w.ref(value) for value in node.inputs)
    w.emit("matmul", node, x=x, y=y, transpose_x=False, transpose_y=False)


def _linear(w: Writer, node: Node) -> None:
    x, weight, *bias = node.inputs
    producer = w.graph.producers.get(weight)
    if len(x.shape) <= 3 and (weight in w.graph.constants or (producer and producer.op in STORED)):
        added = w.ref(bias[0]) if bias else np.zeros(weight.shape[0], numpy_dtype(weight.dtype))  # type: ignore[arg-type]
        w.emit("linear", node, x=w.ref(x), weight=w.ref(weight), bias=added)
        return
    operands = {"x": w.ref(x), "y": w.ref(weight), "transpose_x": False, "transpose_y": True}
    if not bias:
        w.emit("matmul", node, **operands)
    else:
        product = w.op("matmul", node.output.shape, node.output.dtype, **operands)
        w.emit("add", node, x=product, y=w.ref(bias[0]))


def _channel_matmul(w: Writer, node: Node) -> None:
    values = [w.ref(value) for value in node.inputs]
    w.emit("einsum", node, values=values, equation="nchw,nwhu->nchu")


RULES = {"ChannelMatmul": Lowering(_channel_matmul), "Matmul": Lowering(_matmul), "Linear": Lowering(_linear)}
