"""From graphs (or a function) to an artefact on disk, and back into memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.artifact import Artifact
from converters.errors import ConversionError, LoadError
from converters.graph import Graph
from converters.passes import optimize

if TYPE_CHECKING:
    from converters.quantization import Quantization
    from converters.specs import Image, Spec

TARGETS = {
    "onnx": "converters.targets.onnx",
    "coreml": "converters.targets.coreml",
    "coreai": "converters.targets.coreai",
}
SUFFIXES = {".onnx": "onnx", ".mlpackage": "coreml", ".aimodel": "coreai"}
LAYOUTS = (None, "neural-engine")
PRECISIONS = (None, "float32", "float16")


@dataclass(frozen=True)
class Options:
    """What `convert` was asked for, checked."""

    precision: str | None = None
    labels: Sequence[str] | None = None
    metadata: Mapping[str, Any] | None = None
    opset: int = 23
    runtime: str | None = None
    minimum_ios: int = 18
    overwrite: bool = True
    quantize: str | None = None
    layout: str | None = None
    quantization: Quantization | None = None


def convert(
    source: Graph | Mapping[str, Graph] | Callable[..., Any],
    path: str | Path,
    target: str | None = None,
    inputs: Mapping[str, Spec | Image] | None = None,
    precision: str | None = None,
    quantize: str | None = None,
    calibration: Any = None,
    labels: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    opset: int = 23,
    runtime: str | None = None,
    minimum_ios: int = 18,
    layout: str | None = None,
    overwrite: bool = True,
) -> Path:
    """Write a function as `.onnx`, `.mlpackage` or `.aimodel`; gives the path.

    Args:
        source: a captured graph, several by name, or a function with `inputs`.
        target: "onnx", "coreml" or "coreai"; default by the path's suffix.
        precision: of weights and arithmetic; default as captured, for Core ML float16.
        quantize: "int8" or "int4"; but for ONNX "palette4", "palette6" and "palette8" too. In ONNX "int8" is
            arithmetic in integers: convolutions with the ranges that `calibration` shows, linear layers with
            the range of each input; else only weights are coded. `load(path).quantization` is the report.
        calibration: typical inputs, an iterable of dicts of arrays by input name (or of arrays where there
            is one input); by function where there are several.
        labels: class names, for a classifier.
        metadata: entries of the schema in `converters.metadata`.
        opset: 17 to 23. minimum_ios: 15 to 18. runtime: None for standard ONNX ops only.
        layout: "neural-engine" lays transformers out as (B, C, 1, S), with convolutions for linear layers and
            attention by head, as Apple published for the Neural Engine.
        overwrite: False raises OutputExists where the path is there.

    Raises:
        UnsupportedOp: lists everything that the target cannot express.
        ConversionError: an option is unknown, or the target does not have it.
    """
    path = Path(path)
    chosen = _target(path, target)
    _refuse_unknown(layout, runtime, precision, chosen)
    if isinstance(source, Graph):
        graphs: dict[str, Graph] = {"main": source}
    elif not callable(source):  # a module is a mapping as well
        graphs = dict(source)
    elif inputs is None:
        raise ConversionError(
            "a function needs inputs=", hint='inputs={"image": converters.Spec(("batch", 28, 28, 1))}'
        )
    else:
        from converters.capture import capture

        graphs = {"main": capture(source, inputs)}
    if calibration is not None and quantize is None:
        raise ConversionError("calibration= is for quantize=", hint='add quantize="int8"')
    if not graphs:
        raise ConversionError("there is no function to convert")
    options = Options(precision, labels, metadata, opset, runtime, minimum_ios, overwrite, quantize, layout)
    module = import_module(TARGETS[chosen])
    optimized = {
        name: module.refine(optimize(module.prepare(graph)), options) for name, graph in graphs.items()
    }
    if quantize is None:
        return module.write(optimized, path, options)
    return _write_quantized(module, optimized, path, options, quantize, calibration)


def _write_quantized(
    module: Any, graphs: Mapping[str, Graph], path: Path, options: Options, scheme: str, calibration: Any
) -> Path:
    """Write the graphs in codes, with the report of what that did to size, time and results."""
    from converters.quantization import measured, quantized, samples_for

    samples = {name: samples_for(name, graphs, calibration) for name in graphs}
    changed, found = quantized(graphs, scheme, module.schemes(options), samples)

    def write(codes: bool, at: Path) -> Path:
        return module.write(changed if codes else graphs, at.with_suffix(path.suffix), options)

    first = samples[next(iter(graphs))]
    found = measured(found, graphs, first, write, lambda at: module.load(at, "all"))
    return module.write(changed, path, replace(options, quantization=found))


def _target(path: Path, target: str | None) -> str:
    if target is None and path.suffix not in SUFFIXES:
        raise ConversionError(
            f"no target for {path.name}",
            hint="end the name in .onnx, .mlpackage or .aimodel, or give target=",
        )
    chosen = target or SUFFIXES[path.suffix]
    if chosen not in TARGETS:
        raise ConversionError(f"no target {chosen!r}; there are {', '.join(TARGETS)}")
    return chosen


def _refuse_unknown(layout: Any, runtime: Any, precision: Any, target: str) -> None:
    if layout not in LAYOUTS:
        raise ConversionError(f"layout={layout!r} is unknown", hint=f"use {' or '.join(map(repr, LAYOUTS))}")
    if layout is not None and target == "onnx":
        raise ConversionError(
            f"layout={layout!r} is for Apple's formats", hint="end the name in .mlpackage or .aimodel"
        )
    if runtime not in (None, "onnxruntime"):
        raise ConversionError(f"runtime={runtime!r} is unknown", hint="use None or 'onnxruntime'")
    if precision not in PRECISIONS:
        raise ConversionError(f"precision={precision!r} is not supported", hint="use 'float32' or 'float16'")


def load(path: str | Path, units: str = "all") -> Artifact:
    """An artefact ready to run. `.onnx` runs in onnxruntime; `.mlpackage` in Core ML on macOS, else in our
    interpreter; `.aimodel` in Core AI, in a process of its own.

    Args:
        units: "all", "cpu", "gpu" or "ne", where the system has them.

    Raises:
        LoadError: missing, damaged, or not an artefact.
    """
    path = Path(path)
    if units not in ("all", "cpu", "gpu", "ne"):
        raise ConversionError(f"units={units!r} is unknown", hint="use 'all', 'cpu', 'gpu' or 'ne'")
    if path.suffix not in SUFFIXES and not path.is_dir():
        raise LoadError(f"{path} is no .onnx, .mlpackage or .aimodel")
    return import_module(TARGETS[SUFFIXES.get(path.suffix, "onnx")]).load(path, units)


def inspect(path: str | Path) -> dict[str, Any]:
    """What an artefact is: {"format", "precision", "weight_bytes", "metadata", "functions": {name: {"inputs",
    "outputs", "states", "operations": {kind: count}}}}.

    Raises:
        LoadError: missing, damaged, or not an artefact.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise LoadError(f"{path} is no .onnx, .mlpackage or .aimodel")
    return import_module(TARGETS[SUFFIXES[path.suffix]]).inspect(path)


def supported_ops() -> dict[str, dict[str, str]]:
    """Every op and how each target spells it: {"Add": {"onnx": "native", "coreml": "native"}, …}; else
    "expanded" or "no"."""
    from converters.ops import OPS

    native = {name: import_module(module).native_ops() for name, module in TARGETS.items()}

    def level(op: str, target: str) -> str:
        return "native" if op in native[target] else "expanded" if OPS[op].expand is not None else "no"

    return {op: {target: level(op, target) for target in TARGETS} for op in sorted(OPS)}
