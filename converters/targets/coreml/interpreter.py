"""Running a saved `.mlpackage` on any system: the program, operation by operation, in NumPy.

Numbers are computed in float32; where the program says float16, each operation's result is rounded to it.
Every result is compared with the type and the shape that the program declares for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError, LoadError, ShapeError, UnsupportedOp
from converters.targets.coreml.control import CONTROL, Scope, constants_to_widen, evaluate, labels_of
from converters.targets.coreml.declared import check_declared
from converters.targets.coreml.features import (
    Description,
    Feature,
    read_descriptions,
    to_array,
    to_picture,
    to_pixels,
)
from converters.targets.coreml.meaning import MEANINGS
from converters.targets.coreml.meaning.definition import limited
from converters.targets.coreml.package import Package, storage_dtype
from converters.targets.coreml.program import Function, Type, read_function

State = dict[str, np.ndarray]


class Interpreter:
    """A loaded package.

    Args:
        package: the folder `NAME.mlpackage`.

    Attributes:
        functions: names, the default one first.
        descriptions: inputs, outputs and states of each function.
        metadata: the user-defined entries.
        author, license, version, short_description: the other entries.
        specification_version: of Core ML: 6 is iOS 15, 7 iOS 16, 8 iOS 17, 9 iOS 18.
        labels: a classifier's labels, else None.

    Raises:
        LoadError: missing, cut or damaged.
        UnsupportedOp: an operation that has no meaning here; all of them are named.
    """

    def __init__(self, package: Path):
        self.path = Path(package)
        try:
            self._package = Package(self.path)
            self._read(self._package.model)
        except (ValueError, TypeError, MemoryError, RecursionError) as error:
            raise LoadError(f"{self.path} is damaged: {type(error).__name__} {error}") from error

    def _read(self, model: Any) -> None:
        self.descriptions: dict[str, Description] = read_descriptions(model)
        self.functions = tuple(self.descriptions)
        metadata = model.description.metadata
        self.metadata: dict[str, str] = dict(metadata.userDefined)
        self.author, self.license = metadata.author, metadata.license
        self.version, self.short_description = metadata.versionString, metadata.shortDescription
        self.specification_version: int = model.specificationVersion
        self._bodies = {name: read_function(self._package, name) for name in self.functions}
        self._cache: dict[str, dict[int, Any]] = {
            name: {
                k: v
                for block in body.body.blocks()
                for k, v in constants_to_widen(block.constants.values()).items()
            }
            for name, body in self._bodies.items()
        }
        missing = {
            operation.type: operation.outputs[0][0] if operation.outputs else ""
            for body in self._bodies.values()
            for operation in body.body.walk()
            if operation.type not in MEANINGS and operation.type not in CONTROL
        }
        if missing:
            names = ", ".join(f"{kind} (at {output})" if output else kind for kind, output in missing.items())
            raise UnsupportedOp(
                f"{self.path} cannot be computed here: it has {names}", hint="use Core ML itself"
            )
        for name, body in self._bodies.items():
            _check_interface(self.descriptions[name], body, f"{self.path}, function {name}")
            check_declared(body.inputs, body.body)
        self.labels = self._labels()

    def _labels(self) -> list[Any] | None:
        body = self._bodies[self.functions[0]].body
        for operation in body.walk():
            if operation.type == "classify":
                (classes,) = operation.arguments.get("classes", ("",))
                value = body.constants.get(classes) if isinstance(classes, str) else classes.value
                return labels_of(value)
        return None

    @property
    def weight_bytes(self) -> int:
        """Size of the weights files."""
        return self._package.weight_bytes

    def operations(self, function: str | None = None) -> Counter[str]:
        """How often each operation occurs, constants apart; those of nested blocks count too."""
        return Counter(operation.type for operation in self._bodies[self._name(function)].body.walk())

    def _name(self, function: str | None) -> str:
        if function is None:
            return self.functions[0]
        if function not in self.descriptions:
            raise ShapeError(f"there is no function {function!r}; there are {', '.join(self.functions)}")
        return function

    def new_state(self, function: str | None = None) -> State:
        """Zeros for every state of a function. `run` updates them in place."""
        types = _states(self._bodies[self._name(function)])
        return {name: np.zeros(_sizes(kind), storage_dtype(kind.dtype)) for name, kind in types.items()}

    def run(
        self, inputs: Mapping[str, Any], function: str | None = None, state: State | None = None
    ) -> dict[str, Any]:
        """Compute a function.

        Args:
            inputs: arrays; for image inputs PIL pictures or what `to_pixels` takes.
            function: its name; default the first.
            state: from `new_state`; required where the function has states, and updated.

        Returns:
            arrays by name; for image outputs PIL pictures; for classifiers the label (str or int) and a
            dictionary of probabilities.

        Raises:
            ShapeError: inputs or states that the function does not take.
            LoadError: the program contradicts itself.
        """
        name = self._name(function)
        description, body = self.descriptions[name], self._bodies[name]
        values: dict[str, Any] = self._inputs(description, body, inputs)
        states = _states(body)
        if states and state is None:
            raise ShapeError(f"{name} has the states {', '.join(states)}", hint="pass state=new_state()")
        held: State = {} if state is None else state
        for key, kind in states.items():
            array = held.get(key)
            if array is None or array.shape != kind.shape or array.dtype != storage_dtype(kind.dtype):
                raise ShapeError(f"the state {key} is not {kind}", hint="take it from new_state()")
        scope = Scope(values, held, body.ios, self._cache[name])
        with np.errstate(all="ignore"):
            results = evaluate(body.body, scope)
        return {
            key: self._output(description, key, value)
            for key, value in zip(body.body.outputs, results, strict=True)
        }

    def _inputs(self, description: Description, body: Function, given: Mapping[str, Any]) -> dict[str, Any]:
        wanted = description.inputs
        extra = sorted(set(given) - set(wanted))
        missing = [name for name, feature in wanted.items() if name not in given and not feature.optional]
        if extra or missing:
            told = [f"missing {', '.join(missing)}"] if missing else []
            told += [f"unexpected {', '.join(extra)}"] if extra else []
            raise ShapeError(f"{'; '.join(told)}: the model takes {', '.join(wanted)}")
        values = {}
        for name, feature in wanted.items():
            kind = body.inputs[name]
            if name not in given:
                array = np.full(limited(feature.shape or ()), feature.default, feature.dtype)
            elif feature.kind == "image":
                array = to_pixels(feature, given[name])
            else:
                array = to_array(feature, given[name])
            array = array.astype(storage_dtype(kind.dtype), copy=False)
            if not _matches(array.shape, kind):
                raise ShapeError(f"{name} has shape {array.shape}, the program takes {kind}")
            values[name] = array
        return values

    def _output(self, description: Description, name: str, value: Any) -> Any:
        feature = description.outputs.get(name)
        if feature is not None and feature.kind == "image":
            return to_picture(feature, value)
        if not isinstance(value, np.ndarray):
            return value
        wanted = value.dtype if feature is None or not feature.dtype else np.dtype(feature.dtype)
        return np.array(value, wanted, order="C")


def _matches(shape: tuple[int, ...], kind: Type) -> bool:
    return kind.shape is None or (
        len(shape) == len(kind.shape) and all(w in (None, s) for s, w in zip(shape, kind.shape, strict=True))
    )


def _sizes(kind: Type) -> tuple[int, ...]:
    return tuple(size or 0 for size in kind.shape or ())


def _states(body: Function) -> dict[str, Type]:
    return {name: kind for name, kind in body.inputs.items() if kind.kind == "state"}


def _check_interface(description: Description, body: Function, where: str) -> None:
    """The description and the program must speak of the same inputs, states and outputs."""
    states = _states(body)
    for what, described, there in (
        ("inputs", description.inputs, set(body.inputs) - set(states)),
        ("states", description.states, set(states)),
        ("outputs", description.outputs, set(body.body.outputs)),
    ):
        if set(described) != there:
            names = ", ".join(sorted(set(described) ^ there))
            raise LoadError(f"{where}: the {what} {names} are in the description or in the program only")
    for name, feature in description.inputs.items():
        kind = body.inputs[name]
        if kind.kind != "tensor" or feature.kind not in ("array", "image"):
            raise LoadError(f"{where}: the input {name} is {feature.kind} and {kind.kind}")
        _check_sizes(feature, kind, where)
    for name, kind in states.items():
        if kind.shape is None or None in kind.shape:
            raise LoadError(f"{where}: the state {name} has the unknown shape {kind}")
        try:
            limited(_sizes(kind))
        except (ValueError, ConversionError) as error:
            raise LoadError(f"{where}: the state {name}: {error}") from error


def _check_sizes(feature: Feature, kind: Type, where: str) -> None:
    """LoadError where the sizes that a feature allows are not those of the program's input."""
    if feature.shape is None or kind.shape is None:
        return
    channels = 3 if feature.color in ("rgb", "bgr") else 1
    shape = (1, channels, *feature.shape) if feature.kind == "image" else feature.shape
    if not _matches(shape, kind):
        raise LoadError(
            f"{where}: the input {feature.name} is described as {shape}, the program takes {kind}"
        )
