"""Running `.aimodel` folders in Apple's runtime, in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact import Artifact, State
from converters.errors import ConversionError, LoadError
from converters.metadata import KEY, Signature, signatures
from converters.specs import Image, Spec
from converters.storage import recover
from converters.targets.coreai import beta, worker
from converters.targets.coreai.beta import HASH, METADATA, PROGRAM
from converters.targets.coreai.states import buffers_of
from converters.targets.coreai.worker import Arrays

TWIN = (
    "by a float32 twin: with the asset's own weights, but its products of float16 ({}) computed in float32;\n"
    "  the interpreter on Linux adds those up in float16 (4,096 ones give 2,048), hundreds of times as slowly"
)


class CoreAIArtifact(Artifact):
    """An asset; states are fed and read back by `run`."""

    def __init__(self, path: Path, described: dict[str, Signature], metadata: dict[str, Any]):
        super().__init__(described)
        self.path, self.metadata = path, metadata
        self.stamp = _stamp(path)
        self.runtime = f"Core AI {beta.VERSION} ({'macOS' if sys.platform == 'darwin' else 'Linux, CPU'})"

    def run(
        self, function: str, arrays: Mapping[str, np.ndarray], state: State | None
    ) -> dict[str, np.ndarray]:
        """Run on checked arrays; `state` is updated in place.

        Raises:
            ConversionError: what the runtime says, or that it ended, with the model and what was fed.
        """
        signature = self.signatures[function]
        carried = {name: state[name] for name in signature.states} if state is not None else {}
        fed = {name: _at_edge(array) for name, array in {**arrays, **carried}.items()}
        buffers = buffers_of(signature, self.metadata.get("layout"))
        held = {name: fed.pop(name) for name in buffers}
        results, changed = self._asked(function, fed, held)
        results |= {result: changed[name] for name, result in buffers.items()}
        given = {name: results[name] for name in signature.outputs}
        if state is None:
            return given
        for source, result in signature.states.items():
            state[source] = given.pop(result)
        return given

    def _asked(self, function: str, fed: Arrays, held: Arrays) -> tuple[dict[str, np.ndarray], Arrays]:
        """Outputs, and the buffers as they are afterwards."""
        request = {"do": "run", "function": function}
        try:
            results = _ask(self.path, self.stamp, request, {"inputs": fed, "states": held})[1]
            return results["outputs"], results["states"]
        except ConversionError as error:
            shown = ", ".join(f"{name} {a.dtype.name} {a.shape}" for name, a in {**fed, **held}.items())
            raise ConversionError(f"{self.path.name}: {error.message}; {function} was fed {shown}") from error


def _stamp(path: Path) -> tuple[int, int]:
    found = (path / PROGRAM).stat()
    return found.st_size, found.st_mtime_ns


def _ask(path: Path, stamp: tuple[int, int], request: Mapping[str, Any], groups: Any = None) -> Any:
    """The answer of the process, in which the asset is opened for its first request.

    Raises:
        LoadError: another asset is there now.
    """
    process, key = worker.current(), f"{path}|{stamp}"
    if key not in process.opened:
        if _stamp(path) != stamp:
            raise LoadError(f"{path} was changed after it was loaded", hint="load it again")
        process.opened[key] = stamp[0]
        process.bytes += stamp[0]
    return process.ask({**request, "path": str(path), "key": key}, groups)


def load(path: Path, units: str) -> CoreAIArtifact:
    """Open an asset.

    Raises:
        LoadError: missing, damaged, not written by this compiler, or for units that this system lacks.
    """
    metadata = _metadata(path)
    beta.require()
    _check(path)
    if units not in ("all", "cpu") and sys.platform != "darwin":
        raise LoadError(f"units={units!r} needs macOS; Core AI runs on the CPU here")
    artifact = CoreAIArtifact(path.absolute(), signatures(metadata), metadata)
    try:
        widened = _ask(artifact.path, artifact.stamp, {"do": "open"})[0]["widened"]
    except worker.Died as error:
        raise LoadError(f"{path} is damaged: {error.message} while opening it") from error
    except ConversionError as error:
        raise LoadError(f"{path} cannot be opened: {error.message}") from error
    if widened:
        artifact.runtime += ", float32 twin"
        artifact.note = TWIN.format(widened)
    return artifact


def _check(path: Path) -> None:
    """LoadError where the program is not the one whose hash lies beside it: the runtime does not look there,
    ends for most that was damaged, and computes something else for the rest."""
    written = path / HASH
    if not written.is_file() or written.read_bytes() != beta.digest(path):
        raise LoadError(f"{path} is damaged: its program is not the one that was written")


def _metadata(path: Path) -> dict[str, Any]:
    """What the compiler wrote about the functions."""
    recover(path)
    if not (path / PROGRAM).is_file():
        raise LoadError(f"{path} is not there" if not path.exists() else f"{path} is no Core AI asset")
    try:
        stored = json.loads((path / METADATA).read_text(encoding="utf-8"))
        found = json.loads(stored["creatorDefinedMetadata"][KEY])
    except KeyError:
        raise LoadError(f"{path} has no metadata of this compiler") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise LoadError(f"{path} has damaged metadata: {error}") from error
    if not isinstance(found, dict):
        raise LoadError(f"{path} has damaged metadata")
    return found


def _at_edge(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _shown(spec: Spec | Image) -> str:
    """One line about an input or output."""
    plain = spec.spec if isinstance(spec, Image) else spec
    return f"{plain.dtype} ({', '.join(map(str, plain.shape))})"


def inspect(path: Path) -> dict[str, Any]:
    """Inputs, outputs and weights, and the operations of all functions as Apple's library reads them."""
    metadata = _metadata(path)
    beta.require()
    _check(path)
    try:
        found = _ask(path.absolute(), _stamp(path), {"do": "inspect"})[0]
    except ConversionError as error:
        raise LoadError(f"{path} cannot be read: {error.message}") from error
    functions = {
        name: {
            "inputs": {key: _shown(spec) for key, spec in signature.inputs.items()},
            "outputs": {key: _shown(spec) for key, spec in signature.outputs.items()},
            "states": dict(signature.states),
            "operations": found["operations"],
        }
        for name, signature in signatures(metadata).items()
    }
    return {
        "format": f"Core AI, systems from {found['system']}",
        "precision": metadata.get("precision", "float32"),
        "weight_bytes": (path / PROGRAM).stat().st_size,
        "metadata": metadata,
        "functions": functions,
    }
