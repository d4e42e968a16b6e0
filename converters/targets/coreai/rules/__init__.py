"""How Core AI spells each op, by the families of `converters.ops`; `RULES` maps an op to its `Lowering`."""

from converters.targets.coreai.rules import (
    activation,
    convolution,
    elementwise,
    indexing,
    integer,
    linear,
    reduce,
    shape,
    whole,
)
from converters.targets.coreai.rules.lowering import Lowering

FAMILIES = (elementwise, shape, reduce, indexing, linear, integer, whole, convolution, activation)
RULES: dict[str, Lowering] = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}

__all__ = ["FAMILIES", "RULES", "Lowering"]
