"""Every row of the op table as a Core AI function in Apple's own runtime, against MLX.

An asset holds the functions of many rows: opening one takes as long as computing hundreds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from case_table import TOLERANCES, Case, difference, expected, spec_of
from op_cases import CASES

import converters as cv
from converters import disk
from converters.artifact import Artifact, Function

pytest.importorskip("coreai", reason="coreai-core has no wheel for this system")

EACH = 40  # rows in an asset


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(disk, "sync", lambda path: None)
    monkeypatch.setattr(disk, "sync_tree", lambda path: None)


def loaded(rows: Sequence[Case], path: Path) -> Artifact:
    graphs = {f"row_{i}": cv.capture(row.fn, spec_of(row)) for i, row in enumerate(rows)}
    return cv.load(cv.convert(graphs, path), units="cpu")


def at_edge(array: np.ndarray) -> np.ndarray:
    """bfloat16 is float32 at the edges of an asset."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def how_it_differs(row: Case, function: Function) -> str | None:
    random, dims = np.random.default_rng(0), function.signature.dims
    for sizes in row.sizes:
        if len(row.sizes) > 1 and any(dim.refusal(sizes[name]) for name, dim in dims.items()):
            continue  # something would be empty
        arrays = [arg.array(sizes, random) for arg in row.args]
        named = dict(zip("abcdefgh", map(at_edge, arrays), strict=False))
        try:
            results = list(function(**named).values())
        except cv.ConversionError as error:
            return f"at {sizes}: {error}"
        for wanted, got in zip(expected(row, arrays), results, strict=True):
            tolerance = row.tolerance or TOLERANCES.get(wanted.dtype.name)
            found = difference(at_edge(wanted), got, tolerance)
            if found is not None:
                return f"at {sizes}: {found}"
    return None


@pytest.mark.parametrize("first", range(0, len(CASES), EACH))
def test_functions_compute_what_mlx_computes(first, tmp_path):
    rows = CASES[first : first + EACH]
    model = loaded(rows, tmp_path / "rows.aimodel")
    found = {row.name: how_it_differs(row, model[f"row_{i}"]) for i, row in enumerate(rows)}
    assert {name: text for name, text in found.items() if text is not None} == {}
