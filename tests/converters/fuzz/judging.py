"""Whether MLX, the NumPy meaning of the captured graph, and every target compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
import numpy as np
from case_table import difference, to_mlx
from fuzz.drawing import ALLOWED
from fuzz.program import Input, Sizes

import converters as cv
from converters.convert import Options
from converters.passes import optimize
from converters.snapshot import to_numpy
from converters.targets.onnx.load import load
from converters.targets.onnx.protobuf import write_inline
from converters.targets.onnx.write import build, check

Function = Callable[..., Sequence[mx.array]]
Run = Callable[..., Mapping[str, np.ndarray]]


class Refused(Exception):
    """A target cannot express the function and says why."""


def _numpy(graph: cv.Graph, folder: Path, opset: int) -> Run:
    """The meaning of the graph as it was captured."""
    return lambda **arrays: graph.evaluate(*arrays.values())


def _passes(graph: cv.Graph, folder: Path, opset: int) -> Run:
    """The meaning of the graph after all passes."""
    return _numpy(optimize(graph), folder, opset)


def _onnx(graph: cv.Graph, folder: Path, opset: int) -> Run:
    """A checked file in onnxruntime, written without waiting for the disk."""
    model, tensors = build(optimize(graph), Options(opset=opset), "main")
    check(model, tensors)
    write_inline(model, tensors, folder / "program.onnx")
    return load(folder / "program.onnx", "cpu")


def _coreml(graph: cv.Graph, folder: Path, opset: int) -> Run:
    """A package in Core ML or in the interpreter; Refused where it meets what Core ML has not."""
    model = cv.load(cv.convert(graph, folder / "program.mlpackage", precision="float32"))
    values = [value for node in graph.nodes for value in node.outputs]
    watched = graph.replace(outputs={str(i): value for i, value in enumerate([*graph.inputs, *values])})

    def run(**arrays: np.ndarray) -> Mapping[str, np.ndarray]:
        for array in watched.evaluate(*arrays.values()).values():
            if not array.size:
                raise Refused("Core ML has no empty arrays")
            if (
                array.dtype.kind in "iu"
                and array.dtype.itemsize == 8
                and (array.max() >= 2**31 or array.min() < -(2**31))
            ):
                raise Refused("Core ML has no integers beyond 32 bits")
        return model(**arrays)

    return run


def _coreai(graph: cv.Graph, folder: Path, opset: int) -> Run:
    """An asset in Apple's runtime; Refused at sizes that it says it does not take."""
    model = cv.load(cv.convert(graph, folder / "program.aimodel"))

    def run(**arrays: np.ndarray) -> Mapping[str, np.ndarray]:
        try:
            return model(**arrays)
        except cv.ShapeError as error:
            raise Refused(error.message) from error

    return run


TARGETS: dict[str, Callable[[cv.Graph, Path, int], Run]] = {
    "numpy": _numpy,
    "passes": _passes,
    "onnx": _onnx,
    "coreml": _coreml,
    "coreai": _coreai,
}
Outcome = str | Refused | None


def judged(
    function: Function,
    inputs: Sequence[Input],
    sizes: Sequence[Sizes],
    grades: Sequence[str],
    opset: int = 23,
    targets: Sequence[str] = ("numpy", "passes", "onnx"),
) -> dict[str, Outcome]:
    """For each target how it differs from MLX; None where it does not.

    Args:
        grades: for each output the element type whose tolerance holds for it.
    """
    try:
        graph = captured(function, inputs)
    except Refused as refusal:
        return dict.fromkeys(targets, refusal)
    except Exception as error:
        return dict.fromkeys(targets, f"capture: {_told(error)}")
    runs = [run for run in sizes if not any(dim.refusal(run[name]) for name, dim in graph.dims.items())]
    if not runs:
        return dict.fromkeys(targets, Refused(f"capture: no size of {sizes} is within {graph.dims}"))
    given = [[one.array(run) for one in inputs] for run in runs]
    expected = [_expected(function, arrays) for arrays in given]
    with TemporaryDirectory() as folder:

        def outcome(target: str) -> Outcome:
            try:
                run = TARGETS[target](graph, Path(folder), opset)
            except cv.UnsupportedOp as refusal:
                return Refused(refusal.message)
            except Exception as error:
                return _told(error)
            for where, arrays, wanted in zip(runs, given, expected, strict=True):
                try:
                    found = _difference(run, arrays, wanted, grades)
                except Refused as refusal:
                    return refusal
                if found is not None:
                    return f"at {where}: {found}"
            return None

        return {target: outcome(target) for target in targets}


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def captured(function: Function, inputs: Sequence[Input]) -> cv.Graph:
    """The graph; Refused where the function cannot be captured."""
    specs = {f"x{i}": cv.Spec(one.shape, one.dtype) for i, one in enumerate(inputs)}
    try:
        return cv.capture(function, specs)
    except (cv.CaptureError, cv.UnsupportedOp) as refusal:
        raise Refused(refusal.message) from refusal


def _expected(function: Function, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    with mx.stream(mx.cpu):
        results = function(*(to_mlx(array) for array in arrays))
        mx.eval(results)
    return [np.array(to_numpy(result)) for result in results]


def _difference(
    run: Run, arrays: Sequence[np.ndarray], wanted: Sequence[np.ndarray], grades: Sequence[str]
) -> str | None:
    try:
        results = run(**{f"x{i}": array for i, array in enumerate(arrays)})
    except Refused:
        raise
    except Exception as error:
        return _told(error)
    for (name, got), right, grade in zip(results.items(), wanted, grades, strict=True):
        found = difference(_at_edge(right), _at_edge(np.asarray(got)), ALLOWED[grade])
        if found is not None:
            return f"{name}: {found}"
    return None


def _at_edge(array: np.ndarray) -> Any:
    """bfloat16 is float32 at the edges of a file."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
