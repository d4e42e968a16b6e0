"""Every row of the op table as a Core ML package, computed by the interpreter, against MLX."""

import re
from pathlib import Path

import numpy as np
import pytest
from case_table import TOLERANCES, Case, difference, expected, spec_of
from coreml_programs import verify
from op_cases import CASES

import converters as cv
from converters import disk
from converters.artifact import Artifact
from converters.graph import Graph
from converters.passes import optimize
from converters.sizes import is_static

SIGNS = {"Remainder of zeros"}  # rows about the sign of a zero, which Core ML's documentation leaves open
COREMLTOOLS_GAPS = ("scatter_along_axis",)  # its reader takes two unknown sizes for different ones


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(disk, "sync", lambda path: None)
    monkeypatch.setattr(disk, "sync_tree", lambda path: None)


def identifier(row: Case) -> str:
    return row.name.replace(" ", "-")


def loaded(row: Case, path: Path, ios: int = 18):
    """The row as a package in float32, read back and verified by coremltools."""
    graph = cv.capture(row.fn, spec_of(row))
    try:
        cv.convert(graph, path, precision="float32", minimum_ios=ios)
    except cv.UnsupportedOp as error:
        if "no empty arrays" not in str(error) or not is_empty(optimize(graph)):
            raise
        pytest.skip("Core ML has no empty arrays")
    verify(path, skip=COREMLTOOLS_GAPS)
    return cv.load(path)


def is_empty(graph: Graph) -> bool:
    values = [value for node in graph.nodes for value in (*node.inputs, *node.outputs)]
    return any(is_static(value.shape) and 0 in value.shape for value in values)


def at_edge(array: np.ndarray) -> np.ndarray:
    """bfloat16 is float32 at the edges of a package."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def fits(array: np.ndarray) -> bool:
    """Whether Core ML's 32 bits hold the elements."""
    limits = np.iinfo(np.int32)
    return array.dtype.itemsize < 8 or bool(np.all((array <= limits.max) & (array >= limits.min)))


@pytest.mark.parametrize("row", [row for row in CASES if row.name not in SIGNS], ids=identifier)
def test_package_computes_what_mlx_computes(row, tmp_path):
    if "coreml" in row.refused:
        with pytest.raises(cv.ConversionError, match=row.refused["coreml"]):
            loaded(row, tmp_path / "row.mlpackage")
        return
    agrees(row, loaded(row, tmp_path / "row.mlpackage"))


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in CASES if "coreml" not in row.refused], ids=identifier)
@pytest.mark.parametrize("ios", [15, 16, 17])
def test_package_for_older_systems_computes_what_mlx_computes(ios, row, tmp_path):
    try:
        model = loaded(row, tmp_path / "row.mlpackage", ios)
    except cv.ConversionError as refusal:
        named = [int(version) for version in re.findall(r"came with iOS (\d+)", str(refusal))]
        if not named or min(named) <= ios:
            raise
        return
    if row.name not in SIGNS:
        agrees(row, model)


def agrees(row: Case, model: Artifact) -> None:
    """Every size of the row computes what MLX does."""
    random = np.random.default_rng(0)
    for sizes in row.sizes:
        arrays = [arg.array(sizes, random) for arg in row.args]
        named = dict(zip("abcdefgh", map(at_edge, arrays), strict=False))
        if not all(map(fits, arrays)):
            with pytest.raises(cv.ShapeError, match="beyond 32 bits"):
                model(**named)
            continue
        results = expected(row, arrays)
        if not all(array.size for array in (*arrays, *results)):
            continue  # Core ML has no empty arrays
        for wanted, got in zip(results, model(**named).values(), strict=True):
            if not fits(wanted):
                continue
            tolerance = row.tolerance or TOLERANCES.get(wanted.dtype.name)
            assert difference(at_edge(wanted), got, tolerance) is None, sizes
