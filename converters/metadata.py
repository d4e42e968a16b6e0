"""The one metadata schema of every format: a JSON object that says what the artefact takes, gives and is.

{"format": 1, "task", "labels", "inputs", "tokenizer", "states", "source", "licence", "sha256"}

`inputs` and `outputs` map names to shape, dtype and, for pictures, size, color, scale, mean and std; `dims`
maps names to their bounds; `sha256` is of the weights. `user_defined` maps names to texts that a Core ML
package shows beside this object, for programs that look there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from converters.errors import ConversionError, LoadError
from converters.graph import Dim, Graph, Value
from converters.sizes import Shape, parse
from converters.specs import Image, Spec

FORMAT = 1
KEY = "edgevision"  # the name under which each format stores the JSON
FREE_KEYS = (
    "descriptions",  # of inputs, outputs and states, by name
    "task",
    "labels",
    "tokenizer",
    "source",
    "licence",
    "author",
    "version",
    "description",
    "preprocessing",
    "user_defined",
)


@dataclass(frozen=True)
class Signature:
    """What one function takes and gives: names to specs, states to the outputs that carry them, bounds of
    dimensions."""

    inputs: Mapping[str, Spec | Image]
    outputs: Mapping[str, Spec | Image]
    states: Mapping[str, str] = field(default_factory=dict)
    dims: Mapping[str, Dim] = field(default_factory=dict)

    @staticmethod
    def of(graph: Graph) -> Signature:
        """The signature of a graph."""
        inputs = {v.name: graph.images.get(v.name) or _spec(v) for v in graph.inputs}
        outputs = {name: graph.images.get(name) or _spec(value) for name, value in graph.outputs.items()}
        return Signature(inputs, outputs, graph.states, graph.dims)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "inputs": {name: _to_json(spec) for name, spec in self.inputs.items()},
            "outputs": {name: _to_json(spec) for name, spec in self.outputs.items()},
            "states": dict(self.states),
            "dims": {name: asdict(dim) for name, dim in self.dims.items()},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Signature:
        """The reverse; LoadError where something is missing or not of its type."""
        try:
            inputs = {name: _from_json(entry) for name, entry in data["inputs"].items()}
            outputs = {name: _from_json(entry) for name, entry in data["outputs"].items()}
            dims = {name: Dim(**entry) for name, entry in data.get("dims", {}).items()}
            states = dict(data.get("states", {}))
            if not all(isinstance(result, str) for result in states.values()):
                raise TypeError("a state is carried by what is no name")
            return Signature(inputs, outputs, states, dims)
        except (KeyError, TypeError, ValueError, AttributeError, ConversionError) as error:
            raise LoadError(f"the metadata does not describe a function: {error}") from error


def _spec(value: Value) -> Spec:
    return Spec(value.shape, value.dtype)


def _sizes(shape: Shape) -> list[int | str]:
    return [size if isinstance(size, int) else str(size) for size in shape]


def _to_json(spec: Spec | Image) -> dict[str, Any]:
    if isinstance(spec, Image):
        return {"image": {name: value for name, value in asdict(spec).items() if value is not None}}
    return {"shape": _sizes(spec.shape), "dtype": spec.dtype}


def _from_json(entry: Mapping[str, Any]) -> Spec | Image:
    if "image" in entry:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in entry["image"].items()
        }
        return Image(**fields)
    return _array(entry)


def _array(entry: Mapping[str, Any]) -> Spec:
    sizes = [parse(size, quotients=True) if isinstance(size, str) else size for size in entry["shape"]]
    return Spec(sizes, entry["dtype"])


def describe(
    graphs: Mapping[str, Graph],
    labels: list[str] | None,
    given: Mapping[str, Any] | None,
    weights: Iterable[np.ndarray],
) -> dict[str, Any]:
    """The metadata object for the functions of one artefact.

    Raises:
        ConversionError: where `given` has a key that the schema does not know.
    """
    extra = dict(given or {})
    unknown = sorted(set(extra) - set(FREE_KEYS))
    if unknown:
        raise ConversionError(
            f"metadata has no {', '.join(unknown)}", hint=f"keys are {', '.join(FREE_KEYS)}"
        )
    functions = {name: Signature.of(graph).to_json() for name, graph in graphs.items()}
    first = next(iter(functions.values()))
    data: dict[str, Any] = {"format": FORMAT, **extra}
    if labels is not None:
        data["labels"] = list(labels)
    data |= first if len(functions) == 1 else {"functions": functions}
    data["sha256"] = digest(weights)
    return data


def signatures(data: Mapping[str, Any]) -> dict[str, Signature]:
    """The functions that metadata describes; "main" where there is one.

    Raises:
        LoadError: where the format is newer than this version reads.
    """
    if data.get("format") != FORMAT:
        raise LoadError(f"metadata of format {data.get('format')!r}; this version reads {FORMAT}")
    if "functions" in data:
        return {name: Signature.from_json(entry) for name, entry in data["functions"].items()}
    return {"main": Signature.from_json(data)}


def digest(weights: Iterable[np.ndarray]) -> str:
    """SHA-256 over the weights' bytes, in order."""
    sha = hashlib.sha256()
    for array in weights:
        sha.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data if array.size else b"")
    return sha.hexdigest()
