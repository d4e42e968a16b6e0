"""How ONNX spells each op, by the families of `converters.ops`; `RULES` maps an op to its `Lowering`."""

from converters.targets.onnx.rules import (
    activation,
    attention,
    convolution,
    elementwise,
    experts,
    indexing,
    integer,
    linear,
    normalization,
    quantized,
    reduce,
    shape,
)
from converters.targets.onnx.rules.lowering import Lowering

FAMILIES = (
    elementwise,
    shape,
    reduce,
    indexing,
    linear,
    quantized,
    experts,
    integer,
    convolution,
    normalization,
    attention,
    activation,
)
RULES: dict[str, Lowering] = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}

__all__ = ["FAMILIES", "RULES", "Lowering"]
