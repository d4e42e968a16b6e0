"""A loaded model: NumPy in, a dict of NumPy out, the same for every format and system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.dtypes import is_float, is_integer, numpy_dtype
from converters.errors import ShapeError
from converters.graph import bind_sizes
from converters.metadata import Signature
from converters.sizes import sizes_in, substitute
from converters.specs import Image, Spec

if TYPE_CHECKING:
    from converters.quantization import Quantization

State = dict[str, np.ndarray]


class Function:
    """One function of an artefact; callable as the artefact itself is."""

    def __init__(self, artifact: Artifact, name: str):
        self.artifact, self.name = artifact, name
        self.signature = artifact.signatures[name]

    def __call__(self, state: Any = None, **inputs: Any) -> dict[str, np.ndarray]:
        """Run on arrays by name (PIL pictures for picture inputs); a `state` is read and updated.

        Returns:
            arrays by name; a picture as uint8 (1, height, width, channels), channels in the order of its
            spec's color.

        Raises:
            ShapeError: names, sizes or element types are not what the function takes.
        """
        arrays = self._arrays(inputs, state)
        batch = self._loop_size(arrays)
        if batch is None:
            return self._run(arrays, state)
        rows = []
        for index in range(batch):
            one = {
                n: a[index : index + 1] if isinstance(self.signature.inputs[n], Image) else a
                for n, a in arrays.items()
            }
            rows.append(self._run(one, state))
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _run(self, arrays: Mapping[str, np.ndarray], state: Any) -> dict[str, np.ndarray]:
        """The artefact's results; where its format has no pictures, they are made here."""
        results = self.artifact.run(self.name, arrays, state)
        for name, spec in self.signature.outputs.items():
            if isinstance(spec, Image) and results[name].dtype != np.uint8:
                results[name] = np.rint(image_values(spec, results[name])).astype(np.uint8)
        return results

    def _loop_size(self, arrays: Mapping[str, np.ndarray]) -> int | None:
        """The pictures' batch where it is not 1, which is all that a picture input takes."""
        batches = {len(arrays[n]) for n, s in self.signature.inputs.items() if isinstance(s, Image)}
        if len(batches) > 1:
            raise ShapeError(f"the picture inputs have batches of {sorted(batches)}")
        return None if batches <= {1} else batches.pop()

    def _arrays(self, inputs: Mapping[str, Any], state: Any) -> dict[str, np.ndarray]:
        wanted = [
            name for name in self.signature.inputs if state is None or name not in self.signature.states
        ]
        missing, extra = [n for n in wanted if n not in inputs], sorted(set(inputs) - set(wanted))
        if missing or extra:
            told = [f"missing {', '.join(missing)}"] if missing else []
            told += [f"unexpected {', '.join(extra)}"] if extra else []
            held = bool(missing) and set(missing) <= set(self.signature.states)
            hint = "pass state=model.new_state()" if held else None
            raise ShapeError(f"{'; '.join(told)}: the model takes {', '.join(wanted)}", hint=hint)
        arrays = {name: self._array(name, inputs[name]) for name in wanted}
        declared = [(self.signature.inputs[n], a) for n, a in arrays.items()]
        shapes = ((spec.shape, array.shape) for spec, array in declared if isinstance(spec, Spec))
        sizes = bind_sizes(shapes, whole=state is None)  # a state holds sizes too
        for name, size in sizes.items():
            reason = self.signature.dims[name].refusal(size) if name in self.signature.dims else None
            if reason is not None:
                raise ShapeError(f"{name} {reason}")
        return arrays

    def _array(self, name: str, given: Any) -> np.ndarray:
        spec = self.signature.inputs[name]
        if isinstance(spec, Image):
            return image_array(spec, given)
        array = _to_numpy(given)
        dtype = numpy_dtype(spec.dtype)
        if array.dtype == dtype:
            return array
        floats = is_float(array.dtype.name) and is_float(spec.dtype)
        integers = is_integer(array.dtype.name) and is_integer(spec.dtype)
        if not floats and not (integers and np.array_equal(array.astype(dtype).astype(array.dtype), array)):
            raise ShapeError(f"{name} is {array.dtype.name}, the model takes {spec.dtype}")
        return array.astype(dtype)


def _to_numpy(given: Any) -> np.ndarray:
    """Anything that NumPy takes, and MLX's arrays of bfloat16, which it does not."""
    if type(given).__module__.startswith("mlx."):
        from converters.snapshot import to_numpy

        return to_numpy(given)
    return np.asarray(given)


class Artifact(ABC):
    """A converted model, loaded. `model(image=array)["logits"]`; `model["step"](…)` where there are several
    functions.

    Attributes:
        metadata: the JSON object written by `convert`.
        runtime: what computes, for reports ("onnxruntime 1.32.0 (CPU)").
        note: what is computed in place of the artefact itself here, and why.
    """

    metadata: dict[str, Any]
    runtime: str
    note: str | None = None
    state_dtype: str | None = None  # in which states are kept, where that is not the function's own type

    def __init__(self, signatures: Mapping[str, Signature]):
        self.signatures = dict(signatures)
        self.functions: tuple[str, ...] = tuple(signatures)

    @property
    def _default(self) -> Function:
        if len(self.functions) > 1:
            raise ShapeError(
                f"the model has the functions {', '.join(self.functions)}", hint='choose: model["name"](…)'
            )
        return self[next(iter(self.functions))]

    def __getitem__(self, name: str) -> Function:
        if name not in self.signatures:
            raise ShapeError(f"there is no function {name!r}; there are {', '.join(self.functions)}")
        return Function(self, name)

    def __call__(self, state: Any = None, **inputs: Any) -> dict[str, np.ndarray]:
        """Run the only function."""
        return self._default(state=state, **inputs)

    @property
    def inputs(self) -> Mapping[str, Spec | Image]:
        """Names to specs; without the states where the format keeps them inside."""
        return self._default.signature.inputs

    @property
    def outputs(self) -> Mapping[str, Spec | Image]:
        """Names to specs."""
        return self._default.signature.outputs

    @property
    def states(self) -> Mapping[str, str]:
        """Which input carries which output on."""
        return self._default.signature.states

    @property
    def quantization(self) -> Quantization | None:
        """How it was quantised after training: `str()` tells size, time and error; None where it was not."""
        from converters.quantization import Quantization

        found = self.metadata.get("quantize")
        return None if found is None else Quantization.from_json(found)

    def new_state(self, function: str | None = None, **sizes: int) -> Any:
        """Zeros for every state; dimensions not given have their lowest size."""
        return self.zeros(function, **sizes)

    def zeros(self, function: str | None = None, **sizes: int) -> State:
        """Zeros for the states as the function takes them; dimensions not given have their lowest size."""
        signature = self.signatures[function or self.functions[0]]
        state: State = {}
        for name in signature.states:
            spec = signature.inputs[name]
            assert isinstance(spec, Spec)
            known = {n: sizes.get(n, signature.dims[n].low) for s in sizes_in(spec.shape) for n in s.names()}
            state[name] = np.zeros(substitute(spec.shape, known), numpy_dtype(spec.dtype))
        return state

    @abstractmethod
    def run(self, function: str, arrays: Mapping[str, np.ndarray], state: Any) -> dict[str, np.ndarray]:
        """Run one function on checked arrays."""


def image_array(spec: Image, given: Any) -> np.ndarray:
    """What the captured function sees: float32 (N, height, width, channels), scaled and normalised.

    Args:
        given: that array, or a PIL picture of the spec's size.
    """
    height, width = spec.size
    if hasattr(given, "convert") and hasattr(given, "size"):
        if given.size != (width, height):
            raise ShapeError(
                f"the picture is {given.size[0]}x{given.size[1]}, the model takes {width}x{height}"
            )
        pixels = np.asarray(given.convert("L" if spec.color == "grey" else "RGB"), np.float32)
        pixels = pixels.reshape(1, height, width, spec.channels)
        pixels = pixels[..., ::-1] if spec.color == "bgr" else pixels
        values = pixels * np.float32(spec.scale)
        values = values if spec.mean is None else values - np.array(spec.mean, np.float32)
        return values if spec.std is None else values / np.array(spec.std, np.float32)
    array = np.asarray(given)
    if array.ndim != 4 or array.shape[1:] != (height, width, spec.channels) or not is_float(array.dtype.name):
        raise ShapeError(
            f"the picture input takes a PIL picture or float32 (batch, {height}, {width}, {spec.channels}), "
            f"got {array.dtype.name} {array.shape}"
        )
    return array.astype(np.float32)


def image_values(spec: Image, array: np.ndarray) -> np.ndarray:
    """What a picture output's array is in pixels, 0 to 255, not rounded yet."""
    values = array.astype(np.float32)
    values = values if spec.std is None else values * np.array(spec.std, np.float32)
    values = values if spec.mean is None else values + np.array(spec.mean, np.float32)
    return np.clip(values / np.float32(spec.scale), 0, 255)


def image_pixels(spec: Image, array: np.ndarray) -> np.ndarray:
    """The 8-bit picture (1, height, width, channels) behind the array that the captured function sees.

    Raises:
        ShapeError: the array is not what 8-bit pixels give; a picture input cannot take it.
    """
    values = array.astype(np.float64)
    values = values if spec.std is None else values * np.array(spec.std)
    values = values if spec.mean is None else values + np.array(spec.mean)
    pixels = np.rint(values / spec.scale)
    if (
        pixels.min(initial=0) < 0
        or pixels.max(initial=0) > 255
        or np.abs(values / spec.scale - pixels).max() > 0.01
    ):
        raise ShapeError("the array is not made of 8-bit pixels, which is all that a picture input takes")
    return pixels.astype(np.uint8)
