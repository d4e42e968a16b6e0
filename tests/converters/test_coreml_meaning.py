"""A second opinion on what Core ML's operations mean: coremltools evaluates them on constants by itself.

Every operation that the packages of the op table execute is given to coremltools' builder with the same
arrays; where it has a value of its own, the interpreter's must be equal.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from case_table import Case, spec_of
from coreml_programs import mb, mil_types, target
from op_cases import CASES

import converters as cv
from converters import disk
from converters.targets.coreml import control
from converters.targets.coreml.control import FLOAT16

ROUNDED = 2e-5  # of the largest magnitude
# coremltools 9 does not evaluate these with numpy 2.4: it hands flags on as arrays.
UNREADY = ("reduce_", "cumsum")
LIMIT = 20_000  # elements


class Seen:
    """What was executed: each kind of operation on arrays, with its results."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = []

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keep the operations that are computed from here on."""
        original = control._compute

        def compute(operation: Any, scope: Any) -> tuple[Any, ...]:
            results = original(operation, scope)
            given = {n: control._argument(n, a, scope) for n, a in operation.arguments.items()}
            self.calls.append((operation.type, given, results))
            return results

        monkeypatch.setattr(control, "_compute", compute)


def opinion(kind: str, given: dict[str, Any], ios: int) -> list[np.ndarray] | None:
    """What coremltools computes; None where it evaluates nothing of this kind."""
    from coremltools.converters.mil.mil import Function

    def plain(entry: Any) -> Any:
        return entry[()] if isinstance(entry, np.ndarray) and not entry.shape else entry

    arguments = {
        name: [plain(entry) for entry in value] if isinstance(value, tuple) else plain(value)
        for name, value in given.items()
    }
    inputs = {"unused": mb.placeholder((1,), mil_types().fp32)}
    with Function(inputs, opset_version=target(ios)), np.errstate(all="ignore"):
        built = getattr(mb, kind)(**arguments)
    found = list(built) if isinstance(built, (list, tuple)) else [built]
    if any(variable.val is None for variable in found):
        return None
    return [np.asarray(variable.val) for variable in found]


def difference(kind: str, given: dict[str, Any], ours: Any, theirs: np.ndarray) -> str | None:
    """How the results differ, or None."""
    if kind == "argsort":  # which of two equal elements comes first is left open
        ours, theirs = (np.take_along_axis(given["x"], at, int(given["axis"])) for at in (ours, theirs))
    ours = np.asarray(ours)
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, coremltools {theirs.shape}"
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return f"{a.ravel()[:8]}, coremltools {b.ravel()[:8]}"
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return f"{a.ravel()[:8]}, coremltools {b.ravel()[:8]}"
    precision = 2e-3 if ours.dtype == FLOAT16 else ROUNDED if ours.dtype.kind == "f" else 0
    gap = np.abs(a[finite] - b[finite]).max(initial=0)
    if gap > precision * np.abs(a[finite]).max(initial=0):
        return f"{a.ravel()[:8]}, coremltools {b.ravel()[:8]}"
    return None


def elements(given: dict[str, Any]) -> int:
    entries = [e for value in given.values() for e in (value if isinstance(value, tuple) else (value,))]
    return sum(entry.size for entry in entries if isinstance(entry, np.ndarray))


def executed(rows: Sequence[Case], precision: str, path: Any, seen: Seen) -> None:
    """Run the rows as packages."""
    random = np.random.default_rng(0)
    for row in rows:
        try:
            model = cv.load(cv.convert(cv.capture(row.fn, spec_of(row)), path, precision=precision))
            for sizes in row.sizes:
                arrays = [arg.array(sizes, random) for arg in row.args]
                wide = [a.astype(np.float32) if a.dtype.name == "bfloat16" else a for a in arrays]
                model(**dict(zip("abcdefgh", wide, strict=False)))
        except (cv.UnsupportedOp, cv.ShapeError):
            continue  # what cannot be converted, or has sizes or numbers that Core ML has not


PARTS = 12


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(
    "part", [pytest.param(i, marks=() if i == 0 else pytest.mark.slow) for i in range(PARTS)]
)
def test_coremltools_computes_the_same(part, precision, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "sync", lambda path: None)
    monkeypatch.setattr(disk, "sync_tree", lambda path: None)
    seen = Seen()
    seen.watch(monkeypatch)
    executed(CASES[part::PARTS], precision, tmp_path / "row.mlpackage", seen)
    kinds, silent, wrong = set(), dict[str, int](), []
    for kind, given, results in seen.calls:
        unready = kind.startswith(UNREADY) and "arg" not in kind
        if unready or silent.get(kind, 0) > 2 or elements(given) > LIMIT:
            continue
        found = opinion(kind, given, 18)
        if found is None:
            silent[kind] = silent.get(kind, 0) + 1
            continue
        kinds.add(kind)
        gaps = [difference(kind, given, ours, theirs) for ours, theirs in zip(results, found, strict=True)]
        wrong += [f"{kind}: {gap}" for gap in gaps if gap is not None]
    assert not wrong, "\n".join(wrong[:5])
    assert len(kinds) > 25
