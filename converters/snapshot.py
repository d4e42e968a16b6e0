"""Finding the modules that a function reads, naming their weights, and leaving them exactly as they were."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from converters.errors import CaptureError

# Module is a dict: without this, an empty module would be falsy and equal to another
Modules = dict[str, nn.Module]


def modules_of(fn: Callable[..., Any], module: nn.Module | None) -> Modules:
    """The modules that `fn` reaches: `module`, or what it is, is bound to, closes over or names globally.

    One module has the prefix "", several are told apart by the names of their variables.
    """
    if module is not None:
        return {"": module}
    found: Modules = {}
    _collect("", fn, found, set())
    unique: Modules = {}
    for name, candidate in found.items():
        if not any(candidate is other for other in unique.values()):
            unique[name] = candidate
    return {"": next(iter(unique.values()))} if len(unique) == 1 else unique


def _collect(name: str, thing: Any, found: Modules, seen: set[int]) -> None:
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, nn.Module):
        found.setdefault(name, thing)
    elif isinstance(thing, functools.partial):
        for index, part in enumerate([thing.func, *thing.args, *thing.keywords.values()]):
            _collect(name or f"arg{index}", part, found, seen)
    elif hasattr(thing, "__self__") and hasattr(thing, "__func__"):
        _collect(name or "self", thing.__self__, found, seen)
        _collect(name, thing.__func__, found, seen)
    elif hasattr(thing, "__code__"):
        _collect_from_code(thing, found, seen)
    elif isinstance(thing, dict | list | tuple):
        items = thing.items() if isinstance(thing, dict) else enumerate(thing)
        for key, part in items:
            _collect(f"{name}.{key}" if name else str(key), part, found, seen)
    elif hasattr(thing, "__dict__") and not isinstance(thing, type) and type(thing).__module__ != "builtins":
        if callable(thing) and hasattr(type(thing).__call__, "__code__"):
            _collect(name, type(thing).__call__, found, seen)
        for key, part in list(vars(thing).items()):
            if isinstance(part, nn.Module | dict | list | tuple):
                _collect(key, part, found, seen)


def _collect_from_code(function: Any, found: Modules, seen: set[int]) -> None:
    code = function.__code__
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            _collect(variable, cell.cell_contents, found, seen)
        except ValueError:  # a cell that is not filled yet
            continue
    for variable in code.co_names:
        thing = function.__globals__.get(variable)
        if isinstance(thing, nn.Module | dict | list | tuple) or hasattr(thing, "__code__"):
            _collect(variable, thing, found, seen)
    for part in function.__defaults__ or ():
        _collect("default", part, found, seen)


def refuse_training(modules: Modules) -> None:
    """CaptureError where a submodule in training mode would compute something else than at inference."""
    for prefix, module in modules.items():
        for path, part in module.named_modules():
            code = getattr(type(part).__call__, "__code__", None)
            if part.training and code is not None and "training" in code.co_names:
                where = ".".join(filter(None, (prefix, path))) or "the module"
                raise CaptureError(
                    f"{where} ({type(part).__name__}) is in training mode, and computes something else then",
                    hint="call model.eval() before capturing",
                )


def address(array: mx.array) -> int:
    """Where the elements lie in memory: the identity of an evaluated array."""
    return to_numpy(array).__array_interface__["data"][0]


def to_numpy(array: mx.array) -> np.ndarray:
    """The array as NumPy sees it, without copying where the memory allows; bfloat16 by ml_dtypes."""
    if array.dtype == mx.bfloat16:
        import ml_dtypes

        return np.asarray(array.view(mx.uint16)).view(ml_dtypes.bfloat16)
    return np.asarray(array)


def weight_names(modules: Modules) -> dict[int, str]:
    """Address of each parameter to its path; of tied weights the first path."""
    names: dict[int, str] = {}
    for prefix, module in modules.items():
        for path, array in tree_flatten(module):
            if isinstance(array, mx.array) and array.size:
                names.setdefault(address(array), ".".join(filter(None, (prefix, path))))
    return names


class Snapshot:
    """Containers, attributes and random state of modules, to be put back as often as needed."""

    def __init__(self, modules: Modules):
        mx.eval([a for m in modules.values() for _, a in tree_flatten(m) if isinstance(a, mx.array)])
        parts = [part for module in modules.values() for _, part in module.named_modules()]
        self.saved = [(part, _copy(dict(part)), dict(vars(part))) for part in parts]
        (state,) = mx.random.state  # type: ignore[misc]
        self.key = [int(half) for half in np.array(state)]

    def lend(self) -> None:
        """Other arrays of the same elements in place of the user's, which `weight[0] = 1` would change."""
        for part, items, _ in self.saved:
            dict.update(part, _copy(items, lambda array: array.astype(array.dtype)))

    def restore(self) -> None:
        """Everything as it was."""
        for part, items, attributes in self.saved:
            part.clear()
            dict.update(part, _copy(items))
            vars(part).clear()
            vars(part).update(attributes)
        mx.random.seed((self.key[0] << 32) | self.key[1])  # assigning to mx.random.state does nothing


@contextmanager
def uncompiled() -> Iterator[None]:
    """mx.compile switched off, and afterwards as it was."""
    compiling = _compiles()
    mx.disable_compile()
    try:
        yield
    finally:
        if compiling:
            mx.enable_compile()


def _copy(tree: Any, leaf: Callable[[mx.array], mx.array] = lambda array: array) -> Any:
    """The containers copied, modules shared, arrays as `leaf` gives them."""
    if isinstance(tree, mx.array):
        return leaf(tree)
    if isinstance(tree, nn.Module):
        return tree
    if isinstance(tree, dict):
        return {key: _copy(part, leaf) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)([_copy(part, leaf) for part in tree])
    return tree


def _compiles() -> bool:
    """Whether mx.compile is switched on: a compiled function then does not run its Python code at every call.

    The first one of a process runs it twice.
    """
    calls = []

    def count(x: mx.array) -> mx.array:
        calls.append(1)
        return x + 1

    compiled = mx.compile(count)
    for _ in range(3):
        compiled(mx.array(0))
    return len(calls) < 3
