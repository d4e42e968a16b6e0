"""How MIL spells each op, by the families of `converters.ops`; `RULES` maps an op to its `Lowering`."""

from converters.targets.coreml.rules import (
    activation,
    attention,
    convolution,
    elementwise,
    indexing,
    integer,
    linear,
    normalization,
    reduce,
    shape,
)
from converters.targets.coreml.rules.lowering import Lowering

FAMILIES = (
    elementwise,
    shape,
    reduce,
    indexing,
    linear,
    normalization,
    attention,
    integer,
    convolution,
    activation,
)
RULES: dict[str, Lowering] = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}

__all__ = ["FAMILIES", "RULES", "Lowering"]
