"""What each op means, by family; `OPS` is the registry that everything else reads."""

from converters.ops import (
    activation,
    attention,
    channels,
    convolution,
    elementwise,
    fourier,
    indexing,
    integer,
    linear,
    normalization,
    quantized,
    random,
    reduce,
    rotary,
    shape,
)
from converters.ops.definition import Op

FAMILIES = (
    elementwise,
    shape,
    reduce,
    indexing,
    linear,
    quantized,
    integer,
    convolution,
    normalization,
    attention,
    channels,
    rotary,
    activation,
    fourier,
    random,
)
OPS: dict[str, Op] = {op.name: op for family in FAMILIES for op in family.OPS}

__all__ = ["FAMILIES", "OPS", "Op"]
