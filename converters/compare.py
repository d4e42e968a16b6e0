"""The MLX function and the artefact on the same inputs.

An output agrees where |artefact - mlx| <= atol + rtol * |mlx| for every element; atol is by default the
tolerance times the largest magnitude of that output, so that elements near zero are judged by the output's
scale. The tolerance is that of the artefact's precision, or of what MLX gives where that is coarser:

    precision                    rtol = atol / largest
    float32                      1e-4
    float16                      2e-2
    bfloat16                     6e-2
    quantised weights            1e-1

Pictures are compared by their 8-bit pixels, which may be off by half a step more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact import Artifact, image_values
from converters.dtypes import is_float
from converters.errors import ParityError
from converters.specs import Image

HALF_STEP = 0.5001  # what rounding to 8 bits may change, with float32's own error
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 6e-2, "quantized": 1e-1}


@dataclass(frozen=True)
class Report:
    """How far an artefact is from the function.

    Attributes:
        outputs: name to (largest absolute difference, the same over the output's largest magnitude, agrees).
        runtime: what computed the artefact's side.
        tolerance: rtol that was applied.
        note: what was computed in place of the artefact itself, and why.
    """

    outputs: Mapping[str, tuple[float, float, bool]]
    runtime: str
    tolerance: float
    note: str | None = None

    @property
    def max_abs(self) -> float:
        """Largest absolute difference."""
        return max((entry[0] for entry in self.outputs.values()), default=0.0)

    @property
    def max_rel(self) -> float:
        """Largest difference relative to its output's largest magnitude."""
        return max((entry[1] for entry in self.outputs.values()), default=0.0)

    @property
    def ok(self) -> bool:
        """Whether every output agrees."""
        return all(entry[2] for entry in self.outputs.values())

    def __str__(self) -> str:
        lines = [
            f"{'agrees' if self.ok else 'DIFFERS'} with MLX (tolerance {self.tolerance:g}) on {self.runtime}"
        ]
        for name, (absolute, relative, ok) in self.outputs.items():
            lines.append(
                f"  {name}: max abs {absolute:.3g}, max rel {relative:.3g}{'' if ok else '  <- differs'}"
            )
        return "\n".join([*lines, f"  {self.note}"] if self.note else lines)

    def raise_if_different(self) -> None:
        """ParityError where an output differs."""
        if not self.ok:
            raise ParityError(
                str(self), hint="a wider rtol/atol only if the precision explains the difference"
            )


def compare(
    fn: Callable[..., Any],
    artifact: str | Path | Artifact,
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    function: str | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> Report:
    """Run both on the same inputs; a list of inputs is consecutive calls, states are carried on.

    Args:
        fn: the captured function.
        artifact: a path or a loaded artefact.
        inputs: input name to array (or PIL picture), states included for the first call only.
        function: which of several.
    """
    from converters.convert import load

    model = artifact if isinstance(artifact, Artifact) else load(artifact)
    name = function or model.functions[0]
    tolerance = rtol if rtol is not None else TOLERANCES[_precision(model)]
    calls = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    results: dict[str, tuple[float, float, bool]] = {}
    for expected, got in _calls(fn, model, name, calls):
        pictures = model.signatures[name].outputs
        for output, array in expected.items():
            coarse = TOLERANCES.get(array.dtype.name, 0) if rtol is None else 0
            tolerance = max(tolerance, coarse)
            spec = pictures[output]
            if isinstance(spec, Image):
                values, slack = (
                    image_values(spec, array),
                    HALF_STEP + (255 * tolerance if atol is None else atol),
                )
                entry = _difference(values, got[output], 0.0, slack)
            else:
                entry = _difference(array, got[output], tolerance, atol)
            before = results.get(output, (0.0, 0.0, True))
            results[output] = (max(entry[0], before[0]), max(entry[1], before[1]), entry[2] and before[2])
    return Report(results, model.runtime, tolerance, model.note)


def report(
    expected: Mapping[str, np.ndarray],
    got: Mapping[str, np.ndarray],
    precision: str,
    runtime: str,
    rtol: float | None = None,
) -> Report:
    """How far given arrays are from the expected ones, by the tolerance of a precision."""
    tolerance = TOLERANCES[precision] if rtol is None else rtol
    outputs = {name: _difference(array, got[name], tolerance, None) for name, array in expected.items()}
    return Report(outputs, runtime, tolerance)


def _precision(model: Artifact) -> str:
    return model.metadata.get("precision", "float32") if not model.metadata.get("quantize") else "quantized"


def _calls(fn: Callable[..., Any], model: Artifact, name: str, calls: Sequence[Mapping[str, Any]]) -> Any:
    """Pairs of MLX's and the artefact's outputs, call after call."""
    import mlx.core as mx

    from converters.artifact import image_array
    from converters.capture import flat_results
    from converters.dtypes import numpy_dtype
    from converters.snapshot import to_numpy

    signature = model.signatures[name]
    state = model.new_state(name) if signature.states else None
    carried = dict(model.zeros(name)) if signature.states else {}
    for given in calls:
        operands = []
        for key, spec in signature.inputs.items():
            value = carried[key] if key in carried else given[key]
            if isinstance(spec, Image):
                operands.append(mx.array(image_array(spec, value)))
            elif isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.floating):
                operands.append(value)  # a file that takes float32 may stand for a function of bfloat16
            else:
                array = np.asarray(value) if not isinstance(value, mx.array) else to_numpy(value)
                operands.append(_to_mlx(array.astype(numpy_dtype(spec.dtype)), spec.dtype))
        leaves = [leaf for _, leaf in flat_results(fn(*operands))]
        mx.eval(leaves)
        expected = dict(zip(signature.outputs, [to_numpy(leaf) for leaf in leaves], strict=True))
        carried = {source: _kept(expected[result], model) for source, result in signature.states.items()}
        fed = {key: value for key, value in given.items() if key not in signature.states}
        got = model[name](state=state, **fed)
        yield {key: array for key, array in expected.items() if key in got}, got


def _kept(array: np.ndarray, model: Artifact) -> np.ndarray:
    """What is left of a state in the type in which the artefact keeps it."""
    if model.state_dtype is None or not is_float(array.dtype.name):
        return array  # integers are kept exactly
    return array.astype(model.state_dtype).astype(array.dtype)


def _to_mlx(array: np.ndarray, dtype: str) -> Any:
    import mlx.core as mx

    if dtype == "bfloat16":
        return mx.array(array.astype(np.float32)).astype(mx.bfloat16)
    return mx.array(array)


def _difference(
    expected: np.ndarray, got: np.ndarray, rtol: float, atol: float | None
) -> tuple[float, float, bool]:
    if expected.shape != got.shape:
        return float("inf"), float("inf"), False
    if expected.size == 0:
        return 0.0, 0.0, True
    floating = is_float(expected.dtype.name)
    a, b = expected.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    gap = np.where(np.isnan(gap), np.inf, gap)
    largest = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
    slack = (atol if atol is not None else rtol * largest) if floating else 0.0
    with np.errstate(invalid="ignore"):
        limit = slack + (rtol if floating else 0.0) * np.where(np.isfinite(a), np.abs(a), 0.0)
    worst = float(gap.max())
    return worst, worst / largest if largest else worst, bool(np.all(gap <= limit))
