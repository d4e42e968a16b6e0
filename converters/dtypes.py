"""Element types by their NumPy names; bfloat16, which NumPy lacks, comes from ml_dtypes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

FLOATS = ("float16", "bfloat16", "float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
ALL = ("bool", *INTEGERS, *FLOATS, "complex64")


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype called `name`."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def dtype_name(dtype: Any) -> str:
    """The name of a dtype given as a string, a NumPy dtype or an MLX dtype.

    Raises:
        TypeError: where it is none of these.
    """
    text = dtype if isinstance(dtype, str) else str(dtype)
    name = text.removeprefix("mlx.core.")
    name = {"bool_": "bool"}.get(name, name)
    if name not in ALL:
        name = np.dtype(dtype).name
    if name not in ALL:
        raise TypeError(f"{dtype!r} is not an element type of MLX")
    return name


def is_float(name: str) -> bool:
    """float16, bfloat16, float32 or float64."""
    return name in FLOATS


def is_integer(name: str) -> bool:
    """Signed or unsigned, not bool."""
    return name in INTEGERS
