"""What a row of the test tables is: a small function over `mx.array`s and its inputs.

The tables are `op_cases`, `function_cases` and `layer_cases`; every target's tests run the same rows. A
string in
an argument's shape is a dynamic dimension; `sizes` are what it is set to when the row runs, by default
`SIZES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np

from converters.capture import flat_results
from converters.dtypes import is_float, numpy_dtype
from converters.sizes import parse, substitute
from converters.snapshot import to_numpy
from converters.specs import Spec

SIZES = ({"n": 1}, {"n": 4})
INF, NAN = float("inf"), float("nan")
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.25, 70.0, -90.0, INF, -INF, NAN)
FLOATS = ("float32", "float16", "bfloat16")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@dataclass(frozen=True)
class Arg:
    """One input.

    Attributes:
        shape: integers and dimensions.
        dtype: element type.
        values: None: standard normal or small integers; (low, high): uniform in between; a list: as it is,
            repeated; integer types get numbers in place of nan and inf.
    """

    shape: tuple[Any, ...]
    dtype: str = "float32"
    values: Any = None

    def array(self, sizes: dict[str, int], random: np.random.Generator) -> np.ndarray:
        """Elements for the given sizes."""
        shape = tuple(substitute(parse(s) if isinstance(s, str) else s, sizes) for s in self.shape)
        dtype = numpy_dtype(self.dtype)
        if isinstance(self.values, list):
            listed = np.resize(np.array(self.values), shape)
            if listed.dtype.kind == "f" and not is_float(self.dtype):
                listed = np.nan_to_num(listed, nan=0, posinf=7, neginf=-7).astype(np.int64)
            with np.errstate(over="ignore"):
                return listed.astype(dtype)
        if isinstance(self.values, tuple):
            low, high = self.values
            floats = is_float(self.dtype)
            drawn = random.uniform(low, high, shape) if floats else random.integers(low, high, shape)
            return drawn.astype(dtype)
        if self.dtype == "bool":
            return random.integers(0, 2, shape).astype(bool)
        if is_float(self.dtype):
            return random.normal(size=shape).astype(dtype)
        return random.integers(0 if self.dtype.startswith("u") else -9, 10, shape).astype(dtype)


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        ops: the ops of the registry that the captured graph must contain.
        fn: the function.
        args: its inputs.
        sizes: dimensions to run it at.
        tolerance: relative to the result's largest magnitude, where the default of the dtype is too strict.
        refused: target to what its UnsupportedOp says, for known gaps.
    """

    name: str
    ops: tuple[str, ...]
    fn: Callable[..., Any]
    args: tuple[Arg, ...]
    sizes: Sequence[dict[str, int]] = ({},)
    tolerance: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


def case(name: str, fn: Callable[..., Any], *args: Arg, ops: str = "", **more: Any) -> Case:
    """A row; the ops are by default the first word of its name, the sizes `SIZES` where it has dimensions."""
    dynamic = any(isinstance(size, str) for arg in args for size in arg.shape)
    chosen = {"sizes": SIZES, **more} if dynamic else more
    return Case(name, tuple((ops or name.split()[0]).split("|")), fn, args, **chosen)


def typed(row: Case, *dtypes: str, which: Sequence[int] | None = None) -> list[Case]:
    """The row for several element types of its first input (of the inputs `which`)."""
    indices = range(len(row.args)) if which is None else which
    return [
        replace(
            row,
            name=f"{row.name} {dtype}",
            args=tuple(replace(a, dtype=dtype) if i in indices else a for i, a in enumerate(row.args)),
        )
        for dtype in dtypes
    ]


def to_mlx(array: np.ndarray) -> mx.array:
    """The same elements in MLX."""
    if array.dtype.name == "bfloat16":
        return mx.array(array.view(np.uint16)).view(mx.bfloat16)
    return mx.array(array)


def expected(row: Case, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What MLX computes."""
    with mx.stream(mx.cpu):
        results = [leaf for _, leaf in flat_results(row.fn(*(to_mlx(array) for array in arrays)))]
        mx.eval(results)
    return [np.array(to_numpy(result)) for result in results]


def spec_of(row: Case) -> dict[str, Spec]:
    """The inputs "a", "b" … as `capture` takes them."""
    return {name: Spec(arg.shape, arg.dtype) for name, arg in zip("abcdefgh", row.args, strict=False)}


TOLERANCES = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def difference(wanted: np.ndarray, got: np.ndarray, tolerance: float | None = None) -> str | None:
    """How the arrays differ, or None. Floats may by the tolerance times the largest finite magnitude."""
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return f"MLX gives {wanted.dtype}{wanted.shape}, got {got.dtype}{got.shape}"
    if wanted.dtype.name not in TOLERANCES:
        same = np.array_equal(wanted, got)
        return None if same else f"MLX gives {wanted.tolist()}, got {got.tolist()}"
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(
        a[~finite], b[~finite], equal_nan=True
    ):
        return f"MLX gives {a.tolist()}, got {b.tolist()}"
    gap = np.abs(a[finite] - b[finite])
    slack = (tolerance or TOLERANCES[wanted.dtype.name]) * np.abs(a[finite]).max(initial=0)
    if gap.max(initial=0) <= slack:
        return None
    return f"max difference {gap.max():.3g}, allowed {slack:.3g}: MLX gives {a.tolist()}, got {b.tolist()}"
