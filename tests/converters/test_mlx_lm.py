"""Language models of mlx-lm with a cache in and out: any batch, length and past; 64 tokens equal MLX's."""

import mlx.core as mx
import numpy as np
import onnx
import pytest

import converters as cv

pytest.importorskip("mlx_lm", reason="mlx-lm is a development dependency")

from mlx_lm_models import CONFIGS, HEAD_SIZE, HEADS, MAMBA, build, decoder, mamba_step

NAMES = [f"{layer}.{part}" for layer in range(2) for part in ("key", "value")]


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def exported(request, tmp_path_factory):
    """(function, path of its ONNX file, heads of the cache) of each model."""
    name = request.param
    model, heads = build(name), HEADS.get(name, 2)
    specs = {"input_ids": cv.Spec(("batch", "length"), "int32")}
    specs |= {f"past_key_values.{n}": cv.Spec(("batch", heads, "past", HEAD_SIZE)) for n in NAMES}
    outputs = ["logits", *(f"present.{n}" for n in NAMES)]
    states = {f"past_key_values.{n}": f"present.{n}" for n in NAMES}
    run = decoder(model)
    graph = cv.capture(run, specs, outputs, dims={"past": (0, 100)}, states=states, module=model)
    assert (graph.dims["batch"].low, graph.dims["length"].low) == (1, 1)
    return run, cv.convert(graph, tmp_path_factory.mktemp(name) / "model.onnx"), heads


@pytest.mark.parametrize(
    ("batch", "length", "past"), [(2, 5, 3), (1, 7, 0), (1, 1, 9), (3, 20, 30), (1, 1, 0)]
)
def test_sizes_that_were_never_captured_equal_mlx(exported, batch, length, past):
    run, path, heads = exported
    random = np.random.default_rng(0)
    inputs = {"input_ids": random.integers(0, 100, (batch, length)).astype(np.int32)}
    for name in NAMES:
        inputs[f"past_key_values.{name}"] = random.normal(size=(batch, heads, past, HEAD_SIZE)).astype("f4")
    session = cv.load(path)
    got = session(**inputs)
    expected = [np.array(array) for array in run(*map(mx.array, inputs.values()))]
    for name, array in zip(got, expected, strict=True):
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-4 * np.abs(array).max())


def test_64_tokens_equal_mlx(exported):
    run, path, heads = exported
    model = cv.load(path)
    prompt = np.array([[5, 17, 42, 8]], np.int32)
    state, cache = model.new_state(batch=1), [mx.zeros((1, heads, 0, HEAD_SIZE))] * len(NAMES)
    ids = expected_ids = prompt
    tokens, expected = [], []
    for _ in range(64):
        logits = model(state=state, input_ids=ids)["logits"]
        tokens.append(int(logits[0, -1].argmax()))
        ids = np.array([tokens[-1:]], np.int32)
        answer, *cache = run(mx.array(expected_ids), *cache)
        expected.append(int(np.array(answer[0, -1]).argmax()))
        expected_ids = np.array([expected[-1:]], np.int32)
    assert tokens == expected


def test_parameters_keep_their_names(exported):
    _, path, _ = exported
    names = {tensor.name for tensor in onnx.load(str(path)).graph.initializer}
    assert any("embed_tokens.weight" in name or "wte.weight" in name for name in names)


def test_a_step_of_mamba_equals_mlx(tmp_path):
    config = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 50, **MAMBA}
    model = build("mamba", config)
    run = mamba_step(model)
    specs = {"input_ids": cv.Spec(("batch", 1), "int32")}
    for layer in range(2):
        specs[f"convolution.{layer}"] = cv.Spec(("batch", 3, 64))
        specs[f"recurrent.{layer}"] = cv.Spec(("batch", 64, 8))
    path = cv.convert(cv.capture(run, specs, module=model), tmp_path / "mamba.onnx")
    random = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {"input_ids": random.integers(0, 50, (3, 1)).astype(np.int32)}
    for layer in range(2):
        inputs[f"convolution.{layer}"] = random.normal(size=(3, 3, 64)).astype(np.float32)
        inputs[f"recurrent.{layer}"] = random.normal(size=(3, 64, 8)).astype(np.float32)
    report = cv.compare(run, path, inputs)
    assert report.ok, str(report)
