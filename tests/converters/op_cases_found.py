"""What random programs found (`make fuzz`): each of these rows was computed wrongly once, or not at all."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
from case_table import Arg, Case, case

ONE = Arg((1, 1))
WHOLE = [-7, 2, 123456789, -3]
ZEROS = [0.0, -0.0, 4.0, -4.0]

LARGE = [1, 2**31 - 1, 2**31, 2**32 - 1, 7, 3_000_000_000]
CASES: list[Case] = [
    case("Slice backwards from before the first", lambda x: x[-2::-1], ONE),
    case("Slice backwards to after the last", lambda x: x[:5:-2], ONE),
    case("Slice backwards from the first", lambda x: x[0:-1:-1], Arg(("n", 2))),
    case("SliceUpdate of nothing", lambda x: x.at[5:2].add(x[5:2]), Arg((6, 2))),
    case("Power of a large integer", lambda x: x**3, Arg((4,), "int64", WHOLE)),
    case("Power of one", lambda x: x**1, Arg((2,), "int64", [2**62 + 1, -(2**61) - 3])),
    case(
        "FloorDivide of extremes",
        lambda x, y: x // y,
        Arg((4,), "int32", [2**31 - 1, -(2**31) + 1, -(2**31), 5]),
        Arg((2, 1), "int32", [3, -(2**31) + 2]),
    ),
    case(
        "BitwiseOr of high bits",
        lambda x: x.view(mx.uint64) | x.view(mx.uint64),
        Arg((2,), "int64", [-7, -3]),
        ops="View|BitwiseOr",
    ),
    case("Reduce nothing, of free length", lambda x: mx.sum(mx.tanh(x[:, 2:2]), axis=1), Arg(("n", 3))),
    case("Reduce nothing to a product", lambda x: mx.prod(x[:, 2:2], axis=1) + x[:, 0], Arg(("n", 3))),
    case("Slice nothing of a layer", lambda x: mx.tanh(x)[1:1, :1], Arg((1, 1, 1)), ops="Tanh|Slice"),
    case(
        "AsStrided without windows",
        nn.MaxPool2d(2, 1),
        Arg((1, "n", "m", 1)),
        sizes=({"n": 1, "m": 1}, {"n": 5, "m": 3}),
    ),
    case(
        "Tanh of nothing", lambda x, y: mx.tanh(mx.broadcast_to(x, (0, 2, 4))) + y, Arg((2, 4)), Arg((2, 1))
    ),
    case(
        "GatherND at no place",
        lambda x, y: x[y, :, 0],
        Arg(("n", 2, 3)),
        Arg((0,), "int32"),
    ),
    case(
        "Sigmoid without axes",
        lambda x: mx.broadcast_to(x, (1,)) * mx.sigmoid(1.702 * mx.broadcast_to(x, (1,))),
        Arg(()),
    ),
    case(
        "Split two dimensions joined",
        lambda x: mx.roll(x.reshape(-1), 2),
        Arg(("n", "m")),
        sizes=({"n": 2, "m": 6}, {"n": 5, "m": 7}),
    ),
    case(
        "AsType between a transpose and a product",
        lambda x: x.transpose(1, 2, 0).astype(mx.float32) @ mx.ones((2, 3)),
        Arg((2, "n", 4), "float16"),
        sizes=({"n": 2}, {"n": 5}),
    ),
    *(
        case(
            f"Matmul of the first axis turned to {axes}",
            lambda x, axes=axes: mx.ones((5, 4 if axes[1] == 0 else 3), mx.float16) @ x.transpose(axes),
            Arg((4, 3, 4) if axes[1] == 0 else (8, 4, 3), "float16"),
        )
        for axes in ((1, 0, 2), (1, 2, 0))
    ),
    case(
        "AddMM with a bias of more axes",
        lambda x: mx.addmm(
            mx.array([1.0, 2.0]), x, mx.broadcast_to(mx.array([[1.0, 2.0]] * 3), (1, 1, 3, 2))
        ),
        Arg((3,)),
    ),
    case(
        "Matmul of six axes",
        lambda x: mx.exp(mx.exp(x.reshape(2, 2, 3, 3, 1, 4)) @ mx.eye(4)[:, :2]).sum(2),
        Arg((4, 9, 4)),
    ),
    case(
        "Split told after what reads it",
        lambda x: (mx.roll(x, -1, 0) + mx.split(x, [1])[0], mx.split(x, [1])[1]),
        Arg((2, 3)),
    ),
    *(
        case(
            f"ScatterND of many threads to one place, {kind}",
            lambda x, v, kind=kind: getattr(x.at[mx.zeros(468, mx.int32)], kind)(v),
            Arg((1, 468), "int32", values=(1, 3)),
            Arg((468, 468), "int32", values=(1, 2)),
        )
        for kind in ("add", "maximum", "minimum")
    ),
    case(
        "ScatterND of two axes to equal places from the end",
        lambda x, v: x.at[mx.array([0, -1, 3, -4, 0]), mx.array([-1, 1, -4, 1, 4])].add(v),
        Arg((4, 5, "n")),
        Arg((5, "n")),
        sizes=({"n": 2}, {"n": 5}),
    ),
    *(
        case(
            f"Arange to a size told as {told}",
            lambda x, y: (
                mx.arange(x.shape[0] // 2)[:, None] + x[: x.shape[0] // 2 * 2].reshape(-1, 2) + y.sum()
            ),
            Arg((told,)),
            Arg(("n",) if told == "2*n*m" else ()),
            sizes=({"m": 3, "n": 2}, {"m": 2, "n": 5}),
        )
        for told in ("2*m", "2*m + 1", "2*n*m")
    ),
    case("Slice backwards but one", lambda x: x[-2::-1], Arg(("n", 2)), sizes=({"n": 2}, {"n": 5})),
    case(
        "Tanh in a GELU whose half is read elsewhere",
        lambda x: (nn.gelu_approx(x), mx.sin(0.5 * x), nn.gelu(x)),
        Arg((2, 3)),
    ),
    case("Multiply by itself", lambda x: x * x, Arg((3,), "bool")),
    case(
        "Remainder of zeros",
        lambda x, y: mx.arctan2(mx.zeros(()), mx.remainder(x, y)),
        Arg((4,), values=ZEROS),
        Arg((2, 1), values=[2.0, -2.0]),
    ),
    case("Reduce no window at all", nn.MaxPool2d(3), Arg((1, 1, 1, 1)), ops="AsStrided|Reduce"),
    case("Slice of a softmax", lambda x: mx.softmax(x, 0)[::3], Arg((4, 1))),
    case("Tanh in rows of which some are read", lambda x: mx.tanh(x)[::3], Arg((4, 1))),
    case(
        "Concatenate a part of each of n heads",
        lambda x: mx.fast.rope(x, 2, traditional=False, base=100.0, scale=1.0, offset=3),
        Arg((2, "n", 4, 3)),
    ),
    *(
        case(
            f"{ops} {name} of large numbers",
            fn,
            Arg((2, 3), "uint32", LARGE),
            Arg((2, 3), "uint32", LARGE[::-1]),
            ops=ops,
        )
        for ops, name, fn in (
            ("Reduce", "max", lambda x, y: (x.max(0), y.min(), x.min(axis=1, keepdims=True))),
            ("ArgReduce", "max", lambda x, y: (x.argmax(1), y.argmin(0))),
            ("ScatterND", "max", lambda x, y: (x.at[mx.array([1])].maximum(y[:1]), y.at[:1].minimum(x[:1]))),
            ("Maximum", "and positions", lambda x, y: mx.maximum(x, x.argmax(1, keepdims=True)).max(0)),
            ("Scan", "max", lambda x, y: (mx.cummax(x, 1), mx.cummin(y, 0))),
        )
    ),
    case(
        "Scan the limits of 64 bits beside small numbers",
        lambda x: mx.cummax(mx.array([3, -1, 2], mx.int64), inclusive=False)[1:].astype(x.dtype) + x,
        Arg((2,)),
        ops="Add",
    ),
    case(
        "AsType of large numbers", lambda x: x.astype(mx.float32), Arg((6,), "uint32", [2**31 + 129, *LARGE])
    ),
    case(
        "Arange beyond a byte",
        lambda x: (
            mx.arange(x.shape[0], dtype=mx.uint8).astype(mx.int32) + mx.arange(x.shape[0], dtype=mx.int8)
        ),
        Arg(("n",)),
        sizes=({"n": 5}, {"n": 300}),
    ),
    case("Slice backwards of one product", lambda x: (x @ mx.ones((4, 1)))[::-1], Arg((4,)), ops="Matmul"),
    case(
        "RightShift by what is no number of bits",
        lambda x, y: (x >> y, x >> (x - x + 40)),
        Arg((6,), "int64", [-7, 5, -1, 0, 2, -3]),
        Arg((6,), "int64", [-3, -1, 33, 63, 1, 2]),
    ),
    case(
        "Add a constant beyond 32 bits",
        lambda x: x + mx.array([2**40], mx.int64),
        Arg((2,), "int64"),
        refused={"coreml": "no integers beyond 32 bits"},
    ),
    case(
        "Concatenate with nothing beside",
        lambda x: (mx.concatenate([x, x[:, 4:]], 1), mx.concatenate([x[:, :0], x, x[:, 4:], -x], 1)),
        Arg(("n", 4)),
    ),
    case("SearchSorted nothing at free sizes", mx.searchsorted, Arg((0,)), Arg(("n", 2))),
    case(
        "Arange twice of sizes that stand beside each other",
        lambda x: (mx.arange(2 * x.shape[0], -1, -2), mx.arange(2 * x.shape[1], -1, -2)),
        Arg(("n", "m")),
        sizes=({"n": 6, "m": 5}, {"n": 1, "m": 3}),
    ),
    case(
        "AsType there and back",
        lambda x, n: (
            x.astype(mx.int32).astype(mx.float32),
            x.astype(mx.int64).reshape(2, 2).T / 4,
            n.astype(mx.float32).astype(mx.int32),
        ),
        Arg((4,), values=[2.5, -2.5, 0.25, 7.75]),
        Arg((2,), "int32", [2**24 + 1, -(2**24) - 3]),
    ),
    case(
        "Matmul of what was a product of columns",
        lambda x, y: mx.inner(x, y @ mx.ones((1, 1))),
        Arg((2, 1, 1)),
        Arg((2, 2, 1)),
    ),
    case(
        "SliceUpdate of every second between the ends",
        lambda x: x.at[1:-1:2].maximum(x[1:-1:2][::-1]),
        Arg(("n", "m")),
        sizes=({"n": 6, "m": 5}, {"n": 4, "m": 1}),
    ),
    case(
        "AsStrided of every second along two free axes",
        lambda x: nn.AvgPool3d(1, 2)(mx.broadcast_to(x, (1, *x.shape))),
        Arg(("n", "m", 1, 1)),
        sizes=({"n": 4, "m": 4}, {"n": 6, "m": 2}),
    ),
    case(
        "Dimension beyond 32 bits",
        lambda x: x / (float(x.shape[0] * x.shape[1]) ** 2 * 2**20),
        Arg(("n", "m")),
        sizes=({"n": 64, "m": 50}, {"n": 3, "m": 2}),
        ops="Divide",
    ),
]
