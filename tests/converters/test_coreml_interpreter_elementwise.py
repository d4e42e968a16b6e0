"""The interpreter's elementwise operations, activations and reductions against `math`, hand-made values and
coremltools' own value inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from coreml_programs import Case, Results, check, mb

RNG = np.random.default_rng(0)
INFINITY = float("inf")


def f32(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def i32(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def each(function: Callable[..., float], *arrays: np.ndarray) -> np.ndarray:
    """A function of Python floats on each element, in float64."""
    return np.vectorize(function, otypes=[np.float64])(*(a.astype(np.float64) for a in arrays)).astype(
        np.float32
    )


X = RNG.uniform(-3, 3, (2, 3, 4)).astype(np.float32)
UNIT = RNG.uniform(-0.99, 0.99, (2, 3, 4)).astype(np.float32)
POSITIVE = RNG.uniform(0.05, 4, (2, 3, 4)).astype(np.float32)
HALVES = f32(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -3.7, 3.2, 0.0)
SIGNED = i32(-7, -6, -1, 0, 1, 6, 7)


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def softplus(v: float) -> float:
    return math.log1p(math.exp(v))


UNARY: dict[str, tuple[Callable[[float], float], np.ndarray]] = {
    "acos": (math.acos, UNIT),
    "asin": (math.asin, UNIT),
    "atan": (math.atan, X),
    "atanh": (math.atanh, UNIT),
    "ceil": (math.ceil, HALVES),
    "cos": (math.cos, X),
    "cosh": (math.cosh, X),
    "erf": (math.erf, np.linspace(-7, 7, 5001, dtype=np.float32)),
    "exp": (math.exp, X),
    "exp2": (lambda v: 2.0**v, X),
    "floor": (math.floor, HALVES),
    "round": (round, HALVES),  # halves to even, as Python
    "sin": (math.sin, X),
    "sinh": (math.sinh, X),
    "sqrt": (math.sqrt, POSITIVE),
    "square": (lambda v: v * v, X),
    "tan": (math.tan, UNIT),
    "tanh": (math.tanh, X),
    "abs": (abs, X),
    "sign": (lambda v: (v > 0) - (v < 0), HALVES),
    "relu": (lambda v: max(v, 0.0), X),
    "relu6": (lambda v: min(max(v, 0.0), 6.0), X * 4),
    "sigmoid": (sigmoid, X),
    "silu": (lambda v: v * sigmoid(v), X),
    "softplus": (softplus, X),
    "softsign": (lambda v: v / (1 + abs(v)), X),
}
TWO: dict[str, Callable[[float, float], float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "real_div": lambda a, b: a / b,
    "maximum": max,
    "minimum": min,
    "floor_div": lambda a, b: math.floor(a / b),
    "mod": lambda a, b: a - b * math.floor(a / b),
    "pow": lambda a, b: math.copysign(abs(a), 1) ** b,
}


def table() -> Iterator[Case]:
    for name, (function, x) in UNARY.items():
        yield Case(name, lambda x, name=name: getattr(mb, name)(x=x), (x,), each(function, x), (15, 18))
    a, b = np.abs(X) + 0.1, f32([0.5], [-1.5], [2.0])
    for name, function in TWO.items():
        build = lambda x, y, name=name: getattr(mb, name)(x=x, y=y)  # noqa: E731
        yield Case(f"{name} broadcast", build, (a, b), each(function, *np.broadcast_arrays(a, b)), (15, 18))
    for name, function in {
        "equal": lambda a, b: a == b,
        "not_equal": lambda a, b: a != b,
        "less": lambda a, b: a < b,
        "less_equal": lambda a, b: a <= b,
        "greater": lambda a, b: a > b,
        "greater_equal": lambda a, b: a >= b,
    }.items():
        pair = i32(1, 2, 3, -1), i32(2, 2, 2, -1)
        wanted = i32(*(function(int(p), int(q)) for p, q in zip(*pair, strict=True)))
        yield Case(
            f"{name} int", lambda x, y, name=name: getattr(mb, name)(x=x, y=y), pair, wanted, rtol=0, atol=0
        )
    yield from integers()
    yield from parametric()
    yield from casts()
    yield from reductions()


def exact(name: str, build: Callable[..., Any], inputs: tuple[np.ndarray, ...], expected: Any) -> Case:
    return Case(name, build, inputs, expected, rtol=0, atol=0)


def integers() -> Iterator[Case]:
    three = np.full_like(SIGNED, 3)
    yield exact(
        "floor_div int", lambda x, y: mb.floor_div(x=x, y=y), (SIGNED, three), i32(-3, -2, -1, 0, 0, 2, 2)
    )
    yield exact(
        "floor_div int, negative",
        lambda x, y: mb.floor_div(x=x, y=y),
        (SIGNED, -three),
        i32(2, 2, 0, 0, -1, -2, -3),
    )
    yield exact("mod int", lambda x, y: mb.mod(x=x, y=y), (SIGNED, three), i32(2, 0, 2, 0, 1, 0, 1))
    yield exact(
        "mod int, negative", lambda x, y: mb.mod(x=x, y=y), (SIGNED, -three), i32(-1, 0, -1, 0, -2, 0, -2)
    )
    yield exact("mod float", lambda x, y: mb.mod(x=x, y=y), (f32(-5.5, 5.5), f32(2, -2)), f32(0.5, -0.5))
    yield exact(
        "pow int",
        lambda x, y: mb.pow(x=x, y=y),
        (i32(2, -3, 1, -1, 5, 2), i32(10, 3, -2, -3, 0, -1)),
        i32(1024, -27, 1, -1, 1, 0),
    )
    yield exact("add int wraps", lambda x, y: mb.add(x=x, y=y), (i32(2**31 - 1), i32(1)), i32(-(2**31)))
    yield exact("square int", lambda x: mb.square(x=x), (SIGNED,), i32(49, 36, 1, 0, 1, 36, 49))
    yield exact("abs int", lambda x: mb.abs(x=x), (SIGNED,), i32(7, 6, 1, 0, 1, 6, 7))
    yield exact(
        "threshold int", lambda x: mb.threshold(x=x, alpha=-1), (SIGNED,), i32(-1, -1, -1, 0, 1, 6, 7)
    )
    for name, wanted in {"and": (1, 0, 0, 0), "or": (1, 1, 1, 0), "xor": (0, 1, 1, 0)}.items():
        build = lambda x, y, name=name: getattr(mb, f"logical_{name}")(  # noqa: E731
            x=mb.cast(x=x, dtype="bool"), y=mb.cast(x=y, dtype="bool")
        )
        yield exact(f"logical_{name}", build, (i32(1, 1, 0, 0), i32(1, 0, 1, 0)), i32(*wanted))
    yield exact(
        "logical_not", lambda x: mb.logical_not(x=mb.cast(x=x, dtype="bool")), (i32(0, 2),), i32(1, 0)
    )
    yield exact(
        "select broadcast",
        lambda x: mb.select(cond=mb.less(x=x, y=0.0), a=f32([1], [2]), b=x),
        (f32(-1, 5),),
        f32([1, 5], [2, 5]),
    )


def parametric() -> Iterator[Case]:
    """With parameters; each alpha and beta tells the two apart."""
    yield Case(
        "clip", lambda x: mb.clip(x=x, alpha=-1.0, beta=0.5), (X,), each(lambda v: min(max(v, -1), 0.5), X)
    )
    yield Case(
        "inverse",
        lambda x: mb.inverse(x=x, epsilon=0.25),
        (POSITIVE,),
        each(lambda v: 1 / (v + 0.25), POSITIVE),
    )
    yield Case("inverse default", lambda x: mb.inverse(x=x), (f32(0, 0.15),), f32(1e4, 1 / 0.1501))
    yield Case(
        "log", lambda x: mb.log(x=x, epsilon=0.5), (POSITIVE,), each(lambda v: math.log(v + 0.5), POSITIVE)
    )
    yield Case("log default", lambda x: mb.log(x=x), (f32(0, 1),), f32(math.log(1.4013e-45), 0))
    yield Case(
        "rsqrt",
        lambda x: mb.rsqrt(x=x, epsilon=0.5),
        (POSITIVE,),
        each(lambda v: (v + 0.5) ** -0.5, POSITIVE),
    )
    yield Case("rsqrt default", lambda x: mb.rsqrt(x=x), (f32(0, 4),), f32(1e6, 0.5))
    yield Case(
        "elu", lambda x: mb.elu(x=x, alpha=0.7), (X,), each(lambda v: v if v > 0 else 0.7 * math.expm1(v), X)
    )
    yield Case(
        "leaky_relu",
        lambda x: mb.leaky_relu(x=x, alpha=0.1),
        (X,),
        each(lambda v: v if v >= 0 else 0.1 * v, X),
    )
    yield Case(
        "linear_activation",
        lambda x: mb.linear_activation(x=x, alpha=2.0, beta=-0.5),
        (X,),
        each(lambda v: 2 * v - 0.5, X),
    )
    yield Case(
        "clamped_relu",
        lambda x: mb.clamped_relu(x=x, alpha=0.5, beta=1.0),
        (X,),
        each(lambda v: min(1.0, v if v >= 0 else 0.5 * v), X),
    )
    yield Case(
        "clamped_relu, negative beta",
        lambda x: mb.clamped_relu(x=x, alpha=0.5, beta=-1.0),
        (f32(-4, 3),),
        f32(-2, -1),
    )
    yield Case(
        "scaled_tanh",
        lambda x: mb.scaled_tanh(x=x, alpha=1.7159, beta=2 / 3),
        (X,),
        each(lambda v: 1.7159 * math.tanh(2 / 3 * v), X),
    )
    yield Case(
        "sigmoid_hard",
        lambda x: mb.sigmoid_hard(x=x, alpha=0.2, beta=0.5),
        (X,),
        each(lambda v: min(max(0.2 * v + 0.5, 0), 1), X),
    )
    yield Case(
        "thresholded_relu",
        lambda x: mb.thresholded_relu(x=x, alpha=0.5),
        (f32(0.4, 0.5, 2, -3),),
        f32(0, 0.5, 2, 0),
    )
    slopes = f32(0.1, 0.2, 0.3)
    four = X[..., None]
    yield Case(
        "prelu",
        lambda x: mb.prelu(x=x, alpha=slopes),
        (four,),
        np.where(four > 0, four, four * slopes.reshape(1, 3, 1, 1)),
    )
    scale, inner = f32(0.5, 1, 2), f32(1, -2, 3)
    wanted = scale.reshape(1, 3, 1, 1) * each(softplus, four * inner.reshape(1, 3, 1, 1))
    yield Case(
        "softplus_parametric", lambda x: mb.softplus_parametric(x=x, alpha=scale, beta=inner), (four,), wanted
    )
    yield Case(
        "large",
        lambda x: [mb.sigmoid(x=x), mb.softplus(x=x), mb.silu(x=x), mb.gelu(x=x)],
        (f32(-200, 200),),
        [f32(0, 1), f32(0, 200), f32(0, 200), f32(0, 200)],
    )
    gelus = {
        "EXACT": lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2,
        "TANH_APPROXIMATION": lambda v: (
            v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2
        ),
        "SIGMOID_APPROXIMATION": lambda v: v * sigmoid(1.702 * v),
    }
    for mode, function in gelus.items():
        yield Case(f"gelu {mode}", lambda x, mode=mode: mb.gelu(x=x, mode=mode), (X,), each(function, X))
    for axis in (0, 1, -1):
        e = np.exp(X.astype(np.float64))
        yield Case(
            f"softmax {axis}",
            lambda x, axis=axis: mb.softmax(x=x, axis=axis),
            (X,),
            e / e.sum(axis, keepdims=True),
        )
    yield Case(
        "softmax of large", lambda x: mb.softmax(x=x, axis=0), (f32(1e30, 1e30, -1e30),), f32(0.5, 0.5, 0)
    )


def casts() -> Iterator[Case]:
    x = f32(-2.7, -0.5, 0, 0.5, 2.7, 300, -1e20, 1e20)
    yield exact(
        "cast to int32",
        lambda x: mb.cast(x=x, dtype="int32"),
        (x,),
        i32(-2, 0, 0, 0, 2, 300, -(2**31), 2**31 - 1),
    )
    yield exact("cast to bool", lambda x: mb.cast(x=x, dtype="bool"), (x,), i32(1, 1, 0, 1, 1, 1, 1, 1))
    yield exact("cast to uint8", lambda x: mb.cast(x=x, dtype="uint8"), (f32(0, 3.9, 255),), i32(0, 3, 255))
    yield exact("cast to int16", lambda x: mb.cast(x=x, dtype="int16"), (f32(-3.9, 1000),), i32(-3, 1000))
    yield exact(
        "cast through fp16",
        lambda x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"),
        (f32(0.1, 2049, 2051, 65519, 65520, -1e20, 1e-8),),
        f32(0.0999755859375, 2048, 2052, 65504, INFINITY, -INFINITY, 0),
    )
    yield exact(
        "cast int to fp32", lambda x: mb.cast(x=x, dtype="fp32"), (SIGNED,), SIGNED.astype(np.float32)
    )


REDUCTIONS: dict[str, Callable[[list[float]], float]] = {
    "reduce_sum": sum,
    "reduce_mean": lambda v: sum(v) / len(v),
    "reduce_max": max,
    "reduce_min": min,
    "reduce_prod": math.prod,
    "reduce_sum_square": lambda v: sum(a * a for a in v),
    "reduce_l1_norm": lambda v: sum(abs(a) for a in v),
    "reduce_l2_norm": lambda v: math.sqrt(sum(a * a for a in v)),
    "reduce_log_sum": lambda v: math.log(sum(v)),
    "reduce_log_sum_exp": lambda v: math.log(sum(math.exp(a) for a in v)),
}


def reductions() -> Iterator[Case]:
    for name, function in REDUCTIONS.items():
        rows = POSITIVE.transpose(1, 0, 2).reshape(3, 8).astype(np.float64)
        wanted = f32(*(function(row.tolist()) for row in rows)).reshape(1, 3, 1)
        yield Case(
            f"{name} axes",
            lambda x, name=name: getattr(mb, name)(x=x, axes=[-1, 0], keep_dims=True),
            (POSITIVE,),
            wanted,
            (15, 18),
        )
        everything = np.float32(function(POSITIVE.astype(np.float64).ravel().tolist()))
        yield Case(
            f"{name} all",
            lambda x, name=name: mb.expand_dims(x=getattr(mb, name)(x=x), axes=[0]),
            (POSITIVE,),
            everything.reshape(1),
            atol=1e-5,
        )
    x = i32([3, 1, 3], [-5, 2, -5])
    yield exact("reduce_sum int", lambda x: mb.reduce_sum(x=x, axes=[1]), (x,), i32(7, -8))
    yield exact("reduce_mean int is cut", lambda x: mb.reduce_mean(x=x, axes=[1]), (x,), i32(2, -2))
    yield exact("reduce_argmax first", lambda x: mb.reduce_argmax(x=x, axis=1), (x,), i32(0, 1))
    yield exact(
        "reduce_argmin kept", lambda x: mb.reduce_argmin(x=x, axis=-1, keep_dims=True), (x,), i32([1], [0])
    )
    yield exact(
        "reduce_argmax uint16",
        lambda x: mb.reduce_argmax(x=x, axis=0, output_dtype="uint16"),
        (x,),
        i32(0, 1, 0),
    )
    yield Case(
        "reduce_log_sum_exp of large",
        lambda x: mb.reduce_log_sum_exp(x=x, axes=[0]),
        (f32(1000, 1000),),
        np.float32(1000 + math.log(2)),
    )
    y = f32([1, 2, 3], [4, 5, 6])
    for axis, exclusive, reverse, wanted in [
        (0, False, False, [[1, 2, 3], [5, 7, 9]]),
        (-1, False, False, [[1, 3, 6], [4, 9, 15]]),
        (1, True, False, [[0, 1, 3], [0, 4, 9]]),
        (1, False, True, [[6, 5, 3], [15, 11, 6]]),
        (1, True, True, [[5, 3, 0], [11, 6, 0]]),
    ]:
        yield exact(
            f"cumsum {axis} {exclusive} {reverse}",
            lambda x, a=axis, e=exclusive, r=reverse: mb.cumsum(x=x, axis=a, exclusive=e, reverse=r),
            (y,),
            f32(*wanted),
        )


CASES = list(table())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(CASES, tmp_path_factory.mktemp("packages"))


@pytest.mark.parametrize(("case", "ios"), [(c, ios) for c in CASES for ios in c.ios], ids=str)
def test_case(case: Case, ios: int, results: Results) -> None:
    check(case, results.of(case, ios))
