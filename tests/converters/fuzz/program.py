"""A random function over `mx.array`s as data: it prints as Python that can be pasted into `fuzz.cases`.

Values are numbered: first the inputs, then the results of each step in turn. A string in an input's shape is
a dynamic dimension; steps take every size from their operands, so that one program runs at all sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import mlx.core as mx
import numpy as np
from case_table import to_mlx
from fuzz.operation import drawn_array
from fuzz.operations import OPERATIONS

from converters.sizes import names_in, parse, substitute
from converters.snapshot import to_numpy
from converters.specs import Spec

Step = tuple[str, tuple[int, ...], dict[str, Any]]


@dataclass(frozen=True)
class Input:
    """One input; `values` is a kind of `fuzz.operation.drawn_array`."""

    shape: tuple[int | str, ...]
    dtype: str = "float32"
    values: str = "grid"

    def array(self, sizes: Mapping[str, int], seed: int) -> np.ndarray:
        """Elements for the given sizes."""
        shape = tuple(substitute(parse(s) if isinstance(s, str) else s, sizes) for s in self.shape)
        return drawn_array(shape, self.dtype, self.values, seed)

    def __repr__(self) -> str:
        more = [repr(self.dtype), repr(self.values)]
        while more and more[-1] == ("'grid'", "'float32'")[len(more) == 1]:
            more.pop()
        return f"Input({', '.join([repr(self.shape), *more])})"


@dataclass(frozen=True)
class Program:
    """Inputs, steps (operation, operands, attributes), and the numbers of the values that are returned.

    Attributes:
        sizes: what the dynamic dimensions are set to when the program runs.
        opset: of the exported file.
        seed: of the inputs' elements.
    """

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    sizes: tuple[Mapping[str, int], ...] = ({},)
    opset: int = 23
    seed: int = 0

    def __call__(self, *arrays: mx.array) -> tuple[mx.array, ...]:
        """Compute the outputs."""
        values = list(arrays)
        for name, operands, attrs in self.steps:
            result = OPERATIONS[name].compute(*(values[i] for i in operands), **attrs)
            values += result if isinstance(result, list | tuple) else [result]
        return tuple(values[i] for i in self.outputs)

    def __repr__(self) -> str:
        steps = "".join(f"\n        {step!r}," for step in self.steps)
        inputs = "".join(f"\n        {given!r}," for given in self.inputs)
        text = (
            f"Program(\n    inputs=({inputs}\n    ),\n    steps=({steps}\n    ),\n    outputs={self.outputs},"
        )
        for name in ("sizes", "opset", "seed"):
            value = getattr(self, name)
            text += "" if value == self.__dataclass_fields__[name].default else f"\n    {name}={value!r},"
        return text + "\n)"

    @property
    def specs(self) -> dict[str, Spec]:
        """The inputs "x0", "x1" … as `capture` takes them."""
        return {f"x{i}": Spec(given.shape, given.dtype) for i, given in enumerate(self.inputs)}

    @property
    def dims(self) -> set[str]:
        """The dynamic dimensions."""
        return {name for spec in self.specs.values() for name in names_in(spec.shape)}

    def arrays(self, sizes: Mapping[str, int]) -> list[np.ndarray]:
        """Elements for all inputs."""
        return [given.array(sizes, self.seed + index) for index, given in enumerate(self.inputs)]

    def expected(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What MLX computes on the CPU."""
        with mx.stream(mx.cpu):
            results = self(*(to_mlx(array) for array in arrays))
            mx.eval(results)
        return [np.array(to_numpy(result)) for result in results]


def pruned(
    inputs: Sequence[Input],
    steps: Sequence[Step],
    counts: Sequence[int],
    outputs: Sequence[int],
    sizes: Sequence[Mapping[str, int]] = ({},),
    opset: int = 23,
    seed: int = 0,
) -> Program:
    """The program without steps and inputs that no output needs; `counts` are the results of each step.

    The first input that tells each dimension stays even where nothing reads it.
    """
    ends = np.cumsum([len(inputs), *counts]).tolist()
    needed = {0, *outputs}
    kept = []
    for index in reversed(range(len(steps))):
        if needed & set(range(ends[index], ends[index + 1])):
            kept.append(index)
            needed.update(steps[index][1])
    chosen = tuple(given for i, given in enumerate(inputs) if i in needed)
    produced = [range(ends[index], ends[index + 1]) for index in reversed(kept)]
    numbers: dict[int, int] = {}
    for i in chain((i for i in range(len(inputs)) if i in needed), *produced):
        numbers[i] = len(numbers)
    renumbered = [
        (name, tuple(numbers[i] for i in operands), attrs)
        for name, operands, attrs in (steps[i] for i in reversed(kept))
    ]
    results = tuple(dict.fromkeys(numbers[i] for i in outputs))
    program = Program(chosen, tuple(renumbered), results, opset=opset, seed=seed)
    runs = [{name: run[name] for name in sorted(program.dims)} for run in sizes]
    return replace(program, sizes=tuple(run for i, run in enumerate(runs) if run not in runs[:i]))
