"""Rows for what moves elements without computing."""

from __future__ import annotations

import mlx.core as mx
from case_table import FLOATS, INTEGERS, Arg, Case, case, typed

X = Arg((3, "n", 4))
EVERY = (*FLOATS, *INTEGERS, "bool")

MOVES = (
    *typed(case("Reshape", lambda x: x.reshape(4, -1), Arg((2, 4, 3))), *EVERY),
    case("Reshape dynamic", lambda x: x.reshape(-1, 2), X),
    case(
        "Reshape to a product",
        lambda x: x.reshape(x.shape[0] * x.shape[1], 4),
        Arg(("n", "m", 4)),
        sizes=[{"n": 2, "m": 3}],
    ),
    case("Reshape flatten", lambda x: mx.flatten(x, 1), X),
    case("Reshape unflatten", lambda x: mx.unflatten(x, 2, (2, -1)), X),
    case("Reshape expand", lambda x: mx.expand_dims(x, (0, -1)), X),
    case("Reshape squeeze", lambda x: mx.squeeze(x, (0, 2)), Arg((1, "n", 1, 3))),
    case("Reshape nothing", lambda x: x.reshape(0, 6), Arg((3, 0, 2))),
    case("Reshape scalar", lambda x: x.reshape(()), Arg((1, 1))),
    *typed(case("Transpose", lambda x: mx.transpose(x, (2, 0, 1)), Arg((2, 3, 4))), *EVERY),
    case("Transpose default", lambda x: x.T, X),
    case("Transpose swap", lambda x: mx.swapaxes(x, -1, 0), X),
    case("Transpose move", lambda x: mx.moveaxis(x, 0, -1), X),
    *typed(case("Broadcast", lambda x: mx.broadcast_to(x, (2, 3, 4)), Arg((3, 1))), *EVERY),
    case("Broadcast dynamic", lambda x, y: mx.broadcast_to(x, (y.shape[0], 3)), Arg((1, 3)), Arg(("n", 2))),
    case("Broadcast full", lambda x: mx.full((2, x.shape[1], 3), x[0, 0, 0]), X),
    *typed(
        case("Concatenate", lambda x, y: mx.concatenate([x, y, x], axis=-1), Arg((2, 3)), Arg((2, 1))), *EVERY
    ),
    case(
        "Concatenate dynamic",
        lambda x, y: mx.concatenate([x, y], axis=1),
        X,
        Arg((3, "m", 4)),
        sizes=[{"n": 1, "m": 5}],
    ),
    case("Concatenate nothing", lambda x, y: mx.concatenate([x, y], axis=0), Arg((0, 2)), Arg((3, 2))),
    case("Concatenate stack", lambda x, y: mx.stack([x, y], axis=1), Arg(("n", 3)), Arg(("n", 3))),
    *typed(case("Split", lambda x: mx.split(x, 3, axis=1), Arg((2, 6))), *EVERY),
    case("Split at", lambda x: mx.split(x, [1, 3], axis=-1), X),
    case("Split dynamic axis", lambda x: mx.split(x, [1], axis=0), Arg(("n + 2", 3))),
    *typed(case("Slice", lambda x: x[1:, ::-2], Arg((3, 5))), *EVERY),
    case("Slice dynamic", lambda x: x[:, :-1], Arg((3, "n + 1", 4))),
    case("Slice from the end", lambda x: x[:, -3:-1], Arg((2, "n + 3"))),
    case("Slice without the ends", lambda x: x[:, 1:-2:2], Arg((2, 9))),
    case("Slice beyond the end", lambda x: x[1:100], Arg((5, "n"))),
    case(
        "Slice by a size",
        lambda x, y: x[: -y.shape[0]],
        Arg(("n + 3", 2)),
        Arg(("n",)),
    ),
    case("Slice last", lambda x: x[:, -1:], X),
    case("Slice backwards", lambda x: x[::-1, ::-1], X),
    case("Slice backwards from", lambda x: x[3:0:-2], Arg((5, 2))),
    case("Slice strided to the end", lambda x: x[1::3], Arg((8, 2))),
    case("Slice nothing", lambda x: x[2:2], Arg((4, 2))),
    case("Split roll", lambda x: mx.roll(x, 2, 0), Arg((5, "n"))),
    *typed(case("Pad", lambda x: mx.pad(x, [(1, 2), (0, 3)], constant_values=1), Arg((2, 3))), *EVERY),
    case("Pad dynamic", lambda x: mx.pad(x, [(0, 0), (2, 1), (0, 0)]), X),
    case("Pad edge", lambda x: mx.pad(x, 2, mode="edge"), Arg((3, 4)), ops="SliceUpdate"),
    case("Pad with infinity", lambda x: mx.pad(x, 1, constant_values=-float("inf")), Arg((2, "n"))),
    *typed(case("AsStrided", lambda x: mx.as_strided(x, (3, 2, 2), (4, 1, 2), 1), Arg((4, 4))), *EVERY),
    case("AsStrided windows", lambda x: mx.as_strided(x, (x.shape[0], 5, 3), (8, 1, 1), 0), Arg(("n", 8))),
    case("Arange", lambda x: mx.arange(x.shape[0]), Arg(("n", 2))),
    case("Arange floats", lambda x: mx.arange(1, 2 * x.shape[0] + 1, 0.5), Arg(("n", 2))),
    case("Arange backwards", lambda x: mx.arange(x.shape[0], 0, -1), Arg(("n", 2))),
    case("Arange from", lambda x: mx.arange(x.shape[0], x.shape[0] + 3), Arg(("n", 2))),
    case("Arange half", lambda x: x + mx.arange(x.shape[0], dtype=mx.float16), Arg(("n",), "float16")),
    case("Dimension", lambda x: x * x.shape[0], Arg(("n", 2))),
    case("Dimension root", lambda x: x * x.shape[0] ** -0.5, Arg(("n", 2))),
)

CASES: tuple[Case, ...] = MOVES
