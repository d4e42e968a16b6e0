"""Core ML packages as a whole: states, several functions, flexible sizes, precision, systems, figures."""

from collections import Counter
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from coreml_programs import tools, verify

import converters as cv

CONTEXT = 64
SHAPE = (2, 1, 2, CONTEXT, 8)
CACHE = cv.Spec(SHAPE)


class Decoder(nn.Module):
    """Two layers with grouped queries; keys and values of all tokens lie in two arrays of a fixed size."""

    def __init__(self, vocabulary: int = 50, width: int = 32):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.qkv = [nn.Linear(width, width + 32) for _ in range(2)]
        self.out = [nn.Linear(width, width) for _ in range(2)]
        self.norms = [nn.RMSNorm(width) for _ in range(3)]
        self.rope = nn.RoPE(8)

    def __call__(self, ids: mx.array, position: mx.array, keys: mx.array, values: mx.array):
        batch, length = ids.shape
        x = self.tokens(ids)
        seen = mx.arange(CONTEXT)[None] <= position + mx.arange(length)[:, None]
        for i in range(2):
            q, k, v = (
                part.reshape(batch, length, -1, 8).transpose(0, 2, 1, 3)
                for part in mx.split(self.qkv[i](self.norms[i](x)), (32, 48), axis=-1)
            )
            q, k = self.rope(q, offset=position), self.rope(k, offset=position)
            place = mx.concatenate([mx.array([i]), position.reshape(1)])
            keys, values = (mx.slice_update(a, b[None], place, (0, 3)) for a, b in ((keys, k), (values, v)))
            y = mx.fast.scaled_dot_product_attention(q, keys[i], values[i], scale=8**-0.5, mask=seen)
            x = x + self.out[i](y.transpose(0, 2, 1, 3).reshape(batch, length, -1))
        return self.tokens.as_linear(self.norms[2](x)), keys, values


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    mx.random.seed(0)
    model = Decoder()
    mx.eval(model.parameters())
    model.eval()
    return model


def captured(model: nn.Module, length: int | str):
    return cv.capture(
        model,
        {
            "ids": cv.Spec((1, length), "int32"),
            "position": cv.Spec((), "int32"),
            "keys": CACHE,
            "values": CACHE,
        },
        ["logits", "keys_after", "values_after"],
        states={"keys": "keys_after", "values": "values_after"},
        dims={"length": (1, CONTEXT)} if isinstance(length, str) else None,
    )


def greedy(step, first: list[int], count: int) -> list[int]:
    """`count` tokens after `first`; `step` gives the logits of tokens at a position."""
    tokens, position, found = first, 0, []
    for _ in range(count):
        logits = step(np.array([tokens], np.int32), position)
        position += len(tokens)
        tokens = [int(logits[0, -1].argmax())]
        found += tokens
    return found


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_decoder_with_prefill_and_step_writes_as_mlx_does(decoder, precision, tmp_path):
    path = tmp_path / "decoder.mlpackage"
    functions = {"prefill": captured(decoder, "length"), "step": captured(decoder, 1)}
    cv.convert(functions, path, precision=precision)
    verify(path)
    model = cv.load(path)
    assert model.functions == ("prefill", "step")
    held = model.new_state("step")
    kinds = cv.inspect(path)["functions"]["step"]["states"]
    assert kinds == dict.fromkeys(("keys", "values"), "float16 (2, 1, 2, 64, 8)")

    def package(tokens, position):
        function = model["step" if tokens.shape[1] == 1 else "prefill"]
        return function(state=held, ids=tokens, position=np.int32(position))["logits"]

    kept = [mx.zeros(SHAPE, mx.float16)] * 2

    def in_mlx(tokens, position):
        cache = [array.astype(mx.float32) for array in kept]
        logits, *after = decoder(mx.array(tokens), mx.array(position), *cache)
        kept[:] = [array.astype(mx.float16) for array in after]
        return np.array(logits)

    assert greedy(package, [3, 4, 5, 6], 50) == greedy(in_mlx, [3, 4, 5, 6], 50)


def test_functions_share_their_weights(decoder, tmp_path):
    one = cv.convert(captured(decoder, 1), tmp_path / "one.mlpackage")
    functions = {"prefill": captured(decoder, "length"), "step": captured(decoder, 1)}
    both = cv.convert(functions, tmp_path / "both.mlpackage")
    sizes = [cv.inspect(path)["weight_bytes"] for path in (one, both)]
    assert sizes[1] < 1.05 * sizes[0]


def test_calls_in_a_row_are_compared_with_their_state(decoder, tmp_path):
    path = cv.convert(captured(decoder, 1), tmp_path / "m.mlpackage", precision="float32")
    calls = [{"ids": np.array([[i]], np.int32), "position": np.int32(i)} for i in range(6)]
    report = cv.compare(decoder, path, calls)
    assert report.ok, str(report)
    assert report.max_rel < 1e-5


def test_a_state_is_updated_in_place(decoder, tmp_path):
    path = cv.convert(captured(decoder, 1), tmp_path / "m.mlpackage")
    found = cv.inspect(path)["functions"]["main"]
    assert set(found["states"]) == {"keys", "values"}
    assert set(found["outputs"]) == {"logits"}
    assert (found["operations"]["read_state"], found["operations"]["write_state"]) == (2, 2)
    assert found["operations"]["slice_update"] == 4
    with pytest.raises(cv.ShapeError, match="new_state"):
        cv.load(path)(ids=np.array([[1]], np.int32), position=np.int32(0))


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (cv.Spec(("past", 4)), {}, "its size is fixed"),
        (cv.Spec((3, 4)), {"minimum_ios": 17}, "states came with iOS 18"),
    ],
)
def test_states_that_core_ml_cannot_keep(spec, options, message, tmp_path):
    graph = cv.capture(
        lambda x, total: (x.sum(), total + x),
        {"x": spec, "total": spec},
        ["y", "after"],
        states={"total": "after"},
    )
    with pytest.raises(cv.ConversionError, match=message):
        cv.convert(graph, tmp_path / "m.mlpackage", **options)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint8", "bool"])
def test_states_of_whole_numbers_are_kept_exactly(dtype, tmp_path):
    """Core ML's states are float16, which ends at 65504 and holds whole numbers up to 2048."""
    values = [0, 1, 2047, 2048, 2049, 65505, 2**22 - 1, 2**31 - 1, 7, 123456789]
    signed = dtype in ("int32", "int64")
    numbers = np.array([-v for v in values] if signed else values, np.int64).astype(dtype)

    def step(x, kept, older):
        return kept, older, x, kept

    graph = cv.capture(
        step,
        {name: cv.Spec((10,), dtype) for name in ("x", "kept", "older")},
        ["a", "b", "kept_after", "older_after"],
        states={"kept": "kept_after", "older": "older_after"},
    )
    path = cv.convert(graph, tmp_path / "m.mlpackage")
    verify(path)
    model = cv.load(path)
    state = model.new_state()
    kinds = cv.inspect(path)["functions"]["main"]["states"].values()
    assert all(kind.startswith("float16") for kind in kinds)
    for wanted_a, wanted_b in (numbers * 0, numbers * 0), (numbers, numbers * 0), (numbers, numbers):
        found = model(state=state, x=numbers)
        np.testing.assert_array_equal(found["a"], wanted_a)
        np.testing.assert_array_equal(found["b"], wanted_b)
    assert cv.compare(step, path, [{"x": numbers}] * 3).ok


def test_several_functions_need_ios_18(decoder, tmp_path):
    functions = {"a": captured(decoder, 1), "b": captured(decoder, 2)}
    with pytest.raises(cv.ConversionError, match="iOS 18"):
        cv.convert(functions, tmp_path / "m.mlpackage", minimum_ios=17)


def layer() -> nn.Module:
    model = nn.TransformerEncoder(1, 32, 4)
    mx.eval(model.parameters())
    return model.eval()


def test_free_sizes_have_bounds(tmp_path):
    model = layer()
    graph = cv.capture(
        lambda x: model(x, None),
        {"x": cv.Spec(("batch", "n", 32))},
        dims={"n": (1, 40), "batch": (1, 3)},
        module=model,
    )
    package = cv.load(cv.convert(graph, tmp_path / "m.mlpackage", precision="float32"))
    verify(tmp_path / "m.mlpackage")
    for shape in ((1, 1, 32), (3, 17, 32), (2, 40, 32)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        assert cv.compare(lambda x: model(x, None), package, {"x": x}).ok
    with pytest.raises(cv.ShapeError, match="n "):
        package(x=np.zeros((1, 41, 32), np.float32))


def test_enumerated_sizes(tmp_path):
    graph = cv.capture(
        lambda x: mx.softmax(x, -1), {"x": cv.Spec((1, "n"))}, dims={"n": cv.Dim(sizes=[8, 16, 64])}
    )
    package = cv.load(cv.convert(graph, tmp_path / "m.mlpackage"))
    assert shapes_of(tmp_path / "m.mlpackage") == [[(1, 8), (1, 16), (1, 64)]]
    for size in (8, 16, 64):
        assert package(x=np.zeros((1, size), np.float32))["output"].shape == (1, size)
    with pytest.raises(cv.ShapeError):
        package(x=np.zeros((1, 9), np.float32))


def shapes_of(path: Path) -> list[list[tuple[int, ...]]]:
    """The listed shapes of each input, as coremltools reads them."""
    inputs = tools().utils.load_spec(str(path)).description.input
    return [[tuple(s.shape) for s in i.type.multiArrayType.enumeratedShapes.shapes] for i in inputs]


def test_enumerated_sizes_of_several_inputs_belong_together(tmp_path):
    """From iOS 18 on Core ML takes lists for several inputs, of one length; before, they are ranges."""
    graph = cv.capture(
        lambda x, y, z: (x @ y) * z,
        {"x": cv.Spec((1, "n")), "y": cv.Spec(("n", "m")), "z": cv.Spec(("m",))},
        dims={"n": cv.Dim(sizes=[4, 8]), "m": cv.Dim(sizes=[3, 5])},
    )
    path = cv.convert(graph, tmp_path / "m.mlpackage", precision="float32")
    verify(path)
    pairs = [(4, 3), (8, 3), (4, 5), (8, 5)]
    assert shapes_of(path) == [[(1, n) for n, _ in pairs], pairs, [(m,) for _, m in pairs]]
    random = np.random.default_rng(0)
    for n, m in pairs:
        shapes = {"x": (1, n), "y": (n, m), "z": (m,)}
        feed = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        assert cv.compare(lambda x, y, z: (x @ y) * z, path, feed).ok
    older = cv.convert(graph, tmp_path / "older.mlpackage", minimum_ios=17)
    verify(older)
    assert shapes_of(older) == [[], [], []]
    ranges = (
        tools().utils.load_spec(str(older)).description.input[0].type.multiArrayType.shapeRange.sizeRanges
    )
    assert [(r.lowerBound, r.upperBound) for r in ranges] == [(1, 1), (4, 8)]


def test_inputs_and_outputs_are_described(tmp_path):
    graph = cv.capture(lambda x: mx.softmax(x, -1), {"scores.0": cv.Spec((1, 4))}, ["shares"])
    texts = {"scores.0": "One number per class.", "shares": "They add up to 1."}
    about = {"author": "Ada", "licence": "MIT", "version": "1.2", "descriptions": texts}
    path = cv.convert(graph, tmp_path / "m.mlpackage", metadata=about)
    spec = tools().utils.load_spec(str(path)).description
    assert {f.name: f.shortDescription for f in (*spec.input, *spec.output)} == {
        "scores_0": "One number per class.",
        "shares": "They add up to 1.",
    }
    assert (spec.metadata.author, spec.metadata.license, spec.metadata.versionString) == ("Ada", "MIT", "1.2")
    assert cv.load(path).metadata["descriptions"] == texts
    with pytest.raises(cv.ConversionError, match="there is no other to describe"):
        cv.convert(graph, path, metadata={"descriptions": {"other": "?"}})


def test_scalars_have_an_axis_in_the_package_only(tmp_path):
    path = cv.convert(
        lambda x, n: x.sum() * n, tmp_path / "m.mlpackage", inputs={"x": cv.Spec((3,)), "n": cv.Spec(())}
    )
    verify(path)
    assert cv.load(path)(x=np.ones(3, np.float32), n=np.float32(2))["output"] == np.float32(6)
    assert cv.inspect(path)["functions"]["main"]["inputs"]["n"].endswith("(1)")


@pytest.mark.parametrize("ios", [15, 16, 17, 18])
def test_older_systems_get_what_they_have(decoder, ios, tmp_path):
    model = layer()
    graph = cv.capture(lambda x: model(x, None), {"x": cv.Spec((2, 9, 32))}, module=model)
    path = cv.convert(graph, tmp_path / "m.mlpackage", minimum_ios=ios, precision="float32")
    verify(path)
    ops = cv.inspect(path)["functions"]["main"]["operations"]
    assert ("scaled_dot_product_attention" in ops) == (ios == 18)
    x = np.random.default_rng(0).normal(size=(2, 9, 32)).astype(np.float32)
    assert cv.compare(lambda x: model(x, None), path, {"x": x}).max_rel < 1e-5


def test_float16_keeps_float32_where_squares_would_overflow(tmp_path):
    norm = nn.RMSNorm(64)
    path = cv.convert(norm, tmp_path / "m.mlpackage", inputs={"x": cv.Spec((2, 64))})
    x = (500 * np.random.default_rng(0).normal(size=(2, 64))).astype(np.float32)
    assert cv.compare(norm, path, {"x": x}).max_rel < 2e-3


def operations(path: Path) -> Counter:
    return Counter(cv.inspect(path)["functions"]["main"]["operations"])


def test_figures_of_the_benchmark(tmp_path):
    from edgevision.benchmark import networks

    vit, gpt = networks.ViT(), networks.GPT()
    for model, spec, most in ((vit, cv.Spec((1, 224, 224, 3)), 195), (gpt, cv.Spec((1, 128), "int32"), 110)):
        mx.eval(model.parameters())
        model.eval()
        path = cv.convert(model, tmp_path / "m.mlpackage", inputs={"x": spec}, overwrite=True)
        found = operations(path)
        assert found.total() <= most
        assert found["cast"] <= 2  # at the edges
        weights = cv.inspect(path)["weight_bytes"]
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        assert size < 1.02 * weights


def test_queries_that_share_keys_do_not_copy_them(tmp_path):
    def attend(q, k, v):
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=0.5, mask="causal")

    shapes = {"q": (1, 8, 5, 16), "k": (1, 2, 5, 16), "v": (1, 2, 5, 16)}
    specs = {name: cv.Spec(shape) for name, shape in shapes.items()}
    path = cv.convert(attend, tmp_path / "m.mlpackage", inputs=specs, precision="float32")
    verify(path)
    found = operations(path)
    assert found["scaled_dot_product_attention"] == 1
    assert found["tile"] == 0
    random = np.random.default_rng(0)
    feed = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    assert cv.compare(attend, path, feed).max_rel < 1e-5
