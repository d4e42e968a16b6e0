"""What each operation of an ML Program computes, in NumPy, by family; one entry per operation.

Written from Apple's documentation of the operations, apart from `converters.ops` and from the rules that
write packages, so that a mistake in those shows as a difference.
"""

from collections.abc import Mapping

from converters.targets.coreml.meaning import (
    activation,
    compression,
    convolution,
    creation,
    detection,
    elementwise,
    indexing,
    linear,
    lists,
    normalization,
    recurrent,
    reduction,
    resizing,
    shape,
)
from converters.targets.coreml.meaning.definition import Meaning

MEANINGS: Mapping[str, Meaning] = {
    **elementwise.MEANINGS,
    **activation.MEANINGS,
    **reduction.MEANINGS,
    **shape.MEANINGS,
    **creation.MEANINGS,
    **indexing.MEANINGS,
    **linear.MEANINGS,
    **convolution.MEANINGS,
    **normalization.MEANINGS,
    **resizing.MEANINGS,
    **recurrent.MEANINGS,
    **compression.MEANINGS,
    **detection.MEANINGS,
    **lists.MEANINGS,
}

__all__ = ["MEANINGS", "Meaning"]
