"""Every architecture of mlx-lm with its cache in and out: at sizes never captured, and beside its own cache.

A few run in `make test`, all in `make test-all`. What cannot be converted is in a table with the reason.
"""

from typing import Any

import mlx.core as mx
import numpy as np
import onnx
import pytest

import converters as cv
from converters.sizes import substitute
from edgevision.decoder import StatelessDecoder
from edgevision.errors import UserError

pytest.importorskip("mlx_lm", reason="mlx-lm is a development dependency")

from mlx_lm.models.cache import make_prompt_cache
from mlx_lm_configs import architectures, build
from mlx_lm_variants import VARIANTS

QUICK = {
    "deepseek_v3", "falcon_h1", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_oss", "jamba", "lfm2", "llama",
    "mixtral", "phi3", "qwen2", "qwen3", "qwen3_5", "yarn positions", "groups of experts",
}  # fmt: skip
# A loop over the tokens, or chunks of them: one token a step.
STEPS = {
    "bailing_moe_linear", "bailing_moe_v3", "jamba", "kimi_k3", "kimi_linear", "mamba",
    "olmo_hybrid", "prism_hadamard_qwen35", "qwen3_5", "qwen3_5_moe", "qwen3_next", "recurrent_gemma",
    "rwkv7",
}  # fmt: skip
REFUSED: dict[str, tuple[type[Exception], str]] = {
    "dbrx": (cv.CaptureError, "needs an array's value"),  # chooses experts by .tolist()
    "deepseek_v41": (UserError, "LayerCache, which cannot be passed as arrays"),  # closes groups of tokens
}
OPTIONS: dict[str, dict[str, Any]] = {
    "prism_hadamard_qwen35": {"runtime": "onnxruntime"}
}  # weights of 2 bits
# One token more than the model's mask asks for falls out of mlx-lm's cache, which is as long as the window.
OWN_CACHE_DIFFERS = {"plamo3"}
GREEDY = ["gemma3_text", "gpt2", "llama", "mixtral", "phi3", "qwen3"]
SIZES = [(2, 5, 3), (1, 7, 0), (1, 1, 9), (3, 20, 31), (1, 1, 0)]  # batch, length, past


def rows(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def export(name: str, folder: Any) -> tuple[Any, StatelessDecoder, Any]:
    """The model, its function, and the path of its file."""
    architecture, changes = VARIANTS.get(name, (name, {}))
    model = build(architecture, **changes)
    decoder = StatelessDecoder(model, 1 if name in STEPS else "length")
    graph = cv.capture(
        decoder, decoder.inputs, decoder.outputs, dims=decoder.dims, states=decoder.states, module=model
    )
    assert all(dim.low <= 1 and dim.high is None for dim in graph.dims.values())
    return model, decoder, cv.convert(graph, folder / "model.onnx", **OPTIONS.get(name, {}))


def draw(decoder: StatelessDecoder, sizes: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Random ids and states."""
    random = np.random.default_rng(0)
    named: dict[str, int] = dict(zip(("batch", "length", "past"), sizes, strict=True))
    arrays = {}
    for name, spec in decoder.inputs.items():
        shape = substitute(spec.shape, named)
        integers = "int" in spec.dtype
        array = random.integers(0, 100, shape) if integers else random.normal(size=shape) / 2
        arrays[name] = array.astype(spec.dtype)
    return arrays


def assert_close(got: np.ndarray, expected: mx.array, name: str) -> None:
    """Within 1e-5 of the largest number."""
    wanted = np.array(expected.astype(mx.float32))
    largest = np.abs(wanted).max(initial=0)
    np.testing.assert_allclose(got.astype(np.float32), wanted, rtol=0, atol=1e-5 * largest, err_msg=name)


@pytest.mark.parametrize("name", rows([n for n in [*architectures(), *VARIANTS] if n not in REFUSED]))
def test_an_architecture_equals_mlx(name, tmp_path):
    model, decoder, path = export(name, tmp_path)
    session = cv.load(path)
    for sizes in SIZES:
        inputs = draw(decoder, sizes)
        expected = decoder(*map(mx.array, inputs.values()))
        for (output, array), wanted in zip(session(**inputs).items(), expected, strict=True):
            assert_close(array, wanted, f"{output} at {sizes}")
    if name not in OWN_CACHE_DIFFERS:
        ids = np.random.default_rng(1).integers(0, 100, (1, 30)).astype(np.int32)
        own, state = make_prompt_cache(model), session.new_state(batch=1)
        for position in range(ids.shape[1]):
            token = ids[:, position : position + 1]
            logits = session(state=state, input_ids=token)["logits"]
            assert_close(logits, model(mx.array(token), cache=own), f"token {position}")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_explained(name, tmp_path):
    kind, reason = REFUSED[name]
    with pytest.raises(kind, match=reason):
        export(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_loop_over_the_tokens_is_refused(name):
    model = build(name)
    decoder = StatelessDecoder(model)
    with pytest.raises(cv.CaptureError, match=r"loops over length|computes something else"):
        cv.capture(decoder, decoder.inputs, decoder.outputs, dims=decoder.dims, module=model)


@pytest.mark.parametrize("name", GREEDY)
def test_64_tokens_equal_mlx(name, tmp_path):
    model, _, path = export(name, tmp_path)
    artefact = cv.load(path)
    state, own = artefact.new_state(batch=1), make_prompt_cache(model)
    ids = expected_ids = np.array([[5, 17, 42, 8]], np.int32)
    tokens, expected = [], []
    for _ in range(64):
        tokens.append(int(artefact(state=state, input_ids=ids)["logits"][0, -1].argmax()))
        ids = np.array([tokens[-1:]], np.int32)
        expected.append(int(np.array(model(mx.array(expected_ids), cache=own)[0, -1]).argmax()))
        expected_ids = np.array([expected[-1:]], np.int32)
    assert tokens == expected


def test_parameters_keep_their_names(tmp_path):
    _, _, path = export("llama", tmp_path)
    names = {tensor.name for tensor in onnx.load(str(path)).graph.initializer}
    assert "model.embed_tokens.weight" in names
