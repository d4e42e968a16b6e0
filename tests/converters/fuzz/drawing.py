"""Growing a random program step by step: every candidate step is run on real arrays before it is kept.

A step is kept if MLX computes it at all sizes, its numbers stay small and finite, and errors do not grow:
every result that was rounded is disturbed by some rounding errors of its largest element (or of 1), all
following steps are computed from the disturbed elements too, and each gap must stay below a fifth of what
the comparison allows. What rounds inside, before it takes an exponential (attention: its scores), is also
computed some times from operands with a rounding error more. Steps that jump (comparisons, positions, floats
to integers) take only operands that are exact: numbers of so few digits that nothing was rounded. So every
program that is drawn is well conditioned, and a difference is a mistake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from random import Random
from typing import Any
from zlib import crc32

import mlx.core as mx
import numpy as np
from case_table import to_mlx
from fuzz.combining import COMBINING
from fuzz.elementwise import TYPES, cast_jumps
from fuzz.layers import LAYERS
from fuzz.operation import Operation, Unfit
from fuzz.operations import FAMILIES, OPERATIONS
from fuzz.program import Input, Program, Sizes, Step

from converters.dtypes import dtype_name, is_float, is_integer
from converters.snapshot import to_numpy

GRADES = ("float32", "float16", "bfloat16")  # each less precise than the one before
NOISE = {"float32": 5e-7, "float16": 1e-3, "bfloat16": 8e-3}  # four ulps, one, one
ALLOWED = {"float32": 1e-4, "float16": 4e-2, "bfloat16": 2e-1}  # of the largest element, where results differ
AMPLIFIED = {grade: gap / 5 for grade, gap in ALLOWED.items()}
LARGEST = {"float32": 1e4, "float16": 200, "bfloat16": 1e3}
INSIDE = 8  # how often errors inside an operation are drawn
DIGITS = {"float32": 24, "float16": 11, "bfloat16": 8}
NEVER_EMPTY = {*COMBINING, *LAYERS}  # reductions of empty arrays read beyond them in MLX, or never end
ELEMENTS, RANK = 4096, 5
INPUT_TYPES = ("float32",) * 6 + ("float16", "bfloat16", "int32", "int64", "bool")
STATIC = (1, 2, 3, 4, 5, 7, 8)
TOGETHER = ({"n": 6, "m": 5}, {"n": 12, "m": 13}, {"n": 4, "m": 4}, {"n": 1, "m": 1})


@dataclass(frozen=True)
class Known:
    """A value of the program being drawn.

    Attributes:
        dims: for each axis its size in each run.
        exact: no rounding error has touched it.
        grade: the least precise type that it was computed from.
        clean: its elements in each run. noisy: the same after disturbances.
    """

    index: int
    dtype: str
    dims: tuple[tuple[int, ...], ...]
    exact: bool
    grade: str
    clean: tuple[mx.array, ...]
    noisy: tuple[mx.array, ...]

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.dims)

    @property
    def kind(self) -> str:
        """ "float", "integer" or "bool"."""
        return "float" if is_float(self.dtype) else "integer" if is_integer(self.dtype) else "bool"

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, None where they are dynamic."""
        return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in self.dims)

    @property
    def empty(self) -> bool:
        """Whether it has no elements in some run."""
        return any(0 in sizes for sizes in self.dims)


class Drawing:
    """The program so far. Operations choose from it with `value`, `partner`, `constant`, `integer` …"""

    def __init__(self, random: Random, runs: Sequence[Sizes]):
        self.random, self.runs = random, runs
        self.inputs: list[Input] = []
        self.steps: list[Step] = []
        self.values: list[Known] = []
        self.seen: Counter[int] = Counter()

    def integer(self, low: int, high: int) -> int:
        """A number from low to high."""
        return self.random.randint(low, high)

    def choice(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        return options[self.integer(0, len(options) - 1)]

    def flag(self, one_in: int = 2) -> bool:
        """True once in so many draws."""
        return self.integer(0, one_in - 1) == one_in - 1

    def value(
        self,
        *kinds: str,
        dtype: str | None = None,
        rank: int = 0,
        check: Callable[[Known], bool] | None = None,
    ) -> Known:
        """A value of one of the kinds, of at least a rank; the latest are the most likely."""
        fitting = [
            v
            for v in self.values
            if (not kinds or v.kind in kinds)
            and (dtype is None or v.dtype == dtype)
            and v.rank >= rank
            and (check is None or check(v))
        ]
        if not fitting:
            raise Unfit
        nearest = fitting[-5:] if self.flag() else fitting
        return nearest[-1 - self.integer(0, len(nearest) - 1)]

    def partner(self, x: Known, *kinds: str, dtype: str | None = None) -> Known:
        """A value that broadcasts with x; a new constant where there is none, and now and then else."""

        def broadcasts(y: Known) -> bool:
            pairs = zip(x.dims[::-1], y.dims[::-1], strict=False)
            return all(a == b or set(a) == {1} or set(b) == {1} for a, b in pairs)

        if not self.flag(4):
            try:
                return self.value(*kinds, dtype=dtype, check=broadcasts)
            except Unfit:
                pass
        dtypes = [dtype] if dtype else [n for n in TYPES if not kinds or _kind(n) in kinds]
        axes = x.shape[self.integer(0, x.rank) :]
        shape = tuple(1 if size is None or self.flag(4) else size for size in axes)
        return self.constant(shape, self.choice(dtypes))

    def constant(self, shape: tuple[int, ...], dtype: str, values: str = "grid") -> Known:
        """A new weight."""
        seed = self.integer(0, 9)
        attrs = {"shape": shape, "dtype": dtype, "values": values, "seed": seed}
        return self.append("constant", (), attrs)[0]

    def axis(self, x: Known) -> int:
        """An axis of x, counted from either end."""
        if not x.rank:
            raise Unfit
        return self.integer(-x.rank, x.rank - 1)

    def axes(self, x: Known) -> tuple[int, ...]:
        """Some axes of x in any order, counted from either end."""
        chosen = self.permutation(x.rank)[: self.integer(0, x.rank)]
        return tuple(a - x.rank if self.flag() else a for a in chosen)

    def permutation(self, count: int) -> list[int]:
        """The numbers below count in any order."""
        left = list(range(count))
        return [left.pop(self.integer(0, len(left) - 1)) for _ in range(count)]

    def add_input(self, given: Input) -> None:
        """One more input."""
        arrays = tuple(to_mlx(given.array(sizes)) for sizes in self.runs)
        self.inputs.append(given)
        self.values.append(_known(len(self.values), given.dtype, arrays, arrays, True, "float32"))

    def grow(self, name: str) -> None:
        """One more step with operands and attributes of its own choice; Unfit where nothing suits."""
        operands, attrs = OPERATIONS[name].choose(self)
        self.append(name, tuple(operands), attrs)

    def append(self, name: str, operands: tuple[Known, ...], attrs: dict[str, Any]) -> list[Known]:
        """One more step; Unfit where it does not run or amplifies errors."""
        operation = OPERATIONS[name]
        if name in NEVER_EMPTY and any(v.empty for v in operands):
            raise Unfit
        floats = [v for v in operands if v.kind == "float"]
        jumps = operation.rounding == "steps" or any(
            cast_jumps(v.dtype, attrs.get("dtype", v.dtype)) for v in floats
        )
        if jumps and not all(v.exact for v in floats):
            raise Unfit
        runs = range(len(self.runs))
        clean = [_results(operation, [v.clean[i] for v in operands], attrs) for i in runs]
        noisy = [_results(operation, [v.noisy[i] for v in operands], attrs) for i in runs]
        if any(array.size > ELEMENTS for results in clean for array in results):
            raise Unfit
        try:
            mx.eval(clean, noisy)
        except RuntimeError as error:
            raise Unfit from error
        if operation.rounding == "whole":
            _check_overflow(operation, operands, attrs, clean)
        if operation.inside:
            self._check_inside(operation, operands, attrs, clean)
        if operation.rounding == "smooth":
            _check_sums([v for v in operands if v.kind == "integer"])
        exact = all(v.exact for v in floats) and not _rounds(operation, operands, attrs, clean)
        pairs = zip(zip(*clean, strict=True), zip(*noisy, strict=True), strict=True)
        results = [
            self._judged(operation, operands, arrays, others, exact, index)
            for index, (arrays, others) in enumerate(pairs, len(self.values))
        ]
        self.values += results
        self.steps.append(Step(name, tuple(v.index for v in operands), attrs, len(results)))
        return results

    def program(self, outputs: Sequence[int], opset: int) -> Program:
        """The steps that lead to the outputs, where they keep to the rules in other surroundings too."""
        grades = tuple(self.values[i].grade for i in outputs)
        return Program(
            tuple(self.inputs), tuple(self.steps), tuple(outputs), grades, tuple(self.runs), opset
        ).pruned()

    def _check_inside(
        self, operation: Operation, operands: Sequence[Known], attrs: dict[str, Any], clean: Any
    ) -> None:
        """Unfit where a rounding error more in each operand moves the result too far: scores of hundreds have
        errors of whole units, and softmax takes another for the largest."""
        grade = max((v.dtype for v in operands if v.kind == "float"), key=GRADES.index)
        for _ in range(INSIDE):
            for i, wanted in enumerate(clean):
                others = [self._disturbed(_wide(v.clean[i]), v.clean[i], grade) for v in operands]
                for array, other in zip(wanted, _results(operation, others, attrs), strict=True):
                    gap = np.abs(_wide(other) - _wide(array)).max(initial=0)
                    if not gap <= AMPLIFIED[grade] * np.abs(_wide(array)).max(initial=0):
                        raise Unfit

    def _disturbed(self, clean: np.ndarray, noisy: mx.array, grade: str) -> mx.array:
        """One more rounding error in each element: the same when a program is redrawn, another for a result
        that was there before."""
        seed = crc32(clean.tobytes())
        self.seen[seed] += 1
        noise = np.random.default_rng((seed, self.seen[seed])).uniform(-1, 1, clean.shape)
        largest = np.abs(clean).max(initial=1)
        scale = NOISE[grade] * largest if np.isfinite(largest) else 0.0
        return (noisy.astype(mx.float32) + mx.array((scale * noise).astype(np.float32))).astype(noisy.dtype)

    def _judged(
        self, operation: Operation, operands: Sequence[Known], clean: Any, noisy: Any, exact: bool, index: int
    ) -> Known:
        dtype = dtype_name(clean[0].dtype)
        if dtype not in TYPES or clean[0].ndim > RANK:
            raise Unfit
        if not is_float(dtype):
            return _known(index, dtype, clean, clean, True, "float32")
        floats = [v for v in operands if v.kind == "float"]
        wide = [_wide(array) for array in clean]
        if operation.rounding == "moves":
            whole = all(v.dtype == dtype or _on_grid(wide, dtype) for v in operands if v.dtype != "bool")
            exact = exact and whole
        elif operation.rounding != "steps":
            digits = [_on_grid([_wide(a) for a in v.clean], v.dtype) for v in floats]
            exact = exact and operation.rounding != "smooth" and all(digits) and _on_grid(wide, dtype)
        types = [] if exact else [dtype, *(v.dtype for v in floats)]
        grade = max([*(v.grade for v in floats), *types, "float32"], key=GRADES.index)
        if operation.rounding not in ("moves", "steps") and not exact:
            noisy = [self._disturbed(*both, grade) for both in zip(wide, noisy, strict=True)]
        for array, other in zip(wide, noisy, strict=True):
            largest = np.abs(array).max(initial=0)
            if not largest <= LARGEST[dtype]:
                raise Unfit
            with np.errstate(invalid="ignore"):
                gap = np.abs(_wide(other) - array).max(initial=0)
            if not gap <= AMPLIFIED[grade] * largest:
                raise Unfit
        return _known(index, dtype, clean, noisy, exact, grade)


def _check_overflow(
    operation: Operation, operands: Sequence[Known], attrs: dict[str, Any], clean: Sequence[list[mx.array]]
) -> None:
    """Unfit where integers overflow, which MLX leaves open for products, or have more digits than float64, in
    which onnxruntime adds and multiplies integers of 64 bits; where a part of a product of floats does, which
    depends on the order."""
    for i, results in enumerate(clean):
        if any(v.kind == "float" for v in operands):
            parts = [mx.maximum(mx.abs(v.clean[i]), 1).astype(mx.float32) for v in operands]
            if not np.all(_wide(_results(operation, parts, attrs)[0]) <= LARGEST["float32"]):
                raise Unfit
            continue
        wide = _wide(_results(operation, [v.clean[i].astype(mx.float64) for v in operands], attrs)[0])
        if not np.allclose(_wide(results[0]), wide, rtol=1e-2) or np.abs(wide).max(initial=0) >= 2**53:
            raise Unfit


def _rounds(
    operation: Operation, operands: Sequence[Known], attrs: dict[str, Any], clean: Sequence[list[mx.array]]
) -> bool:
    """Whether arithmetic rounded short floats: on wider ones it gives others."""
    short = any(dtype_name(array.dtype) in ("float16", "bfloat16") for array in clean[0])
    if operation.rounding not in ("exact", "whole") or not short:
        return False
    for i, results in enumerate(clean):
        wide = [v.clean[i].astype(mx.float32) if v.kind == "float" else v.clean[i] for v in operands]
        pairs = zip(results, _results(operation, wide, attrs), strict=True)
        if not all(np.array_equal(_wide(a), _wide(b), equal_nan=True) for a, b in pairs):
            return True
    return False


def _check_sums(integers: Sequence[Known]) -> None:
    """Unfit where a mean of integers may add up to more than the digits of float64, as above."""
    if any(np.abs(_wide(array)).sum() >= 2**53 for v in integers for array in v.clean):
        raise Unfit


def _known(index: int, dtype: str, clean: Any, noisy: Any, exact: bool, grade: str) -> Known:
    dims = tuple(zip(*(array.shape for array in clean), strict=True))
    return Known(index, dtype, dims, exact, grade, tuple(clean), tuple(noisy))


def _results(operation: Operation, arrays: Sequence[mx.array], attrs: dict[str, Any]) -> list[mx.array]:
    try:
        result = operation.compute(*arrays, **attrs)
    except (Unfit, ValueError, TypeError, IndexError, RuntimeError, OverflowError) as error:
        raise Unfit from error
    return list(result) if isinstance(result, list | tuple) else [result]


def _wide(array: mx.array) -> np.ndarray:
    return np.asarray(to_numpy(array)).astype(np.float64)


def _on_grid(arrays: Sequence[np.ndarray], dtype: str) -> bool:
    """Whether the numbers have so few digits that computing them rounds nowhere."""
    scaled = [array * 64 for array in arrays]
    return all(np.all((a == np.rint(a)) & (np.abs(a) <= 2 ** DIGITS[dtype])) for a in scaled)


def _kind(dtype: str) -> str:
    return "float" if is_float(dtype) else "integer" if is_integer(dtype) else "bool"


def _draw_inputs(d: Drawing, dynamic: bool) -> None:
    """One to four inputs; those of a dynamic program share the dimensions "n" and "m"."""
    names = ("n", "m") if dynamic and d.flag(3) else ("n",)
    for index in range(d.integer(1, 4)):
        rank = d.choice((2, 3, 1, 4, 2, 3, 0, 5))
        shape: list[int | str] = [
            0 if d.flag(40) else d.choice(STATIC[: 7 if rank < 4 else 4]) for _ in range(rank)
        ]
        if dynamic and index == 0:
            shape = [*names, *shape[: RANK - len(names)]]
        elif dynamic and rank and d.flag():
            shape[d.integer(0, rank - 1)] = d.choice((*names, "n", "n + 1"))
        if index == 0 and d.flag():
            shape = [shape[i] for i in d.permutation(len(shape))]
        dtype = d.choice(INPUT_TYPES if not d.flag(5) else TYPES)
        if prod(13 if isinstance(size, str) else size for size in shape) > ELEMENTS:
            shape = shape[:2]
        d.add_input(Input(tuple(shape), dtype, d.choice(("grid", "grid", "normal", "positive")), index))


def drawn(seed: int) -> Program:
    """The program of 5 to 40 steps that belongs to a seed; fewer where no output needs all of them."""
    random = Random(seed)
    dynamic = random.random() < 0.5
    d = Drawing(random, TOGETHER if dynamic else ({},))
    wanted = d.integer(5, 40)
    with mx.stream(mx.cpu):
        _draw_inputs(d, dynamic)
        for _ in range(4 * wanted):
            try:
                d.grow(d.choice(d.choice(FAMILIES)))
            except Unfit:
                continue
            if len(d.steps) >= wanted:
                break
    read = {i for step in d.steps for i in step.operands}
    ends = [v.index for v in d.values[len(d.inputs) :] if v.index not in read]
    more = [d.integer(0, len(d.values) - 1)] if d.flag(4) else []
    opset = d.choice((23,) * 6 + (17, 18, 19, 20, 21, 22))
    return d.program(list(dict.fromkeys([*ends, *more])) or [0], opset)


def redrawn(inputs: Sequence[Input], steps: Sequence[Step], runs: Sequence[Sizes]) -> Drawing:
    """The drawing that the inputs and steps make; Unfit where one breaks the rules."""
    d = Drawing(Random(0), runs)
    with mx.stream(mx.cpu):
        for given in inputs:
            d.add_input(given)
        for step in steps:
            d.append(step.operation, tuple(d.values[i] for i in step.operands), step.attrs)
    return d
