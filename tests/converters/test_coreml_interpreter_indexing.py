"""The interpreter's operations at computed positions (gather, scatter, sort), and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from coreml_programs import Case, Results, check, mb, save

from converters.errors import LoadError
from converters.targets.coreml.interpreter import Interpreter

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
M = np.arange(6, dtype=np.float32).reshape(2, 3)


def f32(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def i32(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def case(
    name: str,
    build: Callable[..., Any],
    inputs: tuple[np.ndarray, ...],
    expected: Any,
    ios: tuple[int, ...] = (18,),
) -> Case:
    return Case(name, build, inputs, expected, ios, rtol=0, atol=0)


def gathers() -> Iterator[Case]:
    rows = i32(2, 0)
    for ios in (15, 16, 18):
        yield case(
            f"gather {ios}", lambda x, i: mb.gather(x=x, indices=i, axis=1), (X, rows), X[:, [2, 0]], (ios,)
        )
        yield case(
            f"gather matrix {ios}",
            lambda x, i: mb.gather(x=x, indices=i, axis=-1),
            (X, i32([0, 1], [3, 2])),
            X[..., [[0, 1], [3, 2]]],
            (ios,),
        )
        yield case(
            f"gather_nd {ios}",
            lambda x, i: mb.gather_nd(x=x, indices=i),
            (X, i32([1, 2], [0, 0])),
            X[[1, 0], [2, 0]],
            (ios,),
        )
    yield case(
        "gather negative",
        lambda x, i: mb.gather(x=x, indices=i, axis=0),
        (X, i32(-1, -2)),
        X[[-1, -2]],
        (15, 16),
    )
    yield case(
        "gather batch",
        lambda x, i: mb.gather(x=x, indices=i, axis=1, batch_dims=1),
        (X, i32([2, 0], [1, 1])),
        np.stack([X[0][[2, 0]], X[1][[1, 1]]]),
        (16, 18),
    )
    yield case(
        "gather batch last",
        lambda x, i: mb.gather(x=x, indices=i, axis=2, batch_dims=1),
        (X, i32([3], [1])),
        np.stack([X[0][:, [3]], X[1][:, [1]]]),
        (16, 18),
    )
    along = i32([[0, 2, 1, 0]], [[2, 2, 0, 1]])
    yield case(
        "gather_along_axis",
        lambda x, i: mb.gather_along_axis(x=x, indices=i, axis=1),
        (X, along),
        np.array([[[X[b, along[b, 0, c], c] for c in range(4)]] for b in range(2)]),
        (15, 18),
    )
    yield case(
        "gather_nd batch",
        lambda x, i: mb.gather_nd(x=x, indices=i, batch_dims=1),
        (X, i32([[2]], [[0]])),
        np.stack([X[0, [2]], X[1, [0]]]),
        (16, 18),
    )
    yield case(
        "gather uint16",
        lambda x, i: mb.gather(x=x, indices=mb.cast(x=i, dtype="uint16"), axis=0),
        (X, i32(1)),
        X[[1]],
    )


MODES: dict[str, Callable[[float, float], float]] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": max,
    "min": min,
}


def scatters() -> Iterator[Case]:
    data, new = f32([1, 2, 3], [4, 5, 6]), f32([5, 6, 7], [2, 4, 8])
    for mode, function in MODES.items():
        wanted = data.copy()
        for source, row in enumerate((1, 0)):
            wanted[row] = [function(float(a), float(b)) for a, b in zip(data[row], new[source], strict=True)]
        yield case(
            f"scatter {mode}",
            lambda d, i, u, m=mode: mb.scatter(data=d, indices=i, updates=u, axis=0, mode=m),
            (data, i32(1, 0), new),
            wanted,
            (15, 18),
        )
    yield case(
        "scatter twice",
        lambda d, i, u: mb.scatter(data=d, indices=i, updates=u, axis=1, mode="add"),
        (data, i32(2, 2), f32([1, 2], [3, 4])),
        f32([1, 2, 6], [4, 5, 13]),
    )
    yield case(
        "scatter_along_axis",
        lambda d, i, u: mb.scatter_along_axis(data=d, indices=i, updates=u, axis=1, mode="update"),
        (data, i32([2], [0]), f32([9], [8])),
        f32([1, 2, 9], [8, 5, 6]),
        (15, 18),
    )
    yield case(
        "scatter_along_axis mul",
        lambda d, i, u: mb.scatter_along_axis(data=d, indices=i, updates=u, axis=0, mode="mul"),
        (data, i32([1, 0, 1]), f32([10, 20, 30])),
        f32([1, 40, 3], [40, 5, 180]),
    )
    yield case(
        "scatter_nd",
        lambda d, i, u: mb.scatter_nd(data=d, indices=i, updates=u, mode="add"),
        (data, i32([0, 1], [1, 2]), f32(10, 20)),
        f32([1, 12, 3], [4, 5, 26]),
        (15, 18),
    )
    yield case(
        "scatter_nd rows",
        lambda d, i, u: mb.scatter_nd(data=d, indices=i, updates=u, mode="update"),
        (data, i32([1]), f32([7, 8, 9])),
        f32([1, 2, 3], [7, 8, 9]),
    )
    yield case(
        "scatter int div rounds down",
        lambda d, i, u: mb.scatter(data=d, indices=i, updates=u, axis=0, mode="div"),
        (i32(-7, 7), i32(0, 1), i32(2, 2)),
        i32(-4, 3),
    )


def sorts() -> Iterator[Case]:
    x = f32([3, 1, 2, 3], [0, -1, 5, 4])
    yield case("argsort", lambda x: mb.argsort(x=x, axis=1), (x,), i32([0, 3, 2, 1], [2, 3, 0, 1]), (15, 18))
    yield case(
        "argsort ascending",
        lambda x: mb.argsort(x=x, axis=-1, ascending=True),
        (x,),
        i32([1, 2, 0, 3], [1, 0, 3, 2]),
    )
    yield case(
        "topk",
        lambda x: mb.topk(x=x, k=2, axis=1),
        (x,),
        [f32([3, 3], [5, 4]), i32([0, 3], [2, 3])],
        (15, 16, 18),
    )
    yield case(
        "topk ascending axis 0",
        lambda x: mb.topk(x=x, k=1, axis=0, ascending=True),
        (x,),
        [f32([0, -1, 2, 3]), i32([1, 1, 0, 0])],
    )
    yield case(
        "topk values only",
        lambda x: mb.topk(x=x, k=1, axis=-1, return_indices=False),
        (x,),
        f32([3], [5]),
        (16, 18),
    )
    yield case(
        "topk uint16 indices",
        lambda x: mb.topk(x=x, k=2, axis=1, output_indices_dtype="uint16"),
        (x,),
        [f32([3, 3], [5, 4]), i32([0, 3], [2, 3])],
        (17, 18),
    )
    limits = i32(-(2**31), 2**31 - 1, 0)
    yield case(
        "topk int limits",
        lambda x: mb.topk(x=x, k=3, axis=0),
        (limits,),
        [i32(2**31 - 1, 0, -(2**31)), i32(1, 2, 0)],
    )


CASES = [*gathers(), *scatters(), *sorts()]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(CASES, tmp_path_factory.mktemp("packages"))


@pytest.mark.parametrize(("case", "ios"), [(c, ios) for c in CASES for ios in c.ios], ids=str)
def test_case(case: Case, ios: int, results: Results) -> None:
    check(case, results.of(case, ios))


REFUSED = {
    "gather negative from iOS 17 on": (
        lambda x, i: mb.gather(x=x, indices=i, axis=0),
        (X, i32(-1)),
        17,
        "index -1",
    ),
    "gather beyond": (
        lambda x, i: mb.gather(x=x, indices=i, axis=0),
        (X, i32(2)),
        18,
        "index 2 outside of 2",
    ),
    "scatter beyond": (
        lambda x, i, u: mb.scatter(data=x, indices=i, updates=u, axis=0),
        (M, i32(5), M[:1]),
        18,
        "index 5",
    ),
    "range_1d without end": (
        lambda s: mb.range_1d(start=0.0, end=1.0, step=mb.squeeze(x=s)),
        (f32(0),),
        18,
        "a step of 0",
    ),
    "reshape to another volume": (lambda x, s: mb.reshape(x=x, shape=s), (X, i32(5, 5)), 18, "reshape"),
    "fill of terabytes": (lambda s: mb.fill(shape=s), (i32(2**20, 2**20),), 18, "too large"),
    "tile of terabytes": (lambda x, r: mb.tile(x=x, reps=r), (M, i32(2**20, 2**20)), 18, "too large"),
    "pad of terabytes": (lambda x, p: mb.pad(x=x, pad=p), (M, i32(2**30, 2**30, 2**30, 0)), 18, "too large"),
    "range of terabytes": (
        lambda e: mb.range_1d(start=0, end=mb.squeeze(x=e), step=1),
        (i32(2**31 - 1),),
        18,
        "too large",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Any) -> None:
    """What Core ML leaves undefined, or nobody can compute, is an error that says where."""
    build, inputs, ios, message = REFUSED[name]
    arrays = {f"v{index}": array for index, array in enumerate(inputs)}
    package = save(lambda **v: build(*v.values()), arrays, tmp_path / "one.mlpackage", ios)
    with pytest.raises(LoadError, match=message):
        Interpreter(package).run(arrays)
