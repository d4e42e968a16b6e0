"""mlx-lm's models as Core ML packages with a cache that the package keeps: 128 tokens as MLX gives them with
its cache rounded to float16."""

import mlx.core as mx
import numpy as np
import pytest

import converters as cv
from edgevision.errors import UserError
from edgevision.stateful import StatefulDecoder

pytest.importorskip("mlx_lm", reason="mlx-lm is a development dependency")

from coreml_programs import verify
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm_configs import architectures, build
from test_mlx_lm import OWN_CACHE_DIFFERS, REFUSED

CONTEXT, TOKENS = 160, 128
MARGIN = 1e-4  # of the largest logit: two tokens nearer than this may change places


class InMLX:
    """The model itself, its cache rounded to float16 after every call."""

    def __init__(self, decoder: StatefulDecoder):
        self.decoder, self.kept = decoder, [rounded(array) for array in decoder.empty()]

    def __call__(self, tokens: np.ndarray, position: int) -> np.ndarray:
        logits, *states = self.decoder(mx.array(tokens), mx.array(position), *self.kept)
        self.kept = [rounded(array) for array in states]
        return np.array(logits)


def rounded(array: mx.array) -> mx.array:
    """What a state of float16 keeps; whole numbers are kept exactly."""
    if not mx.issubdtype(array.dtype, mx.floating):
        return array
    return array.astype(mx.float16).astype(array.dtype)


@pytest.mark.parametrize("name", ["gemma3_text", "gpt2", "llama", "mamba", "mixtral", "phi3", "qwen3"])
def test_128_tokens_equal_mlx(name, tmp_path):
    decoder = StatefulDecoder(build(name), CONTEXT)
    prompt = [3, 4, 5, 6] if name != "mamba" else [3]  # a recurrent state takes one token a step
    functions = {"prefill": decoder.capture("length")} if name != "mamba" else {}
    functions["step"] = decoder.capture(1)
    model = cv.load(cv.convert(functions, tmp_path / "model.mlpackage", precision="float32"))
    step = model[model.functions[-1]]
    state, in_mlx = model.new_state(step.name), InMLX(decoder)
    tokens, position, near = prompt, 0, 0
    for _ in range(TOKENS):
        function = model["prefill"] if len(tokens) > 1 else step
        ids = np.array([tokens], np.int32)
        got = function(state=state, input_ids=ids, position=np.int32(position))["logits"][0, -1]
        wanted = in_mlx(ids, position)[0, -1]
        second, best = np.sort(wanted)[-2:]
        near += best - second <= MARGIN * np.abs(wanted).max()
        assert got.argmax() == wanted.argmax() or best - second <= MARGIN * np.abs(wanted).max()
        position += len(tokens)
        tokens = [int(wanted.argmax())]
    assert near < TOKENS / 20


QUICK = {"llama4", "gpt_bigcode", "longcat_flash_ngram", "bailing_moe_v3"}
BY_LENGTH = {"afm7"}  # its last layers take positions from the length of the keys
ALL = [name for name in sorted(architectures()) if name not in {*REFUSED, *BY_LENGTH}]
STEPS = 8
COREMLTOOLS_GAPS = ("scatter_along_axis",)  # its reader takes two unknown sizes for different ones


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ALL])
def test_steps_of_every_architecture_equal_mlx(name, tmp_path):
    """The package with its own states, MLX with them rounded, and the model with its own cache."""
    model = build(name)
    decoder = StatefulDecoder(model, 64)
    path = cv.convert(decoder.capture(1), tmp_path / "model.mlpackage", precision="float32")
    verify(path, COREMLTOOLS_GAPS)
    package, in_mlx, own = cv.load(path), InMLX(decoder), make_prompt_cache(model)
    state, exact = package.new_state(), decoder.empty()
    for position in range(STEPS):
        ids = np.array([[position * 37 % 97 + 1]], np.int32)
        wanted = in_mlx(ids, position)
        got = package(state=state, input_ids=ids, position=np.int32(position))["logits"]
        limit = 1e-4 * np.abs(wanted).max()
        assert np.abs(got - wanted).max() <= limit, position
        logits, *exact = decoder(mx.array(ids), mx.array(position), *exact)
        alone = np.array(model(mx.array(ids), cache=own))
        if name not in OWN_CACHE_DIFFERS:
            assert np.abs(np.array(logits) - alone).max() <= 1e-4 * np.abs(alone).max(), position


@pytest.mark.parametrize("name", sorted(BY_LENGTH))
def test_a_model_that_needs_a_growing_cache_is_refused(name):
    with pytest.raises(UserError, match="something else where its cache has a fixed length"):
        StatefulDecoder(build(name), 64).capture(1)
