"""Activations that MIL has as one op."""

from __future__ import annotations

import numpy as np

from converters.dtypes import is_float, numpy_dtype
from converters.graph import Node
from converters.targets.coreml.rules.lowering import Lowering, unary
from converters.targets.coreml.writer import Writer

MODES = {"none": "EXACT", "tanh": "TANH_APPROXIMATION", "sigmoid": "SIGMOID_APPROXIMATION"}


def _gelu(w: Writer, node: Node) -> None:
    w.emit("gelu", node, x=w.ref(node.inputs[0]), mode=MODES[node.attrs["approximate"]])


def _with_numbers(kind: str, **parameters: str) -> Lowering:
    """An operation on floats with numbers from the node's attributes, in the type of its operand."""

    def emit(w: Writer, node: Node) -> None:
        dtype = numpy_dtype(node.output.dtype)
        limits = np.finfo(dtype)
        given = {name: np.clip(node.attrs[attr], limits.min, limits.max) for name, attr in parameters.items()}
        numbers = {name: np.array(number, dtype) for name, number in given.items()}
        w.emit(kind, node, x=w.ref(node.inputs[0]), **numbers)

    def refusal(ios: int, node: Node) -> str | None:
        return None if is_float(node.output.dtype) else "it takes floats only"

    return Lowering(emit, refusal)


RULES = {
    "Clip": _with_numbers("clip", alpha="low", beta="high"),
    "ELU": _with_numbers("elu", alpha="alpha"),
    "GELU": Lowering(_gelu),
    "LeakyReLU": _with_numbers("leaky_relu", alpha="slope"),
    "ReLU": unary("relu"),
    "SiLU": unary("silu"),
}
