"""Running `.mlpackage` folders: by Core ML on macOS, by our interpreter elsewhere."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact import Artifact, image_pixels
from converters.dtypes import numpy_dtype
from converters.errors import LoadError, ShapeError
from converters.metadata import KEY, Signature, signatures
from converters.specs import Image, Spec
from converters.storage import recover
from converters.targets.coreml.features import Description, Feature
from converters.targets.coreml.interpreter import Interpreter
from converters.targets.coreml.schema import coremltools
from converters.targets.coreml.states import DTYPE
from converters.targets.coreml.writer import identifier

Arrays = dict[str, np.ndarray]
UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "ne": "CPU_AND_NE"}  # as coremltools has them


class CoreMLArtifact(Artifact):
    """A package; takes and gives the original names and element types."""

    state_dtype = DTYPE

    def __init__(self, signatures: dict[str, Signature], metadata: dict[str, Any], runtime: str):
        super().__init__(signatures)
        self.metadata, self.runtime = metadata, runtime
        self.public: dict[str, str] = metadata["names"]

    def program_name(self, function: str) -> str:
        """What the package calls a function."""
        return "main" if len(self.functions) == 1 else identifier(function)

    def run(self, function: str, arrays: Mapping[str, np.ndarray], state: Any) -> dict[str, np.ndarray]:
        """Run on checked arrays."""
        signature = self.signatures[function]
        if signature.states and state is None:
            raise ShapeError(
                f"the model keeps {', '.join(signature.states)} itself", hint="pass state=model.new_state()"
            )
        fed = {}
        for name, array in arrays.items():
            spec = signature.inputs[name]
            picture = isinstance(spec, Image)
            given = image_pixels(spec, array) if picture else np.atleast_1d(_narrow(name, array))
            fed[self.public[name]] = given
        pictures = {self.public[n] for n, spec in signature.inputs.items() if isinstance(spec, Image)}
        results = self.predict(function, fed, pictures, state)
        kept = set(signature.states.values())
        return {
            name: _given(results[self.public[name]], spec)
            for name, spec in signature.outputs.items()
            if name not in kept
        }

    def predict(
        self, function: str, fed: dict[str, np.ndarray], images: set[str], state: Any
    ) -> dict[str, Any]:
        """Outputs by their names in the package; a state is updated."""
        raise AssertionError("one of the two runtimes")


class Interpreted(CoreMLArtifact):
    """Computed by the interpreter."""

    def __init__(self, interpreter: Interpreter, signatures: dict[str, Signature], metadata: dict[str, Any]):
        super().__init__(signatures, metadata, "edgevision's Core ML interpreter (NumPy)")
        self.interpreter = interpreter

    def predict(
        self, function: str, fed: dict[str, np.ndarray], images: set[str], state: Any
    ) -> dict[str, Any]:
        """Pictures are float32 (1, C, H, W) from 0 to 255 inside the program."""
        arrays = {n: a.transpose(0, 3, 1, 2).astype(np.float32) if n in images else a for n, a in fed.items()}
        return self.interpreter.run(arrays, self.program_name(function), state)

    def new_state(self, function: str | None = None, **sizes: int) -> Any:
        """Zeros for every state."""
        return self.interpreter.new_state(self.program_name(function or self.functions[0]))


class Native(CoreMLArtifact):
    """Computed by Core ML; macOS only."""

    def __init__(self, path: Path, units: str, signatures: dict[str, Signature], metadata: dict[str, Any]):
        self.path, self.units = path, getattr(coremltools().ComputeUnit, UNITS[units])
        self.models: dict[str, Any] = {}
        super().__init__(signatures, metadata, f"Core ML on macOS {platform.mac_ver()[0]} (units: {units})")

    def model(self, function: str) -> Any:
        """The function, opened when it is first asked for."""
        if function not in self.models:
            name = {"function_name": self.program_name(function)} if len(self.functions) > 1 else {}
            self.models[function] = coremltools().models.MLModel(
                str(self.path), compute_units=self.units, **name
            )
        return self.models[function]

    def new_state(self, function: str | None = None, **sizes: int) -> Any:
        """Core ML's own state, of zeros."""
        return self.model(function or self.functions[0]).make_state()

    def predict(
        self, function: str, fed: dict[str, np.ndarray], images: set[str], state: Any
    ) -> dict[str, Any]:
        """Pictures go in as PIL images."""
        from PIL import Image as Picture

        given: dict[str, Any] = {}
        for name, array in fed.items():
            grey = name in images and array.shape[-1] == 1
            given[name] = (
                Picture.fromarray(array[0, :, :, 0] if grey else array[0]) if name in images else array
            )
        return self.model(function).predict(given, *(() if state is None else (state,)))


def load(path: Path, units: str) -> CoreMLArtifact:
    """Open a package.

    Raises:
        LoadError: missing, damaged, or not written by this compiler (its metadata is missing).
    """
    recover(path)
    interpreter = Interpreter(path)
    if KEY not in interpreter.metadata:
        raise LoadError(f"{path} has no metadata of this compiler")
    metadata = _stored(path, interpreter)
    described, named = signatures(metadata), metadata.get("names")
    if not isinstance(named, dict) or not all(isinstance(text, str) for text in named.values()):
        raise LoadError(f"{path} has metadata without names")
    if len(described) != len(interpreter.functions) or not all(
        _fits(
            interpreter.descriptions.get("main" if len(described) == 1 else identifier(name)),
            signature,
            named,
        )
        for name, signature in described.items()
    ):
        raise LoadError(f"{path} has metadata of another model")
    if sys.platform == "darwin":
        return Native(path, units, described, metadata)
    return Interpreted(interpreter, described, metadata)


def _fits(there: Description | None, signature: Signature, named: Mapping[str, str]) -> bool:
    """Whether the package's function has the inputs, outputs, states and pictures of the signature."""
    if there is None or not set(signature.states) <= set(signature.inputs):
        return False
    inputs = {
        named.get(name): spec for name, spec in signature.inputs.items() if name not in signature.states
    }
    kept = set(signature.states.values())
    outputs = {named.get(name): spec for name, spec in signature.outputs.items() if name not in kept}
    extra = {there.label, there.probabilities} if there.label else set()
    return (
        inputs.keys() == there.inputs.keys()
        and outputs.keys() == there.outputs.keys() - extra
        and {named.get(name) for name in signature.states} == there.states.keys()
        and all(_alike(there.inputs[str(name)], spec) for name, spec in inputs.items())
        and all(_alike(there.outputs[str(name)], spec) for name, spec in outputs.items())
    )


def _alike(feature: Feature, spec: Spec | Image) -> bool:
    if isinstance(spec, Image):
        return (feature.kind, feature.shape, feature.color) == ("image", spec.size, spec.color)
    return feature.kind == "array"


def _stored(path: Path, interpreter: Interpreter) -> dict[str, Any]:
    """Our object among the package's metadata; empty where somebody else wrote the package."""
    try:
        stored = json.loads(interpreter.metadata.get(KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path} has damaged metadata: {error}") from error
    if not isinstance(stored, dict):
        raise LoadError(f"{path} has damaged metadata: it is {type(stored).__name__}, no object")
    return stored


def _edge(dtype: str) -> str:
    return "float32" if dtype == "bfloat16" else dtype


def _given(result: Any, spec: Spec | Image) -> np.ndarray:
    """A result as the function gives it; what it has without axes has one in the package."""
    if isinstance(spec, Image):
        pixels = np.asarray(result.convert("L" if spec.color == "grey" else "RGB"))
        pixels = pixels.reshape(1, *spec.size, spec.channels)
        return pixels[..., ::-1] if spec.color == "bgr" else pixels
    array = np.asarray(result).astype(numpy_dtype(_edge(spec.dtype)))
    return array.reshape(()) if not spec.shape else array


def _narrow(name: str, array: np.ndarray) -> np.ndarray:
    """Element types that Core ML's arrays have: bool and other integers go as int32, uint32 by its bits.

    Raises:
        ShapeError: integers beyond 32 bits.
    """
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if array.dtype.itemsize == 8 and array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise ShapeError(f"{name} has integers beyond 32 bits, which Core ML has not")
    return array.astype(np.int32) if array.dtype.kind in "biu" else array


def inspect(path: Path) -> dict[str, Any]:
    """Inputs, outputs, operations and weights, without running anything."""
    recover(path)
    interpreter = Interpreter(path)
    stored = _stored(path, interpreter)
    functions = {}
    for name, described in interpreter.descriptions.items():
        parts = {"inputs": described.inputs, "outputs": described.outputs, "states": described.states}
        shown = {part: {n: _shown(f) for n, f in features.items()} for part, features in parts.items()}
        functions[name] = {**shown, "operations": dict(interpreter.operations(name))}
    return {
        "format": f"Core ML, specification {interpreter.specification_version}",
        "precision": stored.get("precision", "unknown"),
        "weight_bytes": interpreter.weight_bytes,
        "metadata": stored,
        "functions": functions,
    }


def _shown(feature: Any) -> str:
    """One line about an input or output."""
    if feature.kind == "image":
        return f"{feature.color} picture {feature.shape}"
    sizes = feature.ranges if feature.ranges is not None else feature.shapes or feature.shape
    text = ", ".join(_span(size) for size in sizes or ())
    return f"{feature.dtype} ({text})" if feature.kind == "array" else feature.kind


def _span(size: Any) -> str:
    """A size, a range of sizes, or one of the allowed shapes."""
    if not isinstance(size, tuple):
        return str(size)
    return str(size[0]) if len(set(size)) == 1 else " to ".join(map(str, size))
