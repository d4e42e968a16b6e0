"""Evaluating blocks: plain operations by their meaning, and those that need more than their operands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.errors import ConversionError, LoadError
from converters.targets.coreml.meaning import MEANINGS
from converters.targets.coreml.meaning.definition import Meaning, limited
from converters.targets.coreml.package import storage_dtype
from converters.targets.coreml.program import Argument, Block, Constant, Operation, Type

TUPLES = {"values", "ref_tensors", "begins", "ends", "end_masks", "loop_vars", "elem_shape"}
ITERATIONS_MAX = 1_000_000  # of one loop: more is taken for damage
FLOAT16 = np.dtype(np.float16)


@dataclass
class Scope:
    """What a block is evaluated in.

    Attributes:
        values: by name.
        states: the caller's state arrays, updated in place.
        ios: the version whose operations these are.
        cache: by id of an operation on constants, its results; by id of a float16 constant, the array in
            float32 once that was needed, None before.
    """

    values: dict[str, Any]
    states: dict[str, np.ndarray]
    ios: int
    cache: dict[int, Any]

    def inner(self) -> Scope:
        """The scope of a nested block: it sees all of this one, and what it makes stays in it."""
        return Scope(dict(self.values), self.states, self.ios, self.cache)


def evaluate(block: Block, scope: Scope) -> list[Any]:
    """Compute a block's operations in order, and return its outputs."""
    values = scope.values
    values.update(block.constants)
    for operation in block.operations:
        results = _evaluate(operation, scope)
        if len(results) != len(operation.outputs):
            raise LoadError(
                f"{operation.name} has {len(results)} outputs, {len(operation.outputs)} are declared"
            )
        for (name, declared), value in zip(operation.outputs, results, strict=True):
            values[name] = _checked(operation, name, declared, value)
        for name in operation.last_uses:
            values.pop(name, None)
    return [values[name] for name in block.outputs]


def _evaluate(operation: Operation, scope: Scope) -> tuple[Any, ...]:
    try:
        for _, declared in operation.outputs:
            if declared.kind == "tensor" and declared.shape is not None and None not in declared.shape:
                limited(size or 0 for size in declared.shape)
        if operation.type in CONTROL:
            return CONTROL[operation.type](operation, scope)
        if not operation.type.startswith("constexpr_"):
            return _compute(operation, scope)
        if id(operation) not in scope.cache:
            results = _compute(operation, scope)
            scope.cache |= constants_to_widen(results)
            scope.cache[id(operation)] = results
        return scope.cache[id(operation)]
    except ConversionError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise LoadError(f"{operation.name} cannot be computed: {error}") from error


def _compute(operation: Operation, scope: Scope) -> tuple[Any, ...]:
    meaning = MEANINGS[operation.type]
    given = {name: _argument(name, argument, scope) for name, argument in operation.arguments.items()}
    dtypes = _dtypes(meaning, given)
    computed = given if meaning.moves else {name: _widened(value, scope) for name, value in given.items()}
    result = meaning.compute(**computed, ios=scope.ios) if meaning.versioned else meaning.compute(**computed)
    results = result if isinstance(result, tuple) else (result,)
    if meaning.moves:
        return results
    names = dtypes if len(dtypes) == len(results) else dtypes * len(results)
    return tuple(_rounded(value, name) for value, name in zip(results, names, strict=True))


def _argument(name: str, argument: Argument, scope: Scope) -> Any:
    found = tuple(entry.value if isinstance(entry, Constant) else scope.values[entry] for entry in argument)
    if name in TUPLES:
        return found
    if len(found) != 1:
        raise ValueError(f"{name} is given {len(found)} values")
    return found[0]


def _dtypes(meaning: Meaning, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the outputs, by the meaning's rule; TypeError where the operands' do not go together."""
    if callable(meaning.dtype):
        dtypes = meaning.dtype(**given)
    else:
        rules = (meaning.dtype,) if isinstance(meaning.dtype, str) else meaning.dtype
        dtypes = tuple(rule[1:] if rule.startswith("=") else given[rule].dtype.name for rule in rules)
    operands = [given[name].dtype.name for name in meaning.same]
    if len(set(operands)) > 1:
        raise TypeError(f"operands of different types: {', '.join(operands)}")
    for name in operands[:1] or dtypes[:1]:
        if meaning.allowed and name not in meaning.allowed:
            raise TypeError(f"{name} is none of {', '.join(sorted(meaning.allowed))}")
    return dtypes


def _widened(value: Any, scope: Scope) -> Any:
    if isinstance(value, tuple):
        return tuple(_widened(entry, scope) for entry in value)
    if not isinstance(value, np.ndarray) or value.dtype != FLOAT16:
        return value
    if id(value) not in scope.cache:
        return value.astype(np.float32)
    if scope.cache[id(value)] is None:
        scope.cache[id(value)] = value.astype(np.float32)
    return scope.cache[id(value)]


def constants_to_widen(values: Iterable[Any]) -> dict[int, None]:
    """Entries for a scope's cache; the values must live as long as it."""
    return {id(value): None for value in values if isinstance(value, np.ndarray) and value.dtype == FLOAT16}


def _rounded(value: Any, dtype: str) -> Any:
    array = np.asarray(value)
    wanted = np.dtype(dtype)
    return array if array.dtype == wanted else array.astype(wanted)


def _checked(operation: Operation, name: str, declared: Type, value: Any) -> Any:
    if declared.kind != "tensor" or declared.dtype == "string":
        return value
    array = np.asarray(value)
    if array.dtype != storage_dtype(declared.dtype):
        raise LoadError(f"{operation.name}: {name} is declared {declared}, computed is {array.dtype.name}")
    if declared.shape is not None and (
        len(declared.shape) != array.ndim
        or any(wanted not in (None, size) for wanted, size in zip(declared.shape, array.shape, strict=True))
    ):
        raise LoadError(f"{operation.name}: {name} is declared {declared}, computed is {array.shape}")
    return array


def _cond(operation: Operation, scope: Scope) -> tuple[Any, ...]:
    if len(operation.blocks) != 2:
        raise ValueError(f"{len(operation.blocks)} branches")
    choice = np.asarray(_argument("pred", operation.arguments["pred"], scope))
    return tuple(evaluate(operation.blocks[0 if choice.item() else 1], scope.inner()))


def _while_loop(operation: Operation, scope: Scope) -> tuple[Any, ...]:
    condition, body = operation.blocks
    values: tuple[Any, ...] = _argument("loop_vars", operation.arguments["loop_vars"], scope)
    for _ in range(ITERATIONS_MAX):
        (proceed,) = _run_block(condition, values, scope)
        if not np.asarray(proceed).item():
            return values
        values = tuple(_run_block(body, values, scope))
    raise LoadError(f"{operation.name} does not end in {ITERATIONS_MAX} iterations")


def _run_block(block: Block, values: tuple[Any, ...], scope: Scope) -> list[Any]:
    inner = scope.inner()
    for (name, _), value in zip(block.inputs, values, strict=True):
        inner.values[name] = value
    return evaluate(block, inner)


def _state(operation: Operation, parameter: str, scope: Scope) -> str:
    (name,) = operation.arguments[parameter]
    if not isinstance(name, str) or name not in scope.states:
        raise ValueError(f"{name!r} is no state")
    return name


def _read_state(operation: Operation, scope: Scope) -> tuple[Any, ...]:
    return (scope.states[_state(operation, "input", scope)].copy(),)


def _write(name: str, value: np.ndarray, scope: Scope) -> None:
    state = scope.states[name]
    if value.shape != state.shape or value.dtype != state.dtype:
        raise ValueError(
            f"{value.dtype.name} {value.shape} for the state {name}, {state.dtype.name} {state.shape}"
        )
    state[...] = value


def _write_state(operation: Operation, scope: Scope) -> tuple[Any, ...]:
    value = _argument("data", operation.arguments["data"], scope)
    _write(_state(operation, "input", scope), value, scope)
    return ()


def _update_state(operation: Operation, scope: Scope) -> tuple[Any, ...]:
    value = _argument("value", operation.arguments["value"], scope)
    _write(_state(operation, "state", scope), value, scope)
    return (value,)


def labels_of(classes: Any) -> list[Any]:
    """A classifier's labels as str or int; ValueError where they are neither."""
    if not isinstance(classes, list):
        raise ValueError("the labels are no list")
    return [label if isinstance(label, str) else int(label) for label in classes]


def _classify(operation: Operation, scope: Scope) -> tuple[Any, ...]:
    """The label of the highest probability (the first of several), and all labels with theirs."""
    scores = np.asarray(_argument("probabilities", operation.arguments["probabilities"], scope)).reshape(-1)
    labels = labels_of(_argument("classes", operation.arguments["classes"], scope))
    if len(labels) != scores.size or not labels:
        raise ValueError(f"{len(labels)} labels for {scores.size} probabilities")
    return labels[int(scores.argmax())], dict(zip(labels, scores.astype(float).tolist(), strict=True))


CONTROL: Mapping[str, Callable[[Operation, Scope], tuple[Any, ...]]] = {
    "cond": _cond,
    "while_loop": _while_loop,
    "read_state": _read_state,
    "write_state": _write_state,
    "coreml_update_state": _update_state,
    "classify": _classify,
}
