"""Rows for gathers, scatters, slices and what is built from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from case_table import INF, NAN, Arg, Case, case, typed

X = Arg(("n", 5, 6))
I3 = Arg((3,), "int32", [0, -1, 0])
J3 = Arg((3,), "int32", [4, 1, -5])
PICK = Arg(("n", 2), "uint32", (0, 5))


def put(where: Callable[..., Any]) -> Callable[..., mx.array]:
    """x[where(other inputs)] = the last input."""

    def fn(x: mx.array, *rest: mx.array) -> mx.array:
        x = mx.array(x)
        x[where(*rest[:-1])] = rest[-1]
        return x

    return fn


GATHERS = (
    *typed(
        case("Gather rows", lambda x, i: x[i], X, I3), "float32", "float16", "bfloat16", "bool", which=[0]
    ),
    *typed(
        case("Gather rows of", lambda x, i: x[i], X, I3),
        *("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        which=[0],
    ),
    *typed(
        case("Gather by", lambda x, i: x[i], Arg((5, 3)), Arg(("n", 2), "int32", (0, 5))),
        *("int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64"),
        which=[1],
    ),
    case("Gather axis 1", lambda x, i: mx.take(x, i, axis=1), X, PICK),
    case("Gather last axis", lambda x, i: mx.take(x, i, axis=-1), X, PICK),
    case("Gather flat", lambda x, i: mx.take(x, i), Arg((4, 5, 6)), PICK),
    case("Gather one", lambda x: x[1], Arg((4, "n", 3))),
    case("Gather scalar index", lambda x, i: x[i], Arg((4, "n", 3)), Arg((), "int32", [-2])),
    case("Gather no index", lambda x, i: x[i], X, Arg((0,), "int32")),
    case("Gather embedding", lambda t, i: t[i], Arg((7, 4)), Arg(("n", "n + 1"), "int64", (0, 7))),
    case("GatherND two axes", lambda x, i, j: x[i, j], Arg((4, 5, 6)), I3, J3),
    case("GatherND outer", lambda x, i, j: x[i[:, None], j], Arg((4, 5, "n")), I3, J3),
    case("GatherND around a slice", lambda x, i, j: x[i, :, j], Arg((4, "n", 6)), I3, J3),
    case("GatherND around a cut slice", lambda x, i, j: x[i, 1:3, j], Arg((4, 5, 6)), I3, J3),
    case("GatherND trailing", lambda x, i, j: x[:, i, j], Arg(("n", 5, 6)), I3, J3),
    *typed(
        case("GatherND", lambda x, i, j: x[i, j], Arg((4, 5)), I3, J3), "bool", "int64", "float16", which=[0]
    ),
    case(
        "GatherAxis 1", lambda x, i: mx.take_along_axis(x, i, axis=1), X, Arg(("n", 3, 6), "int32", (-5, 5))
    ),
    case(
        "GatherAxis last",
        lambda x, i: mx.take_along_axis(x, i, axis=-1),
        X,
        Arg(("n", 5, 2), "uint32", (0, 6)),
    ),
    case("GatherAxis broadcast", lambda x, i: mx.take_along_axis(x, i[None, :, None], axis=1), X, I3),
    case("GatherAxis flat", lambda x, i: mx.take_along_axis(x, i, axis=None), Arg((4, 5)), I3),
    *typed(
        case(
            "GatherAxis",
            lambda x, i: mx.take_along_axis(x, i, axis=0),
            Arg((4, 3)),
            Arg((2, 3), "int32", (0, 4)),
        ),
        *("bool", "int8", "uint32", "int64", "float16"),
        which=[0],
    ),
)

SCATTERS = (
    case("ScatterND rows", put(lambda i: i), Arg((5, "n", 6)), J3, Arg((3, "n", 6))),
    case("ScatterND scalar", put(lambda i: i), Arg((7, "n")), J3, Arg(())),
    case("ScatterND axis 1", put(lambda i: (slice(None), i)), X, J3, Arg(("n", 3, 6))),
    case("ScatterND two axes", put(lambda i, j: (i, j)), Arg((5, 5, 6)), J3, J3, Arg((3, 6))),
    case(
        "ScatterND around a slice", put(lambda i, j: (i, slice(None), j)), Arg((4, 2, 6)), I3, J3, Arg((3, 2))
    ),
    case("ScatterND and a slice", put(lambda i: (i, slice(1, 3))), Arg((5, 5, 6)), J3, Arg((3, 2, 6))),
    case("ScatterND add", lambda x, i, v: x.at[i].add(v), Arg((5, 6)), I3, Arg((3, 6))),
    case("ScatterND subtract", lambda x, i, v: x.at[i].subtract(v), Arg((5, 6)), I3, Arg((3, 6))),
    case("ScatterND multiply", lambda x, i, v: x.at[i].multiply(v), Arg((5, 6)), I3, Arg((3, 6))),
    case("ScatterND divide", lambda x, i, v: x.at[i].divide(v), Arg((5, 6)), I3, Arg((3, 6), values=(1, 2))),
    case("ScatterND maximum", lambda x, i, v: x.at[i].maximum(v), Arg((5, 6)), I3, Arg((3, 6))),
    case("ScatterND minimum", lambda x, i, v: x.at[i].minimum(v), Arg((5, 6)), I3, Arg((3, 6))),
    *typed(
        case("ScatterND add", lambda x, i, v: x.at[i].add(v), Arg((5, "n")), I3, Arg((3, "n"))),
        *("int32", "int64", "uint8", "int8", "float16", "bfloat16"),
        which=[0, 2],
    ),
    *typed(
        case("ScatterND set", put(lambda i: i), Arg((5, 2)), J3, Arg((3, 2))),
        *("bool", "int8", "uint32", "int64", "float16", "bfloat16"),
        which=[0, 2],
    ),
    *typed(
        case("ScatterND maximum", lambda x, i, v: x.at[i].maximum(v), Arg((5, 2)), I3, Arg((3, 2))),
        *("int32", "uint8", "float16"),
        which=[0, 2],
    ),
    case(
        "ScatterAxis set",
        lambda x, i, v: mx.put_along_axis(x, i, v, axis=1),
        X,
        Arg(("n", 2, 6), "int32", [0, 1, 2, -1, 1, 0, 3, 4, 0, 1, 2, 3]),
        Arg(("n", 2, 6)),
    ),
    case(
        "ScatterAxis last",
        lambda x, i, v: mx.put_along_axis(x, i[None, None], v, axis=-1),
        X,
        I3,
        Arg(()),
        ops="ScatterAxis",
    ),
    *typed(
        case(
            "ScatterAxis",
            lambda x, i, v: mx.put_along_axis(x, i, v, axis=0),
            Arg((4, 3)),
            Arg((2, 3), "int64", [0, 1, 2, 3, 0, -1]),
            Arg((2, 3)),
        ),
        *("bool", "int8", "uint32", "float16", "int64"),
        which=[0, 2],
    ),
    case("MaskedScatter scalar", put(lambda m: m), X, Arg(("n", 5, 6), "bool"), Arg(())),
    case("MaskedScatter rows", put(lambda m: m), Arg((4, 3)), Arg((4,), "bool", [1, 0, 0, 1]), Arg((2, 3))),
    case("MaskedScatter nothing", put(lambda m: m), Arg((4, 3)), Arg((4, 3), "bool", [0]), Arg(())),
    *typed(
        case("MaskedScatter", put(lambda m: m), Arg((4, 3)), Arg((4, 3), "bool", [1, 0, 0, 0]), Arg((3,))),
        *("bool", "int8", "uint32", "float16", "int64"),
        which=[0, 2],
    ),
)


def slice_update(kind: str, where: Any) -> Callable[..., mx.array]:
    """x.at[where].kind(v)"""
    return lambda x, v: getattr(x.at[where], kind)(v)


ROWS, CELLS = slice(1, 3), (slice(1, 3), slice(None, None, 2), slice(-1, None))
SLICES = (
    case("SliceUpdate rows", put(lambda: ROWS), Arg((5, "n")), Arg((2, "n"))),
    case("SliceUpdate scalar", put(lambda: (slice(None), ROWS)), X, Arg(())),
    case("SliceUpdate strided", put(lambda: CELLS), Arg((4, 5, "n")), Arg((2, 3, 1))),
    case("SliceUpdate backwards", put(lambda: slice(None, None, -1)), Arg(("n", 3)), Arg(("n", 3))),
    case("SliceUpdate backwards cut", put(lambda: slice(4, 0, -2)), Arg((6, 3)), Arg((2, 3))),
    case("SliceUpdate up to the size", put(lambda: slice(1, None)), Arg(("n + 2", 3)), Arg(("n + 1", 3))),
    case("SliceUpdate from the end", put(lambda: slice(-3, -1)), Arg(("n + 3", 3)), Arg((2, 3))),
    case("SliceUpdate nothing", put(lambda: slice(2, 2)), Arg((4, 3)), Arg(())),
    case("SliceUpdate add", slice_update("add", ROWS), Arg((5, "n")), Arg((2, "n"))),
    case("SliceUpdate maximum", slice_update("maximum", CELLS), Arg((4, 5, "n")), Arg((2, 3, 1))),
    case("SliceUpdate minimum", slice_update("minimum", ROWS), Arg((5, 2)), Arg((2, 2))),
    case("SliceUpdate multiply", slice_update("multiply", ROWS), Arg((5, 2)), Arg((2, 2))),
    *typed(
        case("SliceUpdate", put(lambda: CELLS), Arg((4, 5, 3)), Arg((2, 3, 1))),
        *("bool", "int8", "uint32", "int64", "float16", "bfloat16"),
    ),
    case(
        "DynamicSlice",
        lambda x, s: mx.slice(x, s, (0, 2), (2, 5, 2)),
        Arg((4, 5, 6)),
        Arg((2,), "int32", [2, 4]),
    ),
    case(
        "DynamicSlice one axis",
        lambda x, s: mx.slice(x, s, (1,), (x.shape[0], 2, 6)),
        X,
        Arg((1,), "uint32", [3]),
    ),
    case(
        "DynamicSlice inner",
        lambda x, s: mx.slice(x, s, (1,), (2, 2, 6)),
        Arg((4, 5, 6)),
        Arg((), "int64", [3]),
    ),
    case(
        "DynamicSliceUpdate",
        lambda x, v, s: mx.slice_update(x, v, s, (0, 2)),
        Arg((4, 5, 6)),
        Arg((2, 5, 2)),
        Arg((2,), "int32", [1, 4]),
    ),
    case(
        "DynamicSliceUpdate cache",
        lambda x, v, s: mx.slice_update(x, v, s, (2,)),
        Arg(("n", 2, 8, 3)),
        Arg(("n", 2, 1, 3)),
        Arg((1,), "int32", [5]),
    ),
    *typed(
        case(
            "DynamicSliceUpdate",
            lambda x, v, s: mx.slice_update(x, v, s, (0,)),
            Arg((4, 5)),
            Arg((2, 5)),
            Arg((1,), "int64", [2]),
        ),
        *("bool", "int8", "float16"),
        which=[0, 1],
    ),
)

SORTED = Arg((6,), values=[-3.0, -1.0, 0.0, 0.0, 2.0, INF])
SEARCHES = (
    case("SearchSorted", mx.searchsorted, SORTED, Arg(("n", 2), values=[0.0, -4.0, 1.0, INF, 5.0, -3.0])),
    case(
        "SearchSorted nan",
        mx.searchsorted,
        Arg((3,), values=[1.0, 2.0, NAN]),
        Arg((3,), values=[NAN, 2.0, 3.0]),
    ),
    case(
        "SearchSorted right",
        lambda x, v: mx.searchsorted(x, v, side="right"),
        SORTED,
        Arg((4,), values=[0.0, NAN, 2.0, -3.0]),
    ),
    case(
        "SearchSorted integers",
        lambda x, v: mx.searchsorted(x, v, side="right"),
        Arg((4,), "int32", [1, 2, 2, 9]),
        Arg(("n",), "int32", [2, 0, 9, 10]),
    ),
    case("SearchSorted nothing", mx.searchsorted, Arg((0,)), Arg((2,))),
)

CASES: tuple[Case, ...] = (*GATHERS, *SCATTERS, *SLICES, *SEARCHES)
