"""Rows for elementwise ops over all element types, with the values that decide correctness."""

from __future__ import annotations

import mlx.core as mx
from case_table import FLOATS, INF, INTEGERS, NAN, SPECIAL, Arg, Case, case, typed

VALUES = list(SPECIAL)
PAIRS = [
    (a, b) for a in (0.0, -0.0, 1.0, -2.5, 3.0, INF, -INF, NAN) for b in (0.0, 1.0, -2.0, 0.5, INF, -INF, NAN)
]
LEFT, RIGHT = [a for a, _ in PAIRS], [b for _, b in PAIRS]
SMALL = [-9, -7, -3, -1, 0, 1, 2, 3, 7, 9]
NONZERO = [-3, -2, -1, 1, 2, 3, 5]
UNIT = [-1.0, -0.75, -1e-3, 0.0, 1e-3, 0.25, 1.0, 1.5, NAN]
WIDE = [0.0, 1e-6, -1e-6, 1e-3, 0.5, -0.5, 1.0, -1.0, 5.0, -5.0, 30.0, -30.0, 200.0, -200.0, INF, -INF, NAN]
POSITIVE = [0.0, -0.0, 1e-6, 0.5, 1.0, 2.0, 10.0, 1e4, -1.0, INF, NAN]
N = len(PAIRS)


def unary(name: str, fn, values: list, *dtypes: str) -> list[Case]:
    """Rows over the floats and further types."""
    row = case(name, fn, Arg((len(values),), values=values))
    return typed(row, *FLOATS, *dtypes)


def integer(
    name: str, fn, *dtypes: str, left: list | None = None, right: list | None = None, ops: str = ""
) -> list[Case]:
    """Rows of two operands over integer types."""
    row = case(
        name, fn, Arg((7, 1), values=left or NONZERO), Arg((10,), values=right or SMALL), ops=ops or name
    )
    return typed(row, *dtypes)


UNARY = (
    *unary("Abs", mx.abs, VALUES, *INTEGERS),
    *unary("Negative", mx.negative, VALUES, *INTEGERS),
    *unary("Sign", mx.sign, VALUES, *INTEGERS),
    *unary("Square", mx.square, VALUES, *INTEGERS),
    *unary("Ceil", mx.ceil, [*VALUES, 2.5, -0.5], "int32", "uint8"),
    *unary("Floor", mx.floor, [*VALUES, 2.5, -0.5], "int32", "uint8"),
    *unary("Round", mx.round, [0.5, 1.5, 2.5, -0.5, -1.5, 0.4, *VALUES]),
    case("Round decimals", lambda x: mx.round(x, 2), Arg(("n", 5))),
    *unary("Exp", mx.exp, WIDE),
    *unary("Expm1", mx.expm1, WIDE),
    *unary("Log", mx.log, POSITIVE),
    *unary("Log2", mx.log2, POSITIVE),
    *unary("Log10", mx.log10, POSITIVE),
    *unary("Log1p", mx.log1p, [*POSITIVE, -0.5, -1e-6, -2.0]),
    *unary("Sqrt", mx.sqrt, POSITIVE),
    *unary("Rsqrt", mx.rsqrt, POSITIVE),
    *unary("Sin", mx.sin, [-3.0, -1.0, 0.0, 0.5, 1.0, 2.0, 9.0, INF, NAN]),
    *unary("Cos", mx.cos, [-3.0, -1.0, 0.0, 0.5, 1.0, 2.0, 9.0, INF, NAN]),
    *unary("Tan", mx.tan, [-3.0, -1.0, 0.0, 0.5, 1.0, 2.0, INF, NAN]),
    *unary("Sinh", mx.sinh, [-3.0, -1.0, 0.0, 1e-3, 2.0, INF, -INF, NAN]),
    *unary("Cosh", mx.cosh, [-3.0, -1.0, 0.0, 1e-3, 2.0, INF, -INF, NAN]),
    *unary("Tanh", mx.tanh, WIDE),
    *unary("ArcSin", mx.arcsin, UNIT),
    *unary("ArcCos", mx.arccos, UNIT),
    *unary("ArcTan", mx.arctan, WIDE),
    *unary("ArcSinh", mx.arcsinh, [-5.0, -1.0, -1e-3, 0.0, 0.5, 30.0, INF, -INF, NAN]),
    *unary("ArcCosh", mx.arccosh, [1.0, 1.001, 2.0, 50.0, 0.5, INF, NAN]),
    *unary("ArcTanh", mx.arctanh, UNIT),
    *unary("Erf", mx.erf, WIDE),
    *unary("ErfInv", mx.erfinv, [*UNIT, 0.5, 0.99, -0.999]),
    *unary("Sigmoid", mx.sigmoid, WIDE),
    *typed(case("Sin of", mx.sin, Arg((5,))), "int32", "bool", "uint8"),
    *typed(case("LogicalNot", mx.logical_not, Arg(("n", 3))), "bool"),
    *typed(case("BitwiseInvert", lambda x: ~x, Arg((10,), values=SMALL), ops="BitwiseXor"), *INTEGERS),
    case("Square dynamic", lambda x: mx.square(x), Arg(("n", "n + 1"))),
    case("Sqrt scalar", mx.sqrt, Arg((), values=(1, 2))),
    case("Exp nothing", mx.exp, Arg((0, 3))),
)

SPECIALS = (Arg((N,), values=LEFT), Arg((N,), values=RIGHT))
ARITHMETIC = {
    "Add": mx.add,
    "Subtract": mx.subtract,
    "Multiply": mx.multiply,
    "Divide": mx.divide,
    "Maximum": mx.maximum,
    "Minimum": mx.minimum,
    "FloorDivide": mx.floor_divide,
    "Remainder": mx.remainder,
    "DivMod": mx.divmod,
    "ArcTan2": mx.arctan2,
    "LogAddExp": mx.logaddexp,
}
COMPARISONS = {
    "Equal": mx.equal,
    "NotEqual": mx.not_equal,
    "Less": mx.less,
    "LessEqual": mx.less_equal,
    "Greater": mx.greater,
    "GreaterEqual": mx.greater_equal,
}
POWER = [(2.0, 3.0), (-2.0, 3.0), (-2.0, 2.0), (2.0, -1.0), (0.0, 0.0), (0.0, -1.0), (9.0, 0.5), (-8.0, 0.5)]
POWER += [(INF, 0.0), (INF, -1.0), (-INF, 3.0), (1.0, NAN), (NAN, 0.0), (NAN, 1.0), (0.5, INF), (2.0, -INF)]
BINARY = (
    *(
        row
        for name, fn in ARITHMETIC.items()
        for row in typed(case(f"{name} special", fn, *SPECIALS), *FLOATS)
    ),
    *(
        case(f"{name} broadcast", fn, Arg((3, "n", 1)), Arg(("n", 4), values=(0.5, 2.0)))
        for name, fn in ARITHMETIC.items()
    ),
    *(
        row
        for name in (
            "Add",
            "Subtract",
            "Multiply",
            "Maximum",
            "Minimum",
            "FloorDivide",
            "Remainder",
            "DivMod",
        )
        for row in integer(name, lambda x, y, fn=ARITHMETIC[name]: fn(y, x), *INTEGERS)
    ),
    *(
        typed(
            case(name, ARITHMETIC[name], Arg((4,), values=[0, 1, 0, 1]), Arg((4,), values=[0, 0, 1, 1])),
            "bool",
        )[0]
        for name in ("Add", "Multiply", "Maximum", "Minimum")
    ),
    *typed(
        case("Divide integers", mx.divide, Arg((3, 1)), Arg((4,), values=NONZERO)), "int32", "uint8", "bool"
    ),
    *typed(
        case("Power", mx.power, *(Arg((len(POWER),), values=[p[i] for p in POWER]) for i in (0, 1))),
        *FLOATS,
    ),
    *integer("Power", mx.power, "int32", "int64", "int8", "int16", left=NONZERO, right=[0, 1, 2, 3, 5]),
    *integer(
        "Power", mx.power, "uint8", "uint16", "uint32", "uint64", left=[0, 1, 2, 3], right=[0, 1, 2, 3, 5]
    ),
    *(
        row
        for name, fn in {
            "BitwiseAnd": mx.bitwise_and,
            "BitwiseOr": mx.bitwise_or,
            "BitwiseXor": mx.bitwise_xor,
        }.items()
        for row in integer(name, fn, *INTEGERS, "bool")
    ),
    *integer("LeftShift", lambda x, y: y << x, *INTEGERS, left=[0, 1, 3, 7]),
    *integer("RightShift", lambda x, y: y >> x, *INTEGERS, left=[0, 1, 3, 7]),
    case("Add scalar", lambda x: x + 2, Arg(("n", 3), "int32")),
    case("Add nothing", mx.add, Arg((0, 3)), Arg((1, 3))),
    case("Add mixed", mx.add, Arg(("n", 3), "int32"), Arg((3,), "float16")),
)

LOGICAL = (
    *(
        row
        for name, fn in COMPARISONS.items()
        for row in typed(case(f"{name} special", fn, *SPECIALS), *FLOATS)
    ),
    *(row for name, fn in COMPARISONS.items() for row in integer(name, fn, *INTEGERS)),
    *(
        typed(case(name, fn, Arg((4,), values=[0, 1, 0, 1]), Arg((4,), values=[0, 0, 1, 1])), "bool")[0]
        for name, fn in {**COMPARISONS, "LogicalAnd": mx.logical_and, "LogicalOr": mx.logical_or}.items()
    ),
    case("LogicalAnd of floats", mx.logical_and, Arg((3, "n"), values=[0, 1, 2]), Arg(("n",), "bool")),
    case("LogicalOr of integers", mx.logical_or, Arg((3, 1), "int32", [0, 1, 2]), Arg((4,), "bool")),
    *typed(
        case(
            "Equal arrays",
            lambda x, y: mx.array_equal(x, y, equal_nan=True),
            *[Arg((3,), values=[1, NAN, INF])] * 2,
        ),
        *FLOATS,
    ),
    *typed(
        case("Select", mx.where, Arg((3, 1), "bool"), Arg(("n", 3, 4)), Arg((1,))),
        *FLOATS,
        *INTEGERS,
        "bool",
        which=[1, 2],
    ),
    case("Select by a number", mx.where, Arg((4,), values=[0, 1, NAN, -0.0]), Arg((4,)), Arg((4,))),
)

CAST_FROM_FLOAT = [0.0, -0.0, 0.4, -0.9, 1.5, 2.5, -3.7, 100.0, -100.0]
CASTS = (
    *(
        row
        for target in (*FLOATS, "int8", "int16", "int32", "int64")
        for row in typed(
            case(
                f"AsType {target} of",
                lambda x, t=target: x.astype(getattr(mx, t)),
                Arg((9,), values=CAST_FROM_FLOAT),
            ),
            *(dtype for dtype in FLOATS if dtype != target),
        )
    ),
    *(
        row
        for target in ("uint8", "uint16", "uint32", "uint64")
        for row in typed(
            case(
                f"AsType {target} of",
                lambda x, t=target: x.astype(getattr(mx, t)),
                Arg((5,), values=[0.0, 0.4, 1.5, 100.0, 250.0]),
            ),
            *FLOATS,
        )
    ),
    *(
        row
        for target in (*INTEGERS, *FLOATS)
        for row in typed(
            case(
                f"AsType {target} of",
                lambda x, t=target: x.astype(getattr(mx, t)),
                Arg((7,), values=[0, 1, -1, 100, -100, 300, 70000]),
            ),
            *(dtype for dtype in INTEGERS if dtype != target),
            "bool",
        )
    ),
    *(
        row
        for row in typed(
            case("AsType bool of", lambda x: x.astype(mx.bool_), Arg((12,), values=VALUES)),
            *FLOATS,
            *INTEGERS,
        )
    ),
    *typed(
        case(
            "AsType infinite of",
            lambda x: x.astype(mx.float16),
            Arg((6,), values=[1e6, -1e6, INF, NAN, 65504, 1e-9]),
        ),
        "float32",
        "bfloat16",
    ),
    case(
        "View uint32",
        lambda x: x.view(mx.uint32),
        Arg((4,), "int32", [-1, 0, 5, -(2**31)]),
    ),
    case(
        "View int16",
        lambda x: x.view(mx.int16),
        Arg((4,), "uint16", [65535, 0, 5, 32768]),
    ),
)
CASES: tuple[Case, ...] = (*UNARY, *BINARY, *LOGICAL, *CASTS)
