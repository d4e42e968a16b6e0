"""What quantising cost and gained: size, time, and how far the results are from those of the float graph."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from converters.dtypes import is_float, numpy_dtype
from converters.errors import LoadError
from converters.graph import Graph, Value, bind_sizes
from converters.quantization.calibration import Feed
from converters.quantization.store import LEAST, Codes
from converters.sizes import substitute
from converters.specs import Spec

SAMPLES = 32  # inputs that are compared
TURNS = 5  # times that both are timed
TURN_SECONDS = 0.03
SECONDS = 2.0  # after which no further input is compared, or timed
LARGEST = 1 << 29  # bytes of weights beyond which nothing is run


@dataclass(frozen=True)
class Quantization:
    """How an artefact was quantised, and what it came to; `str()` is the report.

    Attributes:
        scheme: "int8", "int4", "palette4" …
        bytes_before, bytes_after: of the artefact; of its weights where nothing was run.
        kept: names of weights that stay floating-point although they are large, with their bytes.
        inputs: "calibration" or "random", of which `samples` were run through both; 0: nothing was run.
        error: of the first output: root mean square of the difference over that of the float result.
        agreement: share of rows (along the last axis) whose largest element is the same.
        seconds_before, seconds_after: of one call on this machine.
        runtime: what computed.
    """

    scheme: str
    bytes_before: int
    bytes_after: int
    kept: Mapping[str, int] = field(default_factory=dict)
    inputs: str = "random"
    samples: int = 0
    error: float = 0.0
    agreement: float = 1.0
    seconds_before: float = 0.0
    seconds_after: float = 0.0
    runtime: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the metadata holds it."""
        return asdict(self) | {"kept": dict(self.kept)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Quantization:
        """The reverse; LoadError where it is none."""
        try:
            return Quantization(**data)
        except TypeError as error:
            raise LoadError(f"the metadata tells no quantization: {error}") from error

    def __str__(self) -> str:
        share = self.bytes_after / max(1, self.bytes_before)
        lines = [f"{self.scheme}: {self.bytes_before:,} -> {self.bytes_after:,} bytes ({share:.2f}x)"]
        if self.samples:
            lines.append(
                f"  on {self.samples} {self.inputs} inputs: the same largest element in "
                f"{100 * self.agreement:.2f} % of rows, error {self.error:.2g} of the result"
            )
            ratio = self.seconds_after / self.seconds_before
            lines.append(
                f"  {1000 * self.seconds_before:.2f} -> {1000 * self.seconds_after:.2f} ms ({ratio:.2f}x) "
                f"on {self.runtime}"
            )
        else:
            lines.append("  not run: too large; converters.compare tells its error")
        lines += [f"  floating-point: {name} ({size:,} bytes)" for name, size in self.kept.items()]
        return "\n".join(lines)


def bytes_of(path: Path) -> int:
    """Of a file, or of all in a folder; with what lies beside it under its name."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return sum(file.stat().st_size for file in files if file.is_file())


def weight_bytes(graphs: Mapping[str, Graph]) -> int:
    """Bytes of all constants, those that several functions share counted once."""
    arrays = {
        array.__array_interface__["data"][0]: array.nbytes
        for graph in graphs.values()
        for array in graph.constants.values()
    }
    return sum(arrays.values())


def kept_weights(graphs: Mapping[str, Graph], codes: Codes) -> dict[str, int]:
    """Matrices worth coding that are floating-point still."""
    return {
        value.name: array.nbytes
        for graph in graphs.values()
        for value, array in graph.constants.items()
        if is_float(value.dtype) and array.size >= LEAST and array.ndim > 1 and not codes.owns(array)
    }


def random_feeds(graph: Graph, count: int = 8) -> Iterable[Feed]:
    """Inputs drawn at random, dynamic sizes at 16 or what is nearest to it: floats standard normal (pictures
    uniform), integers rows of the tables that they pick from, 0 or 1 where that is not plain."""
    random = np.random.default_rng(0)
    sizes = {name: _size(dim.low, dim.high, dim.multiple) for name, dim in graph.dims.items()}
    for name, dim in graph.dims.items():
        sizes[name] = dim.sizes[0] if dim.sizes else sizes[name]
    for _ in range(count):
        feed = {}
        for value in graph.inputs:
            shape, dtype = substitute(value.shape, sizes), numpy_dtype(value.dtype)
            if value.name in graph.images:
                spec = graph.images[value.name]
                shape = (1, *spec.size, spec.channels)
                feed[value.name] = _normalised(spec, random.integers(0, 256, shape))
            elif is_float(value.dtype):
                feed[value.name] = random.normal(size=shape).astype(dtype)
            else:
                feed[value.name] = random.integers(0, _rows(graph, value), shape).astype(dtype)
        yield feed


def _rows(graph: Graph, indices: Value) -> int:
    """Rows of the smallest table that an input picks from, if it does nothing else."""
    users = graph.users.get(indices, [])
    picks = [user.op == "Gather" and user.inputs[1] is indices and user.attrs["axis"] == 0 for user in users]
    rows = [user.inputs[0].shape[0] for user in users]
    return min((size for size in rows if isinstance(size, int)), default=2) if users and all(picks) else 2


def _size(low: int, high: int | None, multiple: int) -> int:
    wished = min(max(16, low), high if high is not None else max(16, low))
    return max(low, wished // multiple * multiple)


def _normalised(spec: Any, pixels: np.ndarray) -> np.ndarray:
    values = pixels * spec.scale
    values = values if spec.mean is None else values - np.array(spec.mean)
    return (values if spec.std is None else values / np.array(spec.std)).astype(np.float32)


def measured(
    found: Quantization,
    graphs: Mapping[str, Graph],
    samples: Iterable[Feed] | None,
    write: Callable[[bool, Path], Path],
    load: Callable[[Path], Any],
) -> Quantization:
    """The report with error, agreement and times of the first function.

    Args:
        samples: of its inputs; None: random ones are drawn.
        write: writes the float (False) or the quantised (True) artefact; load: opens it.
    """
    if found.bytes_before > LARGEST:
        return found
    inputs = "random" if samples is None else "calibration"
    samples = random_feeds(next(iter(graphs.values()))) if samples is None else samples
    with tempfile.TemporaryDirectory() as folder:
        paths = [write(which, Path(folder) / name) for which, name in ((False, "float"), (True, "codes"))]
        models = [load(path) for path in paths]
        function = models[0].functions[0]
        errors, rows, same, count = [], 0, 0, 0
        feed: Feed = {}
        began = time.perf_counter()
        for count, feed in enumerate(islice(samples, SAMPLES), 1):  # noqa: B007
            wanted, got = (_first(model[function], feed) for model in models)
            if wanted.size == 0:
                continue
            errors.append(np.sqrt(np.mean((got - wanted) ** 2) / max(np.mean(wanted**2), 1e-30)))
            best = wanted.reshape(-1, wanted.shape[-1] if wanted.ndim else 1).argmax(-1)
            same += int((best == got.reshape(len(best), -1).argmax(-1)).sum())
            rows += len(best)
            if time.perf_counter() - began > SECONDS:
                break
        sizes = [bytes_of(path) for path in paths]
        before, after = _times([lambda m=model: _first(m[function], feed) for model in models])
    return replace(
        found,
        bytes_before=sizes[0],
        bytes_after=sizes[1],
        inputs=inputs,
        samples=count,
        error=float(np.mean(errors or [0.0])),
        agreement=same / rows if rows else 1.0,
        seconds_before=before,
        seconds_after=after,
        runtime=models[0].runtime,
    )


def _first(function: Any, feed: Feed) -> np.ndarray:
    signature = function.signature
    given = {name: array for name, array in feed.items() if name not in signature.states}
    state = None
    if signature.states:
        specs = {name: spec for name, spec in signature.inputs.items() if isinstance(spec, Spec)}
        sizes = bind_sizes((spec.shape, feed[name].shape) for name, spec in specs.items())
        state = function.artifact.new_state(function.name, **sizes)
    results = function(state=state, **given)
    return np.asarray(next(iter(results.values()))).astype(np.float64)


def _times(runs: list[Callable[[], Any]]) -> list[float]:
    """Medians over turns of calls in a row: the idle threads of a runtime spin on, and slow the other's
    first."""
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + SECONDS
    for turn in range(TURNS):
        if turn and time.perf_counter() > end:
            break
        for run, row in zip(runs, times, strict=True):
            if not row or row[-1] < TURN_SECONDS:  # slower ones are warm
                run()
            began, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() - began < TURN_SECONDS:
                run()
                count += 1
            row.append((time.perf_counter() - began) / count)
    return [median(row) for row in times]
