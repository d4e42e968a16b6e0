"""Core AI assets: what the runtime or its compiler would compute wrongly, what ends its process, and what a
file carries."""

import json
import operator
import os
import signal
import subprocess
import sys

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

import converters as cv
from converters import disk
from converters.targets.coreai import beta, worker

pytest.importorskip("coreai", reason="coreai-core has no wheel for this system")


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(disk, "sync", lambda path: None)
    monkeypatch.setattr(disk, "sync_tree", lambda path: None)


def as_asset(fn, folder, **arrays):
    """What the function gives as an asset, and in MLX."""
    graph = cv.capture(fn, {name: cv.Spec(a.shape, a.dtype) for name, a in arrays.items()})
    model = cv.load(cv.convert(graph, folder / "model.aimodel"))
    with mx.stream(mx.cpu):
        return model(**arrays)["output"], np.array(fn(*map(mx.array, arrays.values())))


ZERO = np.zeros(1, np.float32)
INF = float("inf")


def table(*numbers):
    """A column of 40,000 and a row of 3: what they give together is more than the compiler folds."""
    return mx.array(numbers * (40000 // len(numbers)))[:, None], mx.array([[INF, 1, -2]])


@pytest.mark.parametrize(
    "known",
    [
        lambda: operator.eq(*table(0, 1, 2, INF)),
        lambda: mx.maximum(*table(0, 1, float("nan"), -1)),
        lambda: nn.gelu(operator.mul(*table(0.5, 1, 2, -3))),
        lambda: operator.floordiv(*table(INF, -INF, 7, -7)),
        lambda: mx.minimum(*table(1, -2, 300, -300)).astype(mx.int32).astype(mx.uint8),
    ],
    ids=["equal", "maximum", "gelu", "floor-divide", "cast"],
)
def test_constants_are_computed_here(known, tmp_path):
    got, wanted = as_asset(lambda x: x + known(), tmp_path, x=ZERO)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def test_no_rule_computes_with_constants_alone(tmp_path):
    from converters.targets.coreai.writer import Writer

    program = beta.Program()
    with program.open(), program.function("main", {"x": ("float32", [2])}) as function:
        graph = cv.capture(lambda x: x, {"x": cv.Spec((2,))})
        writer = Writer(graph, function)
        with pytest.raises(AssertionError, match="GELU of constants alone"):
            writer.op("GELU", np.float32(1))
        same = writer.op("Equal", np.float32(1), np.float32(INF))
        assert same in writer._fixed
        function.give({"y": function.arguments["x"]})


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_weights_of_few_bits_are_packed(bits, tmp_path):
    mx.random.seed(0)
    layer = nn.QuantizedLinear.from_linear(nn.Linear(512, 256), group_size=64, bits=bits)
    x = np.random.default_rng(0).normal(size=(3, 512)).astype(np.float32)
    got, wanted = as_asset(layer, tmp_path, x=x)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
    stored = {2: 2, 4: 4}.get(bits, 8)
    scales = 2 * 256 * 8 * 4 + 256 * 8 * stored // 8
    size = (tmp_path / "model.aimodel" / "main.mlirb").stat().st_size
    assert size < 512 * 256 * stored // 8 + scales + 6000


@pytest.mark.parametrize(
    "cut",
    [lambda x: x[::-1], lambda x: x[:, ::-2], lambda x: x[3::-1, 4:1:-1], lambda x: x[-2::-3]],
    ids=["all", "every-second", "both-axes", "from-the-end"],
)
def test_slices_backwards(cut, tmp_path):
    x = np.arange(42, dtype=np.float32).reshape(6, 7)
    got, wanted = as_asset(lambda x: cut(x) + 0 * cut(x), tmp_path, x=x)
    np.testing.assert_array_equal(got, wanted)


def written(x, where):
    x[where] = mx.arange(6.0)[:, None]
    return x


@pytest.mark.parametrize("step", [-1, -2])
def test_slices_are_written_backwards(step, tmp_path):
    x = np.zeros((6 * -step, 2), np.float32)
    got, wanted = as_asset(lambda x: written(x + 1, slice(None, None, step)), tmp_path, x=x)
    np.testing.assert_array_equal(got, wanted)


def test_no_part_of_a_split_is_empty(tmp_path):
    """On Linux it may be; Apple's graph compiler on devices ends there."""

    def fn(x):
        return mx.split(x + 1, [2, 2], axis=1)

    x = np.ones((3, 6), np.float32)
    path = cv.convert(cv.capture(fn, {"x": cv.Spec((3, 6))}), tmp_path / "model.aimodel")
    assert "split" not in cv.inspect(path)["functions"]["main"]["operations"]
    for got, wanted in zip(cv.load(path)(x=x).values(), fn(mx.array(x)), strict=True):
        np.testing.assert_array_equal(got, np.array(wanted))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x[2:2].reshape(0, 6, 1),
        lambda x: mx.concatenate([x[:, 3:3], x], axis=1),
        lambda x: mx.sum(x[:, 5:5], axis=1),
        lambda x: x[:, 1:1] @ x[2:2],
    ],
    ids=["reshape", "join", "sum", "product"],
)
def test_arrays_without_elements(fn, tmp_path):
    got, wanted = as_asset(lambda x: fn(x + 1), tmp_path, x=np.ones((3, 6), np.float32)[:, :6])
    np.testing.assert_array_equal(got, wanted)


def test_input_without_elements(tmp_path):
    got, wanted = as_asset(
        lambda x: mx.sum(mx.tanh(x).reshape(3, 0), axis=1) + 1, tmp_path, x=np.zeros((0, 3), np.float32)
    )
    np.testing.assert_array_equal(got, wanted)


MOST, LEAST = 2**31 - 1, -(2**31)


@pytest.mark.parametrize(
    ("fn", "wanted"),
    [
        (lambda x, y: x // y, [0, LEAST, -4]),
        (lambda x, y: x % y, [0, 0, 1]),
        (lambda x, y: x**3, [27, 0, -343 & 0xFFFFFFFF]),
        (lambda x, y: mx.cumsum(x * 0 + MOST), [MOST, -2, 2**31 - 3]),
        (lambda x, y: x << y, [3, 0, -28]),
        (lambda x, y: x // mx.array([0, -1, 2]), [0, LEAST, -4]),
        (lambda x, y: x % mx.array([0, -1, 2]), [0, 0, 1]),
        (lambda x, y: x ** mx.array([-1, 0, -2]), [1, 1, 1]),
    ],
    ids=[
        *("quotient", "remainder", "power", "running-sum", "shift"),
        *("quotient-by-constants", "remainder-of-constants", "power-of-none"),
    ],
)
def test_integers_wrap_around_and_divide_by_zero(fn, wanted, tmp_path):
    """What ends the process, or goes through floating point, where the runtime's own operation is taken."""
    x, y = np.array([3, LEAST, -7], np.int32), np.array([0, -1, 2], np.int32)
    graph = cv.capture(fn, {"x": cv.Spec((3,), "int32"), "y": cv.Spec((3,), "int32")})
    got = cv.load(cv.convert(graph, tmp_path / "model.aimodel"))(x=x, y=y)["output"]
    np.testing.assert_array_equal(got, np.array(wanted, np.int64).astype(np.int32))


def test_reshape_of_computed_sizes_stays_where_it_is(tmp_path):
    """Core AI's optimiser moves a reshape to (1, n) behind the remainder of what it is multiplied with."""

    def fn(x):
        places = mx.arange(x.shape[0])
        return x.sum() + (places[:, None] * places[None]) % x.shape[0]

    graph = cv.capture(fn, {"x": cv.Spec(("n", 2))})
    model = cv.load(cv.convert(graph, tmp_path / "model.aimodel"))
    x = np.zeros((5, 2), np.float32)
    np.testing.assert_array_equal(model(x=x)["output"], np.outer(np.arange(5), np.arange(5)) % 5)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def __call__(self, x):
        return self.layer(x)


def test_functions_share_weights_and_keep_their_names(tmp_path):
    model = Two()
    graphs = {
        "first": cv.capture(model, {"a b/0": cv.Spec(("n", 64))}, ["ünï", "two"][:1]),
        "second": cv.capture(
            lambda x: (mx.tanh(model(x)), x), {"x": cv.Spec((2, 64))}, ["b", "a"], module=model
        ),
    }
    path = cv.convert(graphs, tmp_path / "model.aimodel", metadata={"author": "A", "licence": "MIT"})
    loaded, x = cv.load(path), np.ones((2, 64), np.float32)
    y = np.array(model(mx.array(x)))
    np.testing.assert_allclose(loaded["first"](**{"a b/0": x})["ünï"], y, atol=1e-5)
    both = loaded["second"](x=x)
    np.testing.assert_allclose(both["b"], np.tanh(y), atol=1e-5)
    np.testing.assert_array_equal(both["a"], x)
    assert (path / "main.mlirb").stat().st_size < 1.5 * 64 * 64 * 4
    stored = json.loads((path / "metadata.json").read_text())
    assert (stored["author"], stored["license"]) == ("A", "MIT")
    shown = cv.inspect(path)
    assert set(shown["functions"]) == {"first", "second"}
    assert shown["format"].startswith("Core AI")


def path_of(fn, tmp_path):
    return cv.convert(cv.capture(fn, {"x": cv.Spec((2,))}), tmp_path / "model.aimodel")


def test_another_process_takes_over_where_one_died(tmp_path):
    model = cv.load(path_of(lambda x: x + 1, tmp_path))
    os.kill(worker.current().process.pid, signal.SIGKILL)
    worker.current().process.wait()
    np.testing.assert_array_equal(model(x=np.zeros(2, np.float32))["output"], [1, 1])


def test_death_while_computing_names_model_and_inputs(tmp_path, monkeypatch):
    model = cv.load(path_of(lambda x: x + 1, tmp_path))

    def killed(pipe, message, groups):
        os.kill(worker.current().process.pid, signal.SIGKILL)
        return send(pipe, message, groups)

    send = worker.send
    monkeypatch.setattr(worker, "send", killed)
    with pytest.raises(cv.ConversionError, match=r"model\.aimodel: .*SIGKILL.*main was fed x float32 \(2,\)"):
        model(x=np.zeros(2, np.float32))


def test_process_is_replaced_after_many_assets(tmp_path, monkeypatch):
    model = cv.load(path_of(lambda x: x + 1, tmp_path))
    first = worker.current().process.pid
    monkeypatch.setattr(worker, "OPENED_MAX", 1)
    np.testing.assert_array_equal(model(x=np.zeros(2, np.float32))["output"], [1, 1])
    assert worker.current().process.pid != first


@pytest.mark.parametrize("harm", ["truncated", "empty", "gone", "no metadata", "foreign"])
def test_damaged_asset_is_one_clear_error(harm, tmp_path):
    path = path_of(lambda x: mx.sin(x) + 1, tmp_path)
    program = path / "main.mlirb"
    if harm == "truncated":
        program.write_bytes(program.read_bytes()[:-100])
    elif harm == "empty":
        program.write_bytes(b"")
    elif harm == "gone":
        program.unlink()
    elif harm == "no metadata":
        (path / "metadata.json").unlink()
    else:
        (path / "metadata.json").write_text("{}")
    with pytest.raises(cv.LoadError, match=r"model\.aimodel"):
        cv.load(path)


def test_asset_that_was_replaced_is_not_mixed_up(tmp_path):
    model = cv.load(path_of(lambda x: x + 1, tmp_path))
    path_of(lambda x: x * x * 3, tmp_path)
    worker.close()
    with pytest.raises(cv.ConversionError, match="changed after it was loaded"):
        model(x=np.zeros(2, np.float32))


WITHOUT = """
import sys
sys.modules["coreai"] = None
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "coreai" else found(name, *rest)
import converters as cv
assert cv.supported_ops()["Add"]["coreai"] == "native"
try:
    cv.convert(lambda x: x + 1, "model.aimodel", inputs={"x": cv.Spec((2,))})
except cv.ConversionError as error:
    print(error)
"""


def test_missing_package_is_one_line_with_the_command(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, cwd=tmp_path)
    assert "pip install 'edgevision[coreai]'" in done.stdout, done.stderr
    assert not (tmp_path / "model.aimodel").exists()


def test_other_version_is_refused(monkeypatch):
    monkeypatch.setattr(beta, "VERSION", "1.0.0b9")
    with pytest.raises(cv.ConversionError, match=r"needs coreai-core 1.0.0b9, found 1.0.0b3"):
        beta.require()


def counting(x, held):
    return mx.sum(x * held), mx.concatenate([held[1:], x])


def test_state_of_fixed_size_is_changed_in_place(tmp_path):
    specs = {"x": cv.Spec((1,)), "held": cv.Spec((4,))}
    graph = cv.capture(counting, specs, ["y", "next"], states={"held": "next"})
    path = cv.convert({"first": graph, "later": graph}, tmp_path / "model.aimodel")
    calls = [{"x": np.full(1, number, np.float32)} for number in (1, 2, 3)]
    assert cv.compare(counting, path, calls, function="later").ok
    model = cv.load(path)
    state = model.new_state("first")
    assert set(model["first"](state=state, x=np.ones(1, np.float32))) == {"y"}
    assert model["later"](state=state, x=np.full(1, 5, np.float32))["y"] == 5
    np.testing.assert_array_equal(state["held"], [0, 0, 1, 5])
    both = model["later"](x=np.ones(1, np.float32), held=np.ones(4, np.float32))
    np.testing.assert_array_equal(both["next"], np.ones(4))
    assert model["later"](x=np.ones(1, np.float32), held=np.ones(4, np.float32))["y"] == 4


def growing(x, past):
    return (everything := mx.concatenate([past, x], axis=0)).sum(axis=0), everything


def test_state_that_grows_goes_in_and_out(tmp_path):
    specs = {"x": cv.Spec(("length", 2)), "past": cv.Spec(("past", 2))}
    graph = cv.capture(growing, specs, ["y", "next"], dims={"past": cv.Dim(0)}, states={"past": "next"})
    path = cv.convert(graph, tmp_path / "model.aimodel")
    calls = [{"x": np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32)} for n in (5, 1, 3)]
    assert cv.load(path).new_state()["past"].shape == (0, 2)  # which joining and summing take
    assert cv.compare(growing, path, calls).ok


def test_sizes_at_which_something_would_be_empty_are_refused_by_name(tmp_path):
    """Broadcasting with an array without elements ends the process."""
    graph = cv.capture(lambda x: mx.sum(x[1:] + 1, axis=0), {"x": cv.Spec(("n", 2))})
    model = cv.load(cv.convert(graph, tmp_path / "model.aimodel"))
    np.testing.assert_array_equal(model(x=np.ones((2, 2), np.float32))["output"], [2, 2])
    with pytest.raises(cv.ShapeError, match="n is 1, must be at least 2"):
        model(x=np.ones((1, 2), np.float32))


def test_constants_are_told_apart_where_memory_is_used_again():
    from converters.targets.coreai.writer import Writer

    program = beta.Program()
    with program.open(), program.function("main", {"x": ("float32", [2])}) as function:
        writer = Writer(cv.capture(lambda x: x, {"x": cv.Spec((2,))}), function)
        handles = {writer.constant(np.full(100, number, np.float32)) for number in range(20)}
        function.give({"y": function.arguments["x"]})
    assert len(handles) == 20


def test_scattered_sums_wrap_around(tmp_path):
    places = np.array([0, 0, 1], np.int32)
    for dtype, number in (("int32", MOST), ("int64", 2**63 - 5), ("uint8", 200), ("uint64", 2**64 - 3)):
        x, updates = np.array([number, 1], dtype), np.array([number, 2, 3], dtype)
        specs = {"x": cv.Spec((2,), dtype), "u": cv.Spec((3,), dtype), "i": cv.Spec((3,), "int32")}
        graph = cv.capture(lambda x, u, i: x.at[i].add(u), specs)
        got = cv.load(cv.convert(graph, tmp_path / f"{dtype}.aimodel"))(x=x, u=updates, i=places)["output"]
        wanted = x.copy()
        np.add.at(wanted, places, updates)
        np.testing.assert_array_equal(got, wanted)


def test_scattered_products_of_integers_are_refused(tmp_path):
    """One that passes the limits of its type ends the process."""
    specs = {"x": cv.Spec((2,), "int32"), "u": cv.Spec((3,), "int32"), "i": cv.Spec((3,), "int32")}
    graph = cv.capture(lambda x, u, i: x.at[i].multiply(u), specs)
    with pytest.raises(cv.UnsupportedOp, match=r"ScatterAxis \(products of integers"):
        cv.convert(graph, tmp_path / "model.aimodel")


def test_reshaped_array_of_known_sizes_meets_one_of_computed_sizes(tmp_path):
    """Core AI's optimiser moves the reshape of y behind the comparison, with the sizes of y."""

    def fn(x, y):
        return mx.sum((y.reshape(1, 1, 1) < mx.sort(x)).astype(mx.int32), axis=2)

    graph = cv.capture(fn, {"x": cv.Spec(("n",)), "y": cv.Spec((1, 1))})
    model = cv.load(cv.convert(graph, tmp_path / "model.aimodel"))
    assert model(x=np.arange(6, dtype=np.float32), y=np.ones((1, 1), np.float32))["output"] == 4


def test_reshape_before_a_product_is_kept(tmp_path):
    """Core AI's optimiser drops it where the product broadcasts, and takes (2, 1, 1) for two matrices."""
    table = mx.arange(12).astype(mx.float32).reshape(4, 3, 1)
    x = np.array([[[1]], [[100]]], np.float32)
    got, wanted = as_asset(lambda x: mx.inner(table, x), tmp_path, x=x)
    np.testing.assert_array_equal(got, wanted)


def test_reshape_of_the_second_matrix_is_kept(tmp_path):
    """Dropped where a batch of matrices fits in its place: here 8 of 8 x 2 for one of 8 x 16."""
    table = mx.arange(192).astype(mx.float32).reshape(24, 8)
    x = np.random.default_rng(0).integers(0, 9, (8, 8, 2)).astype(np.float32)
    got, wanted = as_asset(lambda x: table @ (x + 1).transpose(1, 0, 2).reshape(8, 16), tmp_path, x=x)
    np.testing.assert_array_equal(got, wanted)


def test_equal_scans_are_written_once(tmp_path):
    """Where Core AI's optimiser joins two, the runtime loses what they give after its first use."""

    def fn(x):
        return mx.cummax(x, axis=0), mx.cummin(x, axis=0)

    x = np.array([2, 1, np.nan, 3], np.float32)
    graph = cv.capture(fn, {"x": cv.Spec(("n",))})
    found = cv.load(cv.convert(graph, tmp_path / "model.aimodel"))(x=x).values()
    for got, wanted in zip(found, fn(mx.array(x)), strict=True):
        np.testing.assert_array_equal(got, np.array(wanted))
