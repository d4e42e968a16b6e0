"""mlx-lm's models as Core ML packages with a cache that the package keeps: 128 tokens as MLX gives them with
its cache rounded to float16."""

import mlx.core as mx
import numpy as np
import pytest

import converters as cv
from edgevision.stateful import StatefulDecoder

pytest.importorskip("mlx_lm", reason="mlx-lm is a development dependency")

from mlx_lm_configs import build

CONTEXT, TOKENS = 160, 128
MARGIN = 1e-4  # of the largest logit: two tokens nearer than this may change places


class InMLX:
    """The model itself, its cache rounded to float16 after every call."""

    def __init__(self, decoder: StatefulDecoder):
        self.decoder, self.kept = decoder, [array.astype(mx.float16) for array in decoder.empty()]

    def __call__(self, tokens: np.ndarray, position: int) -> np.ndarray:
        wide = [array.astype(mx.float32) for array in self.kept]
        logits, *states = self.decoder(mx.array(tokens), mx.array(position), *wide)
        self.kept = [array.astype(mx.float16) for array in states]
        return np.array(logits)


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
