"""Architectures of mlx-lm after nn.quantize: the same numbers, and no byte more than MLX's weights need.

Embeddings, tied ones too, and experts are quantised with the rest.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import pytest
from mlx.utils import tree_flatten

import converters as cv
from converters.sizes import substitute
from edgevision.decoder import StatelessDecoder

pytest.importorskip("mlx_lm", reason="mlx-lm is a development dependency")

from mlx_lm_configs import build

# Wide enough for groups of 64 in every layer.
WIDE: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 128,
    "n_embd": 128,
    "block_dim": 128,
    "intermediate_size": 256,
    "moe_intermediate_size": 128,
    "shared_expert_intermediate_size": 128,
    "shared_intermediate_size": 128,
    "head_dim": 32,
    "kv_lora_rank": 64,
    "q_lora_rank": 64,
    "v_head_dim": 32,
    "qk_nope_head_dim": 64,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}
STEPS = {"mamba", "qwen3_next"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"tie_word_embeddings": False}),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "tied with biases": ("gpt2", {}),
    "windows": ("gemma3_text", {}),
    "experts": ("mixtral", {}),
    "experts with biases": ("gpt_oss", {}),
    "shared experts": ("qwen3_moe", {"num_experts": 8}),
    "latent attention": ("deepseek_v3", {}),
    "convolutions": ("lfm2", {}),
    "states": ("mamba", {}),
    "linear attention": ("qwen3_next", {}),
}
SCHEMES = [(4, 64), (8, 64), (4, 32), (8, 32)]
ROWS = [
    pytest.param(
        model,
        scheme,
        runtime,
        marks=()
        if (model, scheme[0]) in {("tied", 4), ("experts", 4), ("latent attention", 8)}
        else pytest.mark.slow,
        id=f"{model}, {scheme[0]} bits by {scheme[1]}, {runtime or 'any'}",
    )
    for model in MODELS
    for scheme in SCHEMES
    for runtime in (None, "onnxruntime")
]


def quantized(model: str, bits: int, group: int) -> nn.Module:
    """The model with everything quantised that the group divides."""
    name, changes = MODELS[model]
    module = build(name, **{**WIDE, **changes})
    nn.quantize(
        module,
        group,
        bits,
        class_predicate=lambda _, m: hasattr(m, "to_quantized") and m.weight.shape[-1] % group == 0,
    )
    mx.eval(module.parameters())
    return module


@pytest.mark.parametrize(("model", "scheme", "runtime"), ROWS)
def test_quantised_weights_stay_so(model, scheme, runtime, tmp_path):
    module = quantized(model, *scheme)
    decoder = StatelessDecoder(module, 1 if MODELS[model][0] in STEPS else "length")
    graph = cv.capture(decoder, decoder.inputs, decoder.outputs, dims=decoder.dims, module=module)
    path = cv.convert(graph, tmp_path / "model.onnx", runtime=runtime)
    random, session = np.random.default_rng(0), cv.load(path)
    for batch, length, past in ((2, 5, 3), (1, 1, 9)):
        sizes = {"batch": batch, "length": length, "past": past}
        arrays = {}
        for name, spec in decoder.inputs.items():
            shape = substitute(spec.shape, sizes)
            drawn = random.integers(0, 100, shape) if "int" in spec.dtype else random.normal(size=shape) / 2
            arrays[name] = drawn.astype(spec.dtype)
        expected = decoder(*map(mx.array, arrays.values()))
        for (name, got), wanted in zip(session(**arrays).items(), map(np.array, expected), strict=True):
            assert np.abs(got - wanted).max() <= 1e-3 * np.abs(wanted).max(), name
    held = sum(len(tensor.raw_data) for tensor in onnx.load(str(path)).graph.initializer)
    parameters = tree_flatten(module.parameters())
    own = sum(array.nbytes for _, array in parameters if isinstance(array, mx.array))
    assert held <= 1.05 * own
