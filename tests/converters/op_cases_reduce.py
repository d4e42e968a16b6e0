"""Rows for reductions, scans and sorting."""

from __future__ import annotations

import mlx.core as mx
from case_table import FLOATS, INF, INTEGERS, NAN, Arg, Case, case, typed

X = Arg((3, "n", 4))
MIXED = [1.0, NAN, 3.0, INF, -INF, 2.0, NAN, -4.0, 0.0, 3.0, 3.0, -0.0]
SPECIAL = Arg((6, 2), values=MIXED)
REDUCTIONS = {"sum": mx.sum, "prod": mx.prod, "max": mx.max, "min": mx.min}
TIES = [2, 5, 5, 1, 1, 5, 0, 0, 3, 2]


def over(fn, **attrs):
    """fn with fixed keywords."""
    return lambda x: fn(x, **attrs)


REDUCE = (
    *(
        row
        for name, fn in REDUCTIONS.items()
        for row in typed(case(f"Reduce {name}", over(fn, axis=-1), Arg((3, 5))), *FLOATS, *INTEGERS, "bool")
    ),
    *(
        row
        for name, fn in REDUCTIONS.items()
        for row in typed(case(f"Reduce {name} special", over(fn, axis=1), SPECIAL), *FLOATS)
    ),
    *(
        row
        for name, fn in {"all": mx.all, "any": mx.any}.items()
        for row in typed(
            case(f"Reduce {name}", over(fn, axis=1), Arg((4, 2), values=[0, 1, 0, 0, 2, -1, NAN, NAN])),
            *FLOATS,
            *INTEGERS,
            "bool",
        )
    ),
    case("Reduce two axes", over(mx.sum, axis=(2, 0)), X),
    case("Reduce negative axis kept", over(mx.max, axis=-2, keepdims=True), X),
    case("Reduce everything", over(mx.sum), X),
    case("Reduce everything to bool", over(mx.any), Arg(("n", 3), "bool")),
    case("Reduce mean", over(mx.mean, axis=(0, 1)), X),
    case("Reduce mean of integers", over(mx.mean, axis=0), Arg((3, "n"), "int32")),
    case("Reduce variance", over(mx.var, axis=1, ddof=0), Arg(("n", 5))),
    case("Reduce deviation", over(mx.std, axis=0, ddof=1, keepdims=True), Arg((4, "n"))),
    case("Reduce rows that are not there", over(mx.max, axis=1), Arg((0, 2))),
    case("Reduce large", over(mx.sum, axis=0), Arg((4,), "int32", [2**31 - 1, 1, 5, 7])),
    *(
        row
        for name, fn in {"argmax": mx.argmax, "argmin": mx.argmin}.items()
        for row in [
            *typed(
                case(f"ArgReduce {name}", over(fn, axis=0), Arg((10,), values=TIES)),
                *FLOATS,
                *INTEGERS,
                "bool",
            ),
            *typed(case(f"ArgReduce {name} special", over(fn, axis=1), SPECIAL), *FLOATS),
            case(f"ArgReduce {name} kept", over(fn, axis=-2, keepdims=True), X),
            case(f"ArgReduce {name} flat", over(fn), X),
        ]
    ),
    *typed(case("Softmax", over(mx.softmax, axis=-1), X), *FLOATS),
    case("Softmax axis", over(mx.softmax, axis=0), X, ops="Exp"),
    case("Softmax two axes", over(mx.softmax, axis=(0, 2)), Arg((3, 2, 4)), ops="Exp"),
    case("Softmax precise", over(mx.softmax, axis=-1, precise=True), Arg((3, 4), "float16")),
    case(
        "Softmax infinite", over(mx.softmax, axis=-1), Arg((3, 3), values=[1, -INF, 2, NAN, 1, 2, 0, 80, -80])
    ),
    *typed(case("LogSumExp", over(mx.logsumexp, axis=-1), X), *FLOATS),
    case("LogSumExp axis", over(mx.logsumexp, axis=0, keepdims=True), X, ops="Exp"),
    case(
        "LogSumExp infinite",
        over(mx.logsumexp, axis=1),
        Arg((5, 2), values=[-INF, -INF, INF, 1, -INF, 2, NAN, 1, 500, -500]),
    ),
)

SCANS = {"sum": mx.cumsum, "prod": mx.cumprod, "max": mx.cummax, "min": mx.cummin}
SCAN = (
    *(
        row
        for name, fn in SCANS.items()
        for row in typed(case(f"Scan {name}", over(fn, axis=1), Arg((3, 5))), *FLOATS, *INTEGERS)
    ),
    *(
        case(
            f"Scan {name} {'reverse' if reverse else 'forward'} {'inclusive' if inclusive else 'exclusive'}",
            over(fn, axis=-1, reverse=reverse, inclusive=inclusive),
            Arg((2, 5)),
        )
        for name, fn in SCANS.items()
        for reverse in (False, True)
        for inclusive in (False, True)
    ),
    *(
        case(f"Scan {name} dynamic", over(fn, axis=0, inclusive=False), Arg(("n", 3)))
        for name, fn in SCANS.items()
    ),
    *(
        case(f"Scan {name} special", over(fn, axis=0), Arg((5,), values=[1, 2, NAN, 3, INF]))
        for name, fn in SCANS.items()
    ),
    case("Scan max of integers exclusive", over(mx.cummax, axis=0, inclusive=False), Arg((4,), "int32")),
    case("Scan flat", over(mx.cumsum), X),
    case("Scan sum of bool", over(mx.cumsum, axis=0), Arg((5,), "bool")),
    case("Scan nothing", over(mx.cumsum, axis=0), Arg((0, 2))),
    case(
        "Scan reverse of integers",
        over(mx.cumsum, axis=0, reverse=True, inclusive=False),
        Arg(("n",), "int64"),
    ),
)


def smallest(x: mx.array) -> mx.array:
    """The three smallest in order: where the others lie is not defined."""
    return mx.sort(mx.partition(x, 2, axis=-1)[..., :3], axis=-1)


def smallest_places(x: mx.array) -> mx.array:
    """The values at the places of the three smallest."""
    return mx.sort(mx.take_along_axis(x, mx.argpartition(x, 2, axis=-1)[..., :3], axis=-1), axis=-1)


ORDER = [3, 1, 2, 2, 0, 7, 1, 5, 5, 4]
SORT = (
    *typed(case("Sort", over(mx.sort, axis=-1), Arg((2, 5), values=ORDER)), *FLOATS, *INTEGERS, "bool"),
    *typed(case("ArgSort", over(mx.argsort, axis=-1), Arg((2, 5), values=ORDER)), *FLOATS, *INTEGERS, "bool"),
    *typed(case("Sort special", over(mx.sort, axis=0), SPECIAL), *FLOATS),
    *typed(case("ArgSort special", over(mx.argsort, axis=0), SPECIAL), *FLOATS),
    *typed(case("Partition", smallest, Arg((2, 5), values=ORDER)), *FLOATS, *INTEGERS),
    *typed(case("ArgPartition", smallest_places, Arg((2, 5), values=ORDER)), *FLOATS, *INTEGERS),
    case("Partition nan", smallest, Arg((6,), values=[NAN, 1.0, INF, NAN, -INF, 2.0])),
    case("ArgPartition nan", smallest_places, Arg((6,), values=[NAN, 1.0, INF, NAN, -INF, 2.0])),
    case("Partition negative", lambda x: mx.max(mx.partition(x, -2)[..., -2:]), Arg(("n", 5))),
    case("Partition topk", lambda x: mx.sort(mx.topk(x, 2, axis=0), axis=0), Arg((5, "n"))),
    case("Sort dynamic", over(mx.sort, axis=0), Arg(("n", 3))),
    case("Sort flat", over(mx.sort, axis=None), Arg((2, "n", 3))),
    case("ArgSort dynamic", over(mx.argsort, axis=0), Arg(("n", 3))),
    case("Sort nothing", over(mx.sort, axis=0), Arg((0, 3))),
    case(
        "Sort infinite ties",
        over(mx.argsort, axis=0),
        Arg((5,), values=[INF, NAN, INF, NAN, 1.0]),
        ops="ArgSort",
    ),
)

CASES: tuple[Case, ...] = (*REDUCE, *SCAN, *SORT)
