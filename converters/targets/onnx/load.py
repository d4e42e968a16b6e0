"""Running `.onnx` files in onnxruntime."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact import Artifact, State
from converters.errors import LoadError
from converters.metadata import KEY, Signature
from converters.metadata import signatures as read_signatures
from converters.specs import Spec
from converters.storage import recover

UNITS = {
    "all": None,
    "cpu": ["CPUExecutionProvider"],
    "gpu": ["CUDAExecutionProvider"],
    "ne": ["CoreMLExecutionProvider"],
}


class OnnxArtifact(Artifact):
    """One or several functions in onnxruntime, a session each; states are fed and read back by `run`."""

    def __init__(self, sessions: dict[str, Any], signatures: dict[str, Signature], metadata: dict[str, Any]):
        import onnxruntime

        super().__init__(signatures)
        self.sessions, self.metadata = sessions, metadata
        providers = next(iter(sessions.values())).get_providers()
        self.runtime = f"onnxruntime {onnxruntime.__version__} ({', '.join(providers)})"

    def run(
        self, function: str, arrays: Mapping[str, np.ndarray], state: State | None
    ) -> dict[str, np.ndarray]:
        """Run on checked arrays; `state` is updated in place."""
        session, signature = self.sessions[function], self.signatures[function]
        carried = {name: state[name] for name in signature.states} if state is not None else {}
        results = dict(
            zip(signature.outputs, session.run(list(signature.outputs), {**arrays, **carried}), strict=True)
        )
        if state is None:
            return results
        for source, result in signature.states.items():
            state[source] = results.pop(result)
        return results


def load(path: Path, units: str) -> OnnxArtifact:
    """Open a file, or a folder with one file per function, in onnxruntime.

    Raises:
        LoadError: missing, damaged, an unknown opset, or a provider that this system lacks.
    """
    recover(path)
    files = sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise LoadError(f"{path} is not there" if not path.exists() else f"{path} holds no .onnx file")
    opened = {file.stem if path.is_dir() else "main": _open(file, units) for file in files}
    signatures = {name: signature for name, (_, signature, _) in opened.items()}
    metadata = next(iter(opened.values()))[2]
    return OnnxArtifact({name: session for name, (session, _, _) in opened.items()}, signatures, metadata)


def _open(path: Path, units: str) -> tuple[Any, Signature, dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    available = onnxruntime.get_available_providers()
    chosen = UNITS[units] or ["CPUExecutionProvider"]
    if not set(chosen) <= set(available):
        raise LoadError(f"units={units!r} needs {chosen[0]}; this system has {', '.join(available)}")
    check_file(path)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # onnxruntime raises a dozen unrelated types for damaged files
        raise LoadError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
    with _readable(path):
        stored = session.get_modelmeta().custom_metadata_map.get(KEY)
        if stored is None:
            return session, _plain_signature(session), {}
        metadata = json.loads(stored)
        signature = next(iter(read_signatures(metadata).values()))
        names = {info.name for info in session.get_inputs()}, {info.name for info in session.get_outputs()}
    if not set(signature.inputs) >= names[0] or set(signature.outputs) != names[1]:
        raise LoadError(f"{path} has metadata of another model")
    return session, signature, metadata


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """LoadError for what is wrong inside a file that is sound as a whole."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise LoadError(f"{path} is damaged: {type(error).__name__} {error}") from error


def check_file(path: Path) -> None:
    """LoadError where a file is no sound ONNX model of known opset, or takes data from outside its folder."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location" and Path(entry.value).name != entry.value:
                    raise LoadError(
                        f"{path}: {tensor.name} takes its data from {entry.value!r}, outside the folder"
                    )
        beside = any(tensor.external_data for tensor in model.graph.initializer)
        onnx.checker.check_model(str(path) if beside else model, full_check=False)
    except (DecodeError, onnx.checker.ValidationError, ValueError, TypeError) as error:
        raise LoadError(f"{path} is no sound ONNX model: {str(error).splitlines()[0]}") from error


DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}


def _plain_signature(session: Any) -> Signature:
    """The signature of a file that somebody else wrote."""

    def spec(info: Any) -> Spec:
        name = DTYPES.get(info.type, info.type.removeprefix("tensor(").removesuffix(")"))
        sizes = [s if isinstance(s, int) else f"size_{info.name}_{i}" for i, s in enumerate(info.shape)]
        return Spec(
            [s if isinstance(s, int) else "".join(c if c.isalnum() else "_" for c in s) for s in sizes], name
        )

    inputs = {info.name: spec(info) for info in session.get_inputs()}
    return Signature(inputs, {info.name: spec(info) for info in session.get_outputs()})


def inspect(path: Path) -> dict[str, Any]:
    """Inputs, outputs, operations and weights, without running anything."""
    import onnx

    recover(path)
    if not path.is_file():
        raise LoadError(f"{path} is not there")
    check_file(path)
    with _readable(path):
        return _inspected(onnx.load(str(path), load_external_data=False))


def _inspected(model: Any) -> dict[str, Any]:
    sizes = [math.prod(t.dims) * bits(t.data_type) // 8 for t in model.graph.initializer]
    counts = Counter(node.op_type for node in model.graph.node)
    stored = {prop.key: prop.value for prop in model.metadata_props}.get(KEY, "{}")
    metadata = json.loads(stored)
    return {
        "format": f"ONNX, opset {model.opset_import[0].version}, IR {model.ir_version}",
        "precision": metadata.get("precision", "float32"),
        "weight_bytes": sum(sizes),
        "metadata": metadata,
        "functions": {
            "main": {
                "inputs": {info.name: _described(info) for info in model.graph.input},
                "outputs": {info.name: _described(info) for info in model.graph.output},
                "states": metadata.get("states", {}),
                "operations": dict(counts),
            }
        },
    }


def bits(data_type: int) -> int:
    """Bits of an element of an ONNX type."""
    import onnx

    if data_type in (onnx.TensorProto.UINT4, onnx.TensorProto.INT4):
        return 4
    return 8 * onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize


def _described(info: Any) -> str:
    import onnx

    tensor = info.type.tensor_type
    sizes = ", ".join(d.dim_param or str(d.dim_value) for d in tensor.shape.dim)
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} ({sizes})"
