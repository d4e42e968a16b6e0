"""Capture: names, structures of outputs, dynamic sizes, explained errors, an untouched model afterwards."""

from contextlib import nullcontext

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

import converters as cv
from converters.sizes import at


class Encoder(nn.Module):
    """A small Vision Transformer: convolution to patches, a class token, attention, a head."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.token = mx.zeros((1, 1, width))
        self.layer = nn.TransformerEncoderLayer(width, 2, 64, norm_first=True)
        self.head = nn.Linear(width, 5)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.patch(x)
        b, h, w, c = x.shape
        x = mx.concatenate([mx.broadcast_to(self.token, (b, 1, c)), x.reshape(b, h * w, c)], axis=1)
        return self.head(self.layer(x, None)[:, 0])


def evaluate(graph: cv.Graph, *arrays: np.ndarray) -> dict[str, np.ndarray]:
    return graph.evaluate(*arrays)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def agrees(graph: cv.Graph, fn, *arrays: np.ndarray) -> None:
    (got,) = graph.evaluate(*arrays).values()
    np.testing.assert_allclose(got, np.array(fn(*map(mx.array, arrays))), rtol=1e-4, atol=1e-5)


def test_weights_carry_the_users_parameter_paths():
    model = Encoder()
    model.eval()
    graph = cv.capture(model, {"x": cv.Spec((1, 32, 32, 3))})
    names = {value.name for value in graph.constants} - {"constant"}
    assert {
        "patch.weight",
        "layer.attention.query_proj.weight",
        "layer.ln1.bias",
        "head.bias",
        "token",
    } <= names
    assert names <= {path for path, _ in tree_flatten(model)}


def test_two_modules_in_a_closure_are_told_apart_by_their_variables():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    graph = cv.capture(lambda x: second(first(x)), {"x": cv.Spec((2, 3))})
    assert {"first.weight", "first.bias", "second.weight", "second.bias"} <= {v.name for v in graph.constants}


def test_a_bound_method_names_its_modules_weights():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def encode(self, x):
            return self.inner(x)

    graph = cv.capture(Two().encode, {"x": cv.Spec((2, 3))})
    assert "inner.weight" in {value.name for value in graph.constants}


@pytest.mark.parametrize(
    ("fn", "names"),
    [
        (lambda x: x + 1, ["output"]),
        (lambda x: (x + 1, x), ["output_0", "output_1"]),
        (lambda x: [x, (x * 2, x * 3)], ["output_0", "output_1.0", "output_1.1"]),
        (lambda x: {"a": x, "b": {"c": x * 2}}, ["a", "b.c"]),
        (lambda x: (x, x, mx.array([1.0, 2.0])), ["output_0", "output_1", "output_2"]),
    ],
)
def test_outputs_are_named_by_their_place(fn, names):
    graph = cv.capture(fn, {"x": cv.Spec((2, 3))})
    assert list(graph.outputs) == names
    x = random(2, 3)
    leaves = graph.evaluate(x).values()
    from converters.capture import flat_results

    for got, (_, expected) in zip(leaves, flat_results(fn(mx.array(x))), strict=True):
        np.testing.assert_array_equal(got, np.array(expected))


@pytest.mark.parametrize("size", [3, "n"])
def test_outputs_that_are_computed_alike_are_both_there(size):
    def fn(x):
        return mx.sin(x), x + 1, mx.stop_gradient(mx.sin(x)), mx.cos(x), 1 + x, mx.sin(x)

    graph = cv.capture(fn, {"x": cv.Spec((2, size))})
    x = random(2, 3)
    for got, expected in zip(graph.evaluate(x).values(), fn(mx.array(x)), strict=True):
        np.testing.assert_allclose(got, np.array(expected), rtol=1e-6)


def test_outputs_are_renamed_in_leaf_order():
    graph = cv.capture(lambda x: {"a": x + 1, "b": x}, {"x": cv.Spec((2,))}, outputs=["p", "q"])
    assert list(graph.outputs) == ["p", "q"]
    with pytest.raises(cv.CaptureError, match="outputs names 1 arrays, the function returns 2"):
        cv.capture(lambda x: (x, x + 1), {"x": cv.Spec((2,))}, outputs=["p"])
    with pytest.raises(cv.CaptureError, match="stands for two"):
        cv.capture(lambda x: x + 1, {"x": cv.Spec((2,))}, outputs=["x"])


def test_tokens_of_a_vision_transformer_are_a_product_of_three_dimensions():
    model = Encoder()
    model.eval()
    graph = cv.capture(model, {"x": cv.Spec(("batch", "height", "width", 3))})
    assert graph.dims["height"].multiple == graph.dims["width"].multiple == 16
    assert graph.dims["batch"].multiple == 1
    for shape in ((1, 16, 16, 3), (2, 80, 32, 3), (5, 16, 112, 3)):
        agrees(graph, model, random(*shape))


def test_halved_sizes_are_multiples_and_enforced_later():
    pool = nn.MaxPool2d(2, 2)
    graph = cv.capture(lambda x: pool(x), {"x": cv.Spec(("b", "h", "w", 3))})
    assert (graph.dims["h"].multiple, graph.dims["b"].multiple) == (2, 1)
    agrees(graph, pool, random(1, 6, 14, 3))


def test_scalars_that_depend_on_sizes_become_formulas():
    graph = cv.capture(lambda x: x.mean((1, 2)), {"x": cv.Spec(("b", "h", "w", 3))})
    agrees(graph, lambda x: x.mean((1, 2)), random(2, 7, 5, 3))
    graph = cv.capture(lambda x: x * mx.array(x.shape[1] ** -0.5), {"x": cv.Spec(("b", "n"))})
    agrees(graph, lambda x: x * mx.array(x.shape[1] ** -0.5), random(2, 11))


def test_sums_of_dimensions_in_a_shape():
    def grow(past, x):
        return mx.concatenate([past, x], axis=1)

    specs = {"past": cv.Spec(("b", "past", 4)), "x": cv.Spec(("b", "length", 4))}
    graph = cv.capture(grow, specs, dims={"past": (0, 64)})
    (size,) = {value.shape[1] for value in graph.outputs.values()}
    assert at(size, {"past": 7, "length": 2}) == 9
    agrees(graph, grow, random(3, 0, 4), random(3, 2, 4))


def test_a_loop_over_the_length_is_refused_with_both_sizes():
    def recurrence(x):
        h = x[:, 0]
        for i in range(1, x.shape[1]):
            h = h * 0.5 + x[:, i]
        return h

    with pytest.raises(cv.CaptureError, match="loops over length") as caught:
        cv.capture(recurrence, {"x": cv.Spec(("b", "length", 3))})
    assert "fix length" in str(caught.value)
    assert "length=" in str(caught.value)


def test_a_size_with_another_structure_is_kept_where_the_numbers_agree():
    def masked(x):
        return x if x.shape[1] == 1 else x * mx.ones((x.shape[1],))

    assert cv.capture(masked, {"x": cv.Spec(("b", "n"))}).dims["n"].low == 1


def test_a_size_that_computes_something_else_leaves_the_bounds_or_is_refused():
    def special(x):
        return x + 1 if x.shape[1] == 1 else x * 2

    assert cv.capture(special, {"x": cv.Spec(("b", "n"))}).dims["n"].low == 2
    with pytest.raises(cv.CaptureError, match="at n = 1"):
        cv.capture(special, {"x": cv.Spec(("b", "n"))}, dims={"n": (1, 9)})


def test_a_size_is_judged_with_the_others_near_and_far():
    def window(x):  # at one row it forgets the window that all other sizes have
        distance = mx.arange(x.shape[2])[None, None]
        return x.sum(2) if x.shape[1] == 1 else mx.where(distance < 40, x, 0).sum(2)

    graph = cv.capture(window, {"x": cv.Spec(("b", "n", "past"))}, dims={"past": (1, 100)})
    assert graph.dims["n"].low == 2


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda x: x if x.sum() > 0 else -x, "needs an array's value"),
        (lambda x: x * x.sum().item(), "needs an array's value"),
        (lambda x: mx.array(np.sin(x)), "needs an array's value"),
        (lambda x: x * float(x[0, 0]), "needs an array's value"),
        (lambda x: None, "returns is NoneType"),
        (lambda x: np.zeros(3), "returns is ndarray"),
        (lambda x: {"a": x, "b": [x, None]}, r"output b\.1 is NoneType"),
        (lambda x: mx.array(x.tolist()), "needs an array's value"),
        (lambda x: mx.array(np.array(x)), "needs an array's value"),
        (lambda x: f"{x}" and x, "needs an array's value"),
        (lambda x: mx.eval(x + 1) or x, "needs an array's value"),
        (lambda x: x * 1j, "output is of complex numbers"),
        (lambda x: x[x > 0], "how many places a mask picks"),
        (lambda x, y: x + y, "functools.partial"),
        (lambda x, *, scale: x * scale, "functools.partial"),
        (lambda x: (x, 3), "output_1 is int"),
        (lambda x: (), "returns no array"),
        (lambda x: x @ x, "failed while it was traced"),
    ],
)
def test_mistakes_are_explained(fn, message):
    with pytest.raises(cv.CaptureError, match=message):
        cv.capture(fn, {"x": cv.Spec((2, 3))})


def test_a_mistake_is_found_in_the_users_own_code():
    def threshold(x: mx.array) -> float:
        return float(x.max().item())  # type: ignore[arg-type]

    with pytest.raises(cv.CaptureError, match=r"\(test_capture.py, line \d+, threshold\)"):
        cv.capture(lambda x: nn.relu(x) - threshold(x), {"x": cv.Spec((2, 3))})


def test_training_mode_is_refused_only_where_it_matters():
    with pytest.raises(cv.CaptureError, match=r"layers\.0 \(BatchNorm\) is in training mode"):
        cv.capture(nn.Sequential(nn.BatchNorm(3)), {"x": cv.Spec((2, 3))})
    assert cv.capture(nn.Linear(3, 2), {"x": cv.Spec((2, 3))}).nodes


def random_key() -> np.ndarray:
    (key,) = mx.random.state  # type: ignore[misc]
    return np.array(key)


class Fragile(nn.Module):
    """Changes its own arrays while it runs, and fails afterwards if told to."""

    def __init__(self, fails: bool):
        super().__init__()
        self.weight = mx.ones((3,))
        self.calls = {"count": [mx.array(0)]}
        self.fails = fails

    def __call__(self, x: mx.array) -> mx.array:
        self.weight = self.weight * x.sum(0)
        self.calls["count"][0] = self.calls["count"][0] + mx.random.randint(0, 9)
        self.fails_now = self.fails
        if self.fails:
            raise ValueError("on purpose")
        return x + self.weight


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_the_random_state_and_the_compile_switch_are_as_before(fails):
    model = Fragile(fails)
    mx.random.seed(7)
    before = random_key()
    with pytest.raises(cv.CaptureError, match="on purpose") if fails else nullcontext():
        cv.capture(model, {"x": cv.Spec(("n", 3))})
    np.testing.assert_array_equal(np.array(model.weight), np.ones(3, np.float32))
    assert model.calls["count"][0].item() == 0
    assert not hasattr(model, "fails_now")
    np.testing.assert_array_equal(random_key(), before)
    calls = []
    compiled = mx.compile(lambda x: calls.append(1) or x + 1)
    compiled(mx.array(1))
    compiled(mx.array(1))
    assert len(calls) == 1


class InPlace(nn.Module):
    """Clears part of its own bias whenever it runs."""

    def __init__(self):
        super().__init__()
        self.bias, self.scale = mx.ones((4,)), mx.ones((1, 1))

    def __call__(self, x: mx.array) -> mx.array:
        self.bias[1:3] = 0
        return x * self.scale + self.bias


def test_a_weight_that_the_function_changes_in_place_is_as_before():
    model = InPlace()
    bias = model.bias
    graph = cv.capture(model, {"x": cv.Spec(("n", 4))})
    fixed = cv.capture(model, {"x": cv.Spec((3, 4))})
    assert model.bias is bias
    assert [node.op for node in graph.nodes] == [node.op for node in fixed.nodes]
    assert {"bias", "scale"} <= {value.name for value in graph.constants}
    np.testing.assert_array_equal(np.array(bias), np.ones(4, np.float32))
    (got,) = graph.evaluate(np.zeros((3, 4), np.float32)).values()
    np.testing.assert_array_equal(got, np.tile([1.0, 0.0, 0.0, 1.0], (3, 1)))


def test_a_disabled_compile_switch_stays_disabled():
    mx.disable_compile()
    try:
        cv.capture(nn.Linear(3, 2), {"x": cv.Spec((2, 3))})
        calls = []
        compiled = mx.compile(lambda x: calls.append(1) or x + 1)
        compiled(mx.array(1))
        compiled(mx.array(1))
        assert len(calls) == 2
    finally:
        mx.enable_compile()


def test_sizes_that_the_inputs_leave_open_are_refused():
    with pytest.raises(cv.ShapeError, match=r"do not determine h\*w"):
        cv.capture(mx.sum, {"x": cv.Spec(("h*w",))})


def test_unknown_dims_states_and_specs_are_errors():
    with pytest.raises(cv.CaptureError, match="dims names depth"):
        cv.capture(lambda x: x, {"x": cv.Spec(("b", 3))}, dims={"depth": (1, 2)})
    with pytest.raises(cv.CaptureError, match="state 'y' is not an input"):
        cv.capture(lambda x: x + 1, {"x": cv.Spec((2,))}, states={"y": "output"})
    with pytest.raises(cv.CaptureError, match="described by"):
        cv.capture(lambda x: x, {"x": (2, 3)})  # type: ignore[dict-item]


def test_unevaluated_weights_are_constants():
    model = nn.Linear(4, 4)
    model.weight = mx.random.normal((4, 4)) * 2
    graph = cv.capture(model, {"x": cv.Spec((2, 4))})
    assert not any("Random" in node.op for node in graph.nodes)


def test_printing_shows_every_node_with_shapes():
    graph = cv.capture(nn.Linear(3, 2), {"x": cv.Spec(("batch", 3))}, outputs=["y"])
    text = str(graph)
    assert text.startswith("graph(x: float32[batch, 3])")
    assert "y: float32[batch, 2] = AddMM(x" in text
    assert text.endswith("return y")


def test_a_branch_far_above_bounds_the_dimension():
    spec = {"x": cv.Spec(("n", 4))}
    other = cv.capture(lambda x: x * 2 if x.shape[0] < 300 else x * 3, spec)
    assert other.dims["n"] == cv.Dim(1, 299)
    same = cv.capture(lambda x: x * 2 if x.shape[0] < 300 else x + x, spec)
    assert same.dims["n"] == cv.Dim(1)
    positions = mx.zeros((1000, 4))
    limited = cv.capture(lambda x: x + positions[: x.shape[0]], spec)
    assert limited.dims["n"] == cv.Dim(1, 1000)


def test_sizes_beyond_a_table_of_positions_bound_no_other_dimension():
    positions = mx.array(np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32))

    def fn(x: mx.array) -> mx.array:
        return x + positions[mx.arange(x.shape[1])][None]

    graph = cv.capture(fn, {"x": cv.Spec(("batch", "length", 4))})
    assert graph.dims["batch"].low == 1


def test_a_bound_of_one_dimension_is_none_of_the_others():
    table = mx.array(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))

    def fn(x: mx.array) -> mx.array:
        padded = mx.pad(x, [(0, 0), (0, -x.shape[1] % 64), (0, 0)])  # one formula from 1 to 64
        return padded.sum(1, keepdims=True) + table[:1][None]

    graph = cv.capture(fn, {"x": cv.Spec(("batch", "length", 4))})
    assert graph.dims["batch"].low == 1


def test_parts_of_a_fraction_of_the_size_are_cut_for_multiples_of_any_power_of_two():
    def fn(x: mx.array) -> mx.array:
        cells = x.reshape(x.shape[0] // 64, 64, x.shape[1] // 64, 64).max(axis=(1, 3))
        return cells.reshape(-1)[: cells.size - 1]

    graph = cv.capture(fn, {"x": cv.Spec(("height", "width"))})
    assert {name: dim.multiple for name, dim in graph.dims.items()} == {"height": 64, "width": 64}


def test_output_with_which_another_begins_is_no_twin_of_it():
    """MLX joins the two sines and forgets that the second is an output too."""
    x = np.linspace(-1, 1, 4, dtype=np.float32)
    graph = cv.capture(lambda x: (mx.cos(mx.sin(x)), mx.stop_gradient(mx.sin(x))), {"x": cv.Spec(("n",))})
    first, second = graph.evaluate(x).values()
    np.testing.assert_allclose(first, np.cos(np.sin(x)), rtol=1e-6)
    np.testing.assert_allclose(second, np.sin(x), rtol=1e-6)
