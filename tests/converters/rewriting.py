"""What the tests of the passes share: a function before and after the pipeline, and equal numbers."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import converters as cv
from converters.dtypes import is_float, numpy_dtype
from converters.graph import Graph
from converters.passes import stages
from converters.sizes import substitute

TOLERANCES = {"float16": 3e-3, "bfloat16": 3e-2}  # of the largest result; all else 1e-5
SIZES = {"B": 2, "L": 5, "P": 3, "H": 6, "W": 8}


@dataclass(frozen=True)
class Rewriting:
    """One row: a function, its inputs, and the ops that must be left of it, each so many times."""

    name: str
    fn: Callable[..., Any]
    inputs: Mapping[str, cv.Spec]
    left: Mapping[str, int]


def optimized(graph: Graph) -> Graph:
    """The graph after the pipeline, verified after every pass."""
    for _, stage in stages(graph):
        stage.verify()
        graph = stage
    return graph


def count(graph: Graph) -> dict[str, int]:
    """How often each op occurs."""
    return dict(Counter(node.op for node in graph.nodes))


def assert_same(before: Graph, after: Graph, sizes: Mapping[str, int] = SIZES) -> None:
    """Both graphs give the same for random inputs."""
    random = np.random.default_rng(0)
    arrays = []
    for value in before.inputs:
        shape = substitute(value.shape, sizes)
        if is_float(value.dtype):
            array = random.normal(size=shape)
        else:
            array = random.integers(0, 2 if value.dtype == "bool" else 7, shape)
        arrays.append(array.astype(numpy_dtype(value.dtype)))
    wanted, got = before.evaluate(*arrays), after.evaluate(*arrays)
    assert wanted.keys() == got.keys()
    for name, array in wanted.items():
        wide, other = array.astype(np.float64), got[name].astype(np.float64)
        tolerance = TOLERANCES.get(array.dtype.name, 1e-5) * max(1.0, float(np.abs(wide).max()))
        np.testing.assert_allclose(other, wide, rtol=0, atol=tolerance, err_msg=name)


def check(row: Rewriting) -> None:
    """The ops that are left, and the same numbers."""
    before = cv.capture(row.fn, row.inputs)
    after = optimized(before)
    assert count(after) == dict(row.left)
    assert_same(before, after)
