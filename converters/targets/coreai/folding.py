"""What operations mean on constants, which rules may meet as operands; Core AI folds some of them wrongly.

Only the operations that rules use on single operands are here; `Writer.op` refuses others on constants alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from converters.dtypes import numpy_dtype

MEANINGS: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "And": np.logical_and,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "Equal": np.equal,
    "ExpandDims": lambda x, axes: np.expand_dims(x, tuple(axes.tolist())),
    "FloorDivide": np.floor_divide,
    "Greater": np.greater,
    "Maximum": np.maximum,
    "Mul": np.multiply,
    "Add": np.add,
    "Not": np.logical_not,
    "NotEqual": np.not_equal,
    "Or": np.logical_or,
    "Reshape": lambda x, shape: x.reshape(shape.tolist()),
    "Round": np.rint,
    "ShrinkDims": lambda x, axes: np.squeeze(x, tuple(axes.tolist())),
    "Sub": np.subtract,
    "Transpose": lambda x, axes: x.transpose(axes.tolist()),
    "Where": np.where,
    "Xor": np.logical_xor,
}


def folded(kind: str, arrays: list[np.ndarray], dtype: str | None) -> np.ndarray | None:
    """The result of an operation on constants (`dtype` for casts), or None where it is not known here."""
    with np.errstate(all="ignore"):
        if kind == "Cast" and dtype is not None:
            return arrays[0].astype(numpy_dtype(dtype))
        meaning = MEANINGS.get(kind.removeprefix("Broadcasting"))
        return None if meaning is None else np.asarray(meaning(*arrays))


__all__ = ["folded"]
