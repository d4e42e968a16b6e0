"""The pipeline as a whole, and the passes about structure: sharing, products, broadcasts, arithmetic."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from rewriting import Rewriting, assert_same, check, count, optimized

import converters as cv
import converters.passes
from converters.passes import PIPELINE, algebra, broadcasts, optimize
from converters.passes.products import joined_name
from converters.pattern import Match, rewrite

X = {"x": cv.Spec(("B", "L", 8))}
random = np.random.default_rng(0)


def weight(*shape: int) -> mx.array:
    return mx.array(random.normal(size=shape).astype(np.float32))


def test_every_pass_is_in_the_pipeline():
    folder = Path(converters.passes.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "causal", "sinking"}  # parts of passes
    assert files == used_modules()


def used_modules() -> set[str]:
    """The files whose rules, or whose function, the pipeline names."""
    modules = [value for value in vars(converters.passes).values() if isinstance(value, ModuleType)]
    steps = [step for _, step in PIPELINE]
    used = [m for m in modules if any(value is step for value in vars(m).values() for step in steps)]
    return {module.__name__.rpartition(".")[2] for module in used}


def test_pass_names_are_unique():
    names = [name for name, _ in PIPELINE]
    assert len(names) == len(set(names))


def test_a_second_run_changes_nothing():
    layer = nn.TransformerEncoderLayer(8, 2, norm_first=True)
    layer.eval()
    mx.eval(layer.parameters())
    once = optimize(cv.capture(lambda x: layer(x, None), X, module=layer))
    assert count(optimize(once)) == count(once)


WORDS = {"x": cv.Spec(("B", 3), "uint32")}


def unpacked(order: tuple[int, ...]) -> Any:
    """What MLX makes of taking codes of 8 bits from words."""
    return lambda x: mx.stack([mx.right_shift(mx.left_shift(x, 8 * i), 24) for i in order], axis=-1)


ROWS = [
    Rewriting("codes", unpacked((3, 2, 1, 0)), WORDS, {"Reshape": 1, "RightShift": 1, "BitwiseAnd": 1}),
    Rewriting(
        "codes the other way round stay",
        unpacked((0, 1, 2, 3)),
        WORDS,
        {"LeftShift": 4, "RightShift": 4, "Reshape": 4, "Concatenate": 1},
    ),
    Rewriting("square", lambda x: x * x, X, {"Square": 1}),
    Rewriting("power two", lambda x: mx.power(x, 2), X, {"Square": 1}),
    Rewriting("power a half", lambda x: mx.power(mx.abs(x), 0.5), X, {"Abs": 1, "Sqrt": 1}),
    Rewriting("power three stays", lambda x: mx.power(x, 3), X, {"Power": 1}),
    Rewriting("times one", lambda x: mx.exp(x * 1.0), X, {"Exp": 1}),
    Rewriting("plus zero", lambda x: mx.exp(x + 0.0), X, {"Exp": 1}),
    Rewriting("minus zero", lambda x: mx.exp(x - 0.0), X, {"Exp": 1}),
    Rewriting("zero minus x stays", lambda x: 0.0 - x, X, {"Subtract": 1}),
    Rewriting("one over x stays", lambda x: 1.0 / mx.exp(x), X, {"Exp": 1, "Divide": 1}),
    Rewriting("one over a root", lambda x: 1 / mx.sqrt(mx.exp(x)), X, {"Exp": 1, "Rsqrt": 1}),
    Rewriting("there and back", lambda x: mx.exp(mx.negative(-x)), X, {"Exp": 1}),
    Rewriting("minus", lambda x: mx.exp(x) + (-x), X, {"Exp": 1, "Subtract": 1}),
    Rewriting(
        "casts that round nothing",
        lambda x: mx.exp(x.astype(mx.float32).astype(mx.float16)),
        {"x": cv.Spec(("B", 8), "float16")},
        {"Exp": 1},
    ),
    Rewriting(
        "a cast that rounds stays",
        lambda x: mx.exp(x.astype(mx.float16).astype(mx.float32)),
        {"x": cv.Spec(("B", 8))},
        {"AsType": 2, "Exp": 1},
    ),
    Rewriting("mean", lambda x: x.mean(-1), X, {"Reduce": 1}),
    Rewriting("mean of dynamic axes", lambda x: x.mean((0, 1)), X, {"Reduce": 1}),
    Rewriting("a sum over another number stays", lambda x: x.sum(-1) / 7, X, {"Reduce": 1, "Divide": 1}),
    Rewriting("reshapes", lambda x: mx.exp(x.reshape(-1, 2, 4).reshape(x.shape)), X, {"Exp": 1}),
    Rewriting("transposes", lambda x: mx.exp(x.transpose(0, 2, 1).swapaxes(1, 2)), X, {"Exp": 1}),
    Rewriting("repeat", lambda x: mx.repeat(mx.repeat(x, 2, 1), 3, 2), X, {"Repeat": 1}),
    Rewriting("tile is no repeat", lambda x: mx.tile(x, (1, 2, 1)), X, {"Reshape": 2, "Broadcast": 1}),
    Rewriting(
        "bool and",
        lambda x: mx.where((x > 0) & (x < 1), x, 0),
        X,
        {"Greater": 1, "Less": 1, "LogicalAnd": 1, "Select": 1},
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_simplified(row):
    check(row)


def test_parameters_of_one_and_zero_stay():
    layer = nn.LayerNorm(8)
    mx.eval(layer.parameters())
    after = optimized(cv.capture(layer, X))
    assert {value.name for value in after.constants} == {"weight", "bias"}


class Projections(nn.Module):
    """Layers that read the same, with and without bias."""

    def __init__(self, tied: bool = False):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 6), nn.Linear(8, 4, bias=False), nn.Linear(8, 2)
        self.tied = tied

    def __call__(self, x: mx.array) -> list[mx.array]:
        y = [self.q(x), self.k(x), self.v(x)]
        return [*y, mx.exp(x) @ self.k.weight.T] if self.tied else y


def test_layers_that_share_their_input_are_one_product():
    model = Projections()
    mx.eval(model.parameters())
    before = cv.capture(model, X)
    after = optimized(before)
    assert count(after) == {"Linear": 1, "Split": 1}
    assert {value.name for value in after.constants} == {"q+k+v.weight", "q+v.bias"}
    assert_same(before, after)


def test_a_weight_with_other_users_stays_alone():
    model = Projections(tied=True)
    mx.eval(model.parameters())
    before = cv.capture(model, X)
    after = optimized(before)
    assert count(after)["Linear"] == 4
    assert_same(before, after)


def test_joined_names():
    assert joined_name(["h.0.q.weight", "h.0.k.weight"]) == "h.0.q+k.weight"
    assert joined_name(["a.weight", "b.c.weight"]) == "a.weight"


def test_equal_weights_are_shared_and_named_vectors_are_not():
    one, two = nn.Linear(8, 8), nn.Linear(8, 8)
    two.weight = mx.array(np.array(one.weight))
    one.bias, two.bias = mx.zeros(8), mx.zeros(8)
    model = nn.Sequential(one, nn.relu, two)
    mx.eval(model.parameters())
    before = cv.capture(model, X)
    after = optimized(before)
    assert {value.name for value in after.constants} == {"layers.0.weight", "layers.0.bias", "layers.2.bias"}
    assert_same(before, after)


def test_almost_equal_weights_are_not_shared():
    array = np.asarray(random.normal(size=(8, 8)), np.float32)
    other = array.copy()
    other[3, 3] += 1e-3
    first, second = mx.array(array), mx.array(other)
    before = cv.capture(lambda x: mx.exp(x @ first) @ second, X)
    assert len(optimized(before).constants) == 2


def test_scales_go_into_the_layer_before():
    layer, gamma = nn.Linear(8, 4), weight(4)
    mx.eval(layer.parameters())
    before = cv.capture(lambda x: gamma * layer(x) / 3, X, module=layer)
    after = optimized(before)
    assert count(after) == {"Linear": 1}
    assert_same(before, after)


def test_a_scale_of_positions_does_not():
    layer, gamma = nn.Linear(8, 4), weight(5, 1)
    mx.eval(layer.parameters())
    before = cv.capture(lambda x: gamma * layer(x), {"x": cv.Spec(("B", 5, 8))}, module=layer)
    assert count(optimized(before)) == {"Linear": 1, "Multiply": 1}


def test_a_refusal_gives_its_reason():
    (neutral,) = (rule for rule in algebra.RULES if rule.name == "neutral")
    reasons = []

    def spy(m: Match) -> str | None:
        assert neutral.check is not None
        reasons.append(neutral.check(m))
        return reasons[-1]

    rewrite(cv.capture(lambda x: x * 2.0, X), [*broadcasts.RULES, replace(neutral, check=spy)])
    assert set(reasons) == {"the constant changes the result"}
