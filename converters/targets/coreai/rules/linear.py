"""Matrix products. Core AI's optimiser drops a reshape in front of a product where the sizes fit without it,
also where that changes the matrices; a maximum with minus infinity keeps the two apart."""

from __future__ import annotations

import numpy as np

from converters.graph import Node, Value
from converters.targets.coreai.beta import Handle
from converters.targets.coreai.rules.lowering import Lowering
from converters.targets.coreai.writer import Writer, place


def _matmul(w: Writer, node: Node) -> None:
    x, weight = node.inputs
    turned = _stored_turned(w, weight)
    if turned is not None:
        rank = len(x.shape)
        order = (*range(rank - 2), rank - 1, rank - 2)
        y = w.op("BroadcastingBatchMatmul", w.ref(turned), w.transposed(_matrices(w, x, 0), order))
        w.give(node.output, w.transposed(y, order))
        return
    matrices = [_matrices(w, value, operand) for operand, value in enumerate(node.inputs)]
    w.give(node.output, w.op("BroadcastingBatchMatmul", *matrices))


def _stored_turned(w: Writer, weight: Value) -> Value | None:
    """The constant of which this matrix is the transpose, as of a tied embedding: one of them is enough."""
    array = w.known.get(weight)
    if array is None or array.ndim != 2:
        return None
    for value in w.places.get(place(array), ()):
        turned = w.known[value].strides == array.strides[::-1] and value.shape == weight.shape[::-1]
        if turned and value is not weight and w.graph.users.get(value):
            return value
    return None


def _matrices(w: Writer, value: Value, operand: int) -> Handle:
    """The first or second operand. Of the first, rows may go into a batch: that is the same product."""
    producer, handle = w.graph.producers.get(value), w.ref(value)
    if producer is None or producer.op != "Reshape" or value in w.known:
        return handle
    before, after = producer.inputs[0].shape, value.shape
    moved = before[-2:] != after[-2:] and (operand == 1 or 1 in (*before[-2:], *after[-2:]))
    return w.op("BroadcastingMaximum", handle, w.like(-np.inf, value)) if moved else handle


RULES = {"Matmul": Lowering(_matmul)}
