"""A random function over `mx.array`s as data, which prints as Python.

Values are numbered: first the inputs, then the results of each step in turn. A string in an input's shape is
a dynamic dimension; steps take every size from their operands, so that one program runs at all sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from fuzz.operation import drawn_array
from fuzz.operations import OPERATIONS

from converters.sizes import names_in, parse, substitute

Sizes = Mapping[str, int]


class Step(NamedTuple):
    """One operation: its operands' numbers, its attributes, and how many results it has."""

    operation: str
    operands: tuple[int, ...]
    attrs: dict[str, Any]
    results: int = 1


@dataclass(frozen=True)
class Input:
    """One input; `values` and `seed` tell `fuzz.operation.drawn_array` its elements."""

    shape: tuple[int | str, ...]
    dtype: str
    values: str = "grid"
    seed: int = 0

    def array(self, sizes: Sizes) -> np.ndarray:
        """Elements for the given sizes."""
        shape = tuple(substitute(parse(s) if isinstance(s, str) else s, sizes) for s in self.shape)
        return drawn_array(shape, self.dtype, self.values, self.seed)

    def __repr__(self) -> str:
        return f"Input({self.shape!r}, {self.dtype!r}, {self.values!r}, {self.seed})"


@dataclass(frozen=True)
class Program:
    """Inputs, steps, and the numbers of the values that are returned.

    Attributes:
        grades: for each output the least precise element type that it was computed from.
        sizes: what the dynamic dimensions are set to when the program runs.
        opset: of the exported file.
    """

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    grades: tuple[str, ...]
    sizes: tuple[Sizes, ...] = ({},)
    opset: int = 23

    def __call__(self, *arrays: mx.array) -> tuple[mx.array, ...]:
        """Compute the outputs."""
        values = list(arrays)
        for step in self.steps:
            result = OPERATIONS[step.operation].compute(*(values[i] for i in step.operands), **step.attrs)
            values += result if isinstance(result, list | tuple) else [result]
        return tuple(values[i] for i in self.outputs)

    def __str__(self) -> str:
        """Python that runs the same function through the same comparison."""
        count = len(self.inputs)
        lines = [
            "from fuzz.judging import judged",
            "from fuzz.operations import ops",
            "from fuzz.program import Input",
            "",
            "",
            f"def function({_names(range(count))}):",
        ]
        for name, operands, attrs, results in self.steps:
            given = [_names([i]) for i in operands] + [f"{key}={value!r}" for key, value in attrs.items()]
            lines.append(f"    {_names(range(count, count + results))} = ops.{name}({', '.join(given)})")
            count += results
        return "\n".join(
            [
                *lines,
                f"    return {_names(self.outputs)},",
                "",
                "",
                f"inputs = {self.inputs!r}",
                f"sizes = {self.sizes!r}",
                f"print(judged(function, inputs, sizes, {self.grades!r}, opset={self.opset}))",
            ]
        )

    def pruned(self) -> Program:
        """The same without steps, inputs, dimensions and runs that no output needs."""
        ends = np.cumsum([len(self.inputs), *(step.results for step in self.steps)]).tolist()
        results = [range(*both) for both in pairwise(ends)]
        needed, kept = set(self.outputs), []
        for step, produced in reversed(list(zip(self.steps, results, strict=True))):
            if needed & set(produced):
                kept.insert(0, (step, produced))
                needed.update(step.operands)
        if not _told(self.inputs[i] for i in needed if i < len(self.inputs)):
            needed.add(0)  # whose sizes are plain
        inputs = [i for i in range(len(self.inputs)) if i in needed]
        numbers = {old: new for new, old in enumerate([*inputs, *(i for _, made in kept for i in made)])}
        steps = [step._replace(operands=tuple(numbers[i] for i in step.operands)) for step, _ in kept]
        chosen = tuple(self.inputs[i] for i in inputs)
        names = sorted(names_in(tuple(parse(str(size)) for one in chosen for size in one.shape)))
        runs = [{name: run[name] for name in names} for run in self.sizes]
        return replace(
            self,
            inputs=chosen,
            steps=tuple(steps),
            outputs=tuple(numbers[i] for i in self.outputs),
            sizes=tuple(run for i, run in enumerate(runs) if run not in runs[:i]),
        )


def _told(inputs: Iterable[Input]) -> bool:
    """Whether there are inputs, and every dimension is the whole size of an axis somewhere."""
    sizes = [str(size) for one in inputs for size in one.shape]
    plain = {size for size in sizes if size.isidentifier()}
    return bool(sizes) and {name for size in sizes for name in names_in((parse(size),))} <= plain


def _names(numbers: Sequence[int]) -> str:
    return ", ".join(f"x{i}" for i in numbers)
