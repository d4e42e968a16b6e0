"""Every row of the op table: what is captured, and its NumPy meaning, against MLX."""

from collections import Counter

import numpy as np
import pytest
from case_table import Case, difference, expected, spec_of
from op_cases import CASES

import converters as cv
from converters.ops import OPS


def identifier(row: Case) -> str:
    return row.name.replace(" ", "-")


def test_names_are_unique():
    assert [name for name, count in Counter(row.name for row in CASES).items() if count > 1] == []


@pytest.mark.parametrize("row", CASES, ids=identifier)
def test_meaning_is_mlx(row):
    graph = cv.capture(row.fn, spec_of(row))
    captured = {node.op for node in graph.nodes}
    assert set(row.ops) <= captured, f"captured {captured}"
    random = np.random.default_rng(0)
    for sizes in row.sizes:
        arrays = [arg.array(sizes, random) for arg in row.args]
        results = graph.evaluate(*arrays).values()
        for wanted, got in zip(expected(row, arrays), results, strict=True):
            assert difference(wanted, got, row.tolerance) is None, sizes


def test_strides_never_leave_the_array():
    with pytest.raises(ValueError, match="elements 2 to 10 of 8"):
        OPS["AsStrided"].evaluate([np.zeros(8)], {"shape": (3,), "strides": (4,), "offset": 2})
