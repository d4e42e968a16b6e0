"""Files are judged by runtimes that nobody here wrote and onnxruntime does not share code with: ONNX's
reference evaluator and OpenVINO, on a sample of the op table."""

import numpy as np
import onnx
import onnx.reference
import pytest
from case_table import TOLERANCES, Case, difference, expected, spec_of
from op_cases import CASES

import converters as cv
from converters import disk

ATOMS = {"float32", "int32", "bool"}


def is_plain(row: Case) -> bool:
    """float32, int32 and bool at fixed sizes, no special numbers: what every runtime has."""
    if "onnx" in row.refused or any(isinstance(size, str) for arg in row.args for size in arg.shape):
        return False
    listed = [value for arg in row.args if isinstance(arg.values, list) for value in arg.values]
    return all(arg.dtype in ATOMS and 0 not in arg.shape for arg in row.args) and bool(
        np.all(np.isfinite(listed))
    )


PLAIN = [row for row in CASES if is_plain(row)]
# OpenVINO computes integers in floating point, and the sign of a zero is not its concern.
FLOATS = [row for row in PLAIN if {arg.dtype for arg in row.args} == {"float32"} and "zeros" not in row.name]


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(disk, "sync", lambda path: None)


def inputs(row: Case) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [arg.array({}, random) for arg in row.args]


def assert_same(row: Case, arrays: list[np.ndarray], results) -> None:
    for wanted, got in zip(expected(row, arrays), results, strict=True):
        tolerance = 10 * (row.tolerance or TOLERANCES.get(wanted.dtype.name, 0))
        assert difference(wanted, np.asarray(got).astype(wanted.dtype), tolerance) is None


@pytest.mark.parametrize("row", PLAIN[::4], ids=lambda row: row.name.replace(" ", "-"))
def test_onnx_reference_agrees(row, tmp_path):
    path = cv.convert(cv.capture(row.fn, spec_of(row)), tmp_path / "row.onnx")
    arrays = inputs(row)
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load(str(path)))
    names = [given.name for given in evaluator.proto_.graph.input]  # type: ignore[union-attr]
    fed = {name: arrays["abcdefgh".index(name)] for name in names}
    with np.errstate(all="ignore"):
        assert_same(row, arrays, evaluator.run(None, fed))


@pytest.mark.parametrize("row", FLOATS[1::2], ids=lambda row: row.name.replace(" ", "-"))
def test_openvino_agrees(row, tmp_path):
    openvino = pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system")
    path = cv.convert(cv.capture(row.fn, spec_of(row)), tmp_path / "row.onnx", opset=18)
    arrays = inputs(row)
    if not all(result.size for result in expected(row, arrays)):
        pytest.skip("OpenVINO gives no empty arrays")
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    fed = [arrays["abcdefgh".index(port.any_name)] for port in model.inputs]
    assert_same(row, arrays, list(model(fed).values()))
