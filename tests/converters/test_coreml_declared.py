"""Each operation that states another shape than its operands give is found when a package is opened."""

from collections import Counter
from pathlib import Path

import pytest
from case_table import spec_of
from op_cases import CASES

import converters as cv
from converters.errors import LoadError
from converters.targets.coreml.interpreter import Interpreter
from converters.targets.coreml.schema import model_schema

ROWS = [row for row in CASES if "coreml" not in row.refused]
ENOUGH = 4  # lies about each type of operation

pytestmark = pytest.mark.slow


def test_no_operation_can_lie_about_its_last_size(tmp_path: Path) -> None:
    tried: Counter[str] = Counter()
    believed: list[str] = []
    for row in ROWS:
        path = tmp_path / "lie.mlpackage"
        graph = cv.capture(row.fn, spec_of(row))
        if graph.dims:
            continue  # operands may be sizes that are computed when it runs
        try:
            cv.convert(graph, path, overwrite=True, precision="float32")
        except cv.UnsupportedOp:
            continue  # empty arrays
        Interpreter(path)
        file = path / "Data/com.apple.CoreML/model.mlmodel"
        told = model_schema().Model.FromString(file.read_bytes())
        main = told.mlProgram.functions["main"]
        for operation in main.block_specializations[main.opset].operations:
            dimensions = operation.outputs[0].type.tensorType.dimensions
            known = dimensions and dimensions[-1].HasField("constant")
            if operation.type == "const" or tried[operation.type] >= ENOUGH or not known:
                continue
            tried[operation.type] += 1
            dimensions[-1].constant.size += 1
            file.write_bytes(told.SerializeToString())
            dimensions[-1].constant.size -= 1
            try:
                Interpreter(path)
            except LoadError:
                continue
            believed.append(f"{operation.type} of {row.name}")
    assert believed == []
    assert len(tried) > 60
