"""A failing program made small: every change that leaves it failing is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from fuzz.drawing import Known, redrawn
from fuzz.operation import Unfit
from fuzz.program import Input, Program

from converters.errors import ConversionError
from converters.sizes import parse, substitute


def reduced(program: Program, fails: Callable[[Program], bool], attempts: int = 2000) -> Program:
    """The smallest program found that still fails, and keeps to the rules of drawing."""
    left = attempts
    progress = True
    while progress:
        progress = False
        for candidate in _smaller(program):
            if not left:
                return program
            left -= 1
            found = _sound(candidate)
            if found is not None and found != program and fails(found):
                program, progress = found, True
                break
    return program


def _sound(program: Program) -> Program | None:
    """The program as drawing would have made it, with the grades of its values."""
    program = program.pruned()
    try:
        d = redrawn(program.inputs, program.steps, program.sizes)
    except (Unfit, ConversionError):
        return None
    return d.program(program.outputs, program.opset)


def _smaller(program: Program) -> Iterator[Program]:
    if len(program.outputs) > 1:
        yield from (replace(program, outputs=(i,)) for i in program.outputs)
        yield from (
            replace(program, outputs=_without(program.outputs, i)) for i in range(len(program.outputs))
        )
    if len(program.sizes) > 1:
        yield from (replace(program, sizes=(run,)) for run in program.sizes)
    yield from _of_fixed_sizes(program)
    try:
        values = redrawn(program.inputs, program.steps, program.sizes).values
    except Unfit:
        return
    yield from _of_earlier_outputs(program)
    first = len(values)
    for index in reversed(range(len(program.steps))):
        first -= program.steps[index].results
        yield from _without_step(program, index, first, values)
    yield from _of_less_elements(program)
    if program.opset != 23:
        yield replace(program, opset=23)


def _of_earlier_outputs(program: Program) -> Iterator[Program]:
    """With what an output is made of in its place."""
    produced = len(program.inputs)
    for step in program.steps:
        for output in range(produced, produced + step.results):
            if output in program.outputs:
                others = [i for i in program.outputs if i != output]
                for i in step.operands:
                    yield replace(program, outputs=tuple(dict.fromkeys([*others, i])))
        produced += step.results


def _without(items: tuple[int, ...], index: int) -> tuple[int, ...]:
    return items[:index] + items[index + 1 :]


def _of_fixed_sizes(program: Program) -> Iterator[Program]:
    """Without dynamic dimensions."""
    for run in program.sizes:
        if run:
            inputs = tuple(
                replace(
                    one,
                    shape=tuple(substitute(parse(s) if isinstance(s, str) else s, run) for s in one.shape),
                )
                for one in program.inputs
            )
            yield replace(program, inputs=inputs, sizes=({},))


def _without_step(program: Program, index: int, first: int, values: Sequence[Known]) -> Iterator[Program]:
    """With operands, or else new inputs, in place of a step's results, which begin at number `first`."""
    step = program.steps[index]
    made = values[first : first + step.results]
    alike = [
        [i for i in step.operands if (values[i].dtype, values[i].dims) == (result.dtype, result.dims)]
        for result in made
    ]
    if all(alike):
        yield _replaced(program, index, first, [operands[0] for operands in alike], [])
    if step.operation == "constant":
        return
    shapes = [_described(result, program) for result in made]
    inputs = [
        Input(shape, result.dtype, values, 0)
        for shape, result in zip(shapes, made, strict=True)
        if shape is not None
        for values in ("grid",)
    ]
    if len(inputs) == len(made):
        count = len(program.inputs)
        yield _replaced(program, index, first, range(count, count + len(made)), inputs)


def _described(value: Known, program: Program) -> tuple[int | str, ...] | None:
    """A shape that has the value's sizes in each run; None where sums of a dimension and a number do not."""
    shape: list[int | str] = []
    for sizes in value.dims:
        choices = [(name, sizes[0] - size) for name, size in program.sizes[0].items()]
        if len(set(sizes)) == 1:
            shape.append(sizes[0])
            continue
        fitting = [
            f"{name} + {more}" if more > 0 else f"{name} - {-more}" if more else name
            for name, more in choices
            if all(run[name] + more == size for run, size in zip(program.sizes, sizes, strict=True))
        ]
        if not fitting:
            return None
        shape.append(fitting[0])
    return tuple(shape)


def _replaced(
    program: Program, index: int, first: int, instead: Sequence[int], inputs: Sequence[Input]
) -> Program:
    """Without the step at `index`; `instead` are the numbers of what takes the place of its results."""
    count, results = len(program.inputs), program.steps[index].results

    def number(old: int) -> int:
        if first <= old < first + results:
            return instead[old - first]
        moved = old + len(inputs) if old >= count else old
        return moved - results if old >= first + results else moved

    steps = [step._replace(operands=tuple(map(number, step.operands))) for step in program.steps]
    outputs = tuple(dict.fromkeys(map(number, program.outputs)))
    return replace(
        program,
        inputs=(*program.inputs, *inputs),
        steps=(*steps[:index], *steps[index + 1 :]),
        outputs=outputs,
    )


def _of_less_elements(program: Program) -> Iterator[Program]:
    """With an input's axis of one or two elements, or its elements of the simple kind."""
    for index, one in enumerate(program.inputs):
        before, after = program.inputs[:index], program.inputs[index + 1 :]
        if one.values != "grid":
            yield replace(program, inputs=(*before, replace(one, values="grid"), *after))
        for axis, size in enumerate(one.shape):
            for less in (1, 2):
                if isinstance(size, int) and size > less:
                    shape = (*one.shape[:axis], less, *one.shape[axis + 1 :])
                    yield replace(program, inputs=(*before, replace(one, shape=shape), *after))
