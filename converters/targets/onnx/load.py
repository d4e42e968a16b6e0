"""Running `.onnx` files in onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact import Artifact, State
from converters.errors import LoadError
from converters.metadata import KEY, Signature, signatures
from converters.specs import Spec
from converters.storage import recover

UNITS = {
    "all": None,
    "cpu": ["CPUExecutionProvider"],
    "gpu": ["CUDAExecutionProvider"],
    "ne": ["CoreMLExecutionProvider"],
}


class OnnxArtifact(Artifact):
    """A model in onnxruntime; states are fed and read back by `run`."""

    def __init__(self, session: Any, signature: Signature, metadata: dict[str, Any]):
        import onnxruntime

        super().__init__({"main": signature})
        self.session, self.metadata = session, metadata
        self.runtime = f"onnxruntime {onnxruntime.__version__} ({', '.join(session.get_providers())})"

    def run(
        self, function: str, arrays: Mapping[str, np.ndarray], state: State | None
    ) -> dict[str, np.ndarray]:
        """Run on checked arrays; `state` is updated in place."""
        fed = {**arrays, **(state or {})}
        names = [output.name for output in self.session.get_outputs()]
        results = dict(zip(names, self.session.run(None, fed), strict=True))
        if state is None:
            return results
        for source, result in self.states.items():
            state[source] = results.pop(result)
        return results


def load(path: Path, units: str) -> OnnxArtifact:
    """Open a file in onnxruntime.

    Raises:
        LoadError: missing, damaged, an unknown opset, or a provider that this system lacks.
    """
    import onnxruntime

    recover(path)
    if not path.is_file():
        raise LoadError(f"{path} is not there")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    available = onnxruntime.get_available_providers()
    chosen = UNITS[units] or [p for p in available if p == "CPUExecutionProvider"]
    if not set(chosen) <= set(available):
        raise LoadError(f"units={units!r} needs {chosen[0]}; this system has {', '.join(available)}")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # onnxruntime raises a dozen unrelated types for damaged files
        raise LoadError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
    stored = session.get_modelmeta().custom_metadata_map.get(KEY)
    if stored is None:
        return OnnxArtifact(session, _plain_signature(session), {})
    try:
        metadata = json.loads(stored)
    except json.JSONDecodeError as error:
        raise LoadError(f"{path} has damaged metadata: {error}") from error
    return OnnxArtifact(session, next(iter(signatures(metadata).values())), metadata)


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
