"""What each operation of an ML Program computes, in NumPy, by family; one entry per operation."""

from collections.abc import Mapping

from converters.targets.coreml.meaning import activation, convolution, elementwise, linear, shape
from converters.targets.coreml.meaning.definition import Meaning

MEANINGS: Mapping[str, Meaning] = {
    **elementwise.MEANINGS,
    **activation.MEANINGS,
    **linear.MEANINGS,
    **convolution.MEANINGS,
    **shape.MEANINGS,
}

__all__ = ["MEANINGS", "Meaning"]
