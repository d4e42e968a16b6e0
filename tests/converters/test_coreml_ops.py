"""Every row of the op table as a Core ML package, computed by the interpreter, against MLX."""

from pathlib import Path

import numpy as np
import pytest
from case_table import TOLERANCES, Case, difference, expected, spec_of
from op_cases import CASES

import converters as cv
from converters import disk


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(disk, "sync", lambda path: None)
    monkeypatch.setattr(disk, "sync_tree", lambda path: None)


def identifier(row: Case) -> str:
    return row.name.replace(" ", "-")


def loaded(row: Case, path: Path, ios: int = 18):
    """The row as a package in float32."""
    graph = cv.capture(row.fn, spec_of(row))
    return cv.load(cv.convert(graph, path, precision="float32", minimum_ios=ios))


def at_edge(array: np.ndarray) -> np.ndarray:
    """bfloat16 is float32 at the edges of a package."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def fits(array: np.ndarray) -> bool:
    """Whether Core ML's 32 bits hold the elements."""
    limits = np.iinfo(np.int32)
    return array.dtype.itemsize < 8 or bool(np.all((array <= limits.max) & (array >= limits.min)))


@pytest.mark.parametrize("row", CASES, ids=identifier)
def test_package_computes_what_mlx_computes(row, tmp_path):
    if "coreml" in row.refused:
        with pytest.raises(cv.ConversionError, match=row.refused["coreml"]):
            loaded(row, tmp_path / "row.mlpackage")
        return
    model = loaded(row, tmp_path / "row.mlpackage")
    random = np.random.default_rng(0)
    for sizes in row.sizes:
        arrays = [arg.array(sizes, random) for arg in row.args]
        named = dict(zip("abcdefgh", map(at_edge, arrays), strict=False))
        if not all(map(fits, arrays)):
            with pytest.raises(cv.ShapeError, match="beyond 32 bits"):
                model(**named)
            continue
        for wanted, got in zip(expected(row, arrays), model(**named).values(), strict=True):
            if not fits(wanted):
                continue
            tolerance = row.tolerance or TOLERANCES.get(wanted.dtype.name)
            assert difference(at_edge(wanted), got, tolerance) is None, sizes
