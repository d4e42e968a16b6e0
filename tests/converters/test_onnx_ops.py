"""Every row of the op table as an ONNX model in onnxruntime, against MLX."""

from pathlib import Path

import numpy as np
import pytest
from case_table import TOLERANCES, Case, difference, expected, spec_of
from op_cases import CASES

import converters as cv
from converters.convert import Options
from converters.passes import optimize
from converters.targets.onnx.load import load
from converters.targets.onnx.protobuf import write_inline
from converters.targets.onnx.write import build, check


def identifier(row: Case) -> str:
    return row.name.replace(" ", "-")


def loaded(row: Case, path: Path, opset: int = 23):
    """The row as a checked file, written without waiting for the disk."""
    model, tensors = build(optimize(cv.capture(row.fn, spec_of(row))), Options(opset=opset), "main")
    check(model, tensors)
    write_inline(model, tensors, path)
    return load(path, "cpu")


EARLIER = [
    row for row in CASES if row.name.startswith(("Pad bfloat16", "Reduce", "Power", "Bitwise", "Tanh in"))
]


@pytest.mark.parametrize("row", EARLIER, ids=identifier)
def test_file_of_an_earlier_opset_loads(row, tmp_path):
    loaded(row, tmp_path / "row.onnx", opset=17)


def at_edge(array: np.ndarray) -> np.ndarray:
    """bfloat16 is float32 at the edges of a file."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


@pytest.mark.parametrize("row", CASES, ids=identifier)
def test_file_computes_what_mlx_computes(row, tmp_path):
    if "onnx" in row.refused:
        with pytest.raises(cv.UnsupportedOp, match=row.refused["onnx"]):
            loaded(row, tmp_path / "row.onnx")
        return
    model = loaded(row, tmp_path / "row.onnx")
    random = np.random.default_rng(0)
    for sizes in row.sizes:
        arrays = [arg.array(sizes, random) for arg in row.args]
        named = dict(zip("abcdefgh", map(at_edge, arrays), strict=False))
        for wanted, got in zip(expected(row, arrays), model(**named).values(), strict=True):
            tolerance = row.tolerance or TOLERANCES.get(wanted.dtype.name)
            assert difference(at_edge(wanted), got, tolerance) is None, sizes
