"""Tiny models of mlx-lm with random weights, and a cache that goes in and out of a function as arrays."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import mlx.core as mx
import mlx.nn as nn

BASE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 101,
    "head_dim": 16,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "max_position_embeddings": 512,
}
GEMMA = {
    "sliding_window": 16,
    "sliding_window_pattern": 2,
    "query_pre_attn_scalar": 16,
    "rope_local_base_freq": 10000.0,
    "rope_global_base_freq": 10000.0,
}
GPT2 = {"n_ctx": 128, "n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 128, "layer_norm_epsilon": 1e-5}
MAMBA = {"state_size": 8, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": BASE,
    "qwen3": BASE,
    "gemma3_text": BASE | GEMMA,
    "gpt2": GPT2 | {"vocab_size": 101},
    "mixtral": BASE | {"num_experts_per_tok": 2, "num_local_experts": 4},
    "phi3": BASE,
}
HEADS = {"gpt2": 4}
HEAD_SIZE = 16


class ArrayCache:
    """A key-value cache of one layer; grows by concatenation and keeps nothing else."""

    def __init__(self, keys: mx.array, values: mx.array):
        self.keys, self.values, self.offset = keys, values, keys.shape[2]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        self.keys = mx.concatenate([self.keys, keys], axis=2)
        self.values = mx.concatenate([self.values, values], axis=2)
        return self.keys, self.values

    @property
    def state(self) -> tuple[mx.array, mx.array]:
        return self.keys, self.values

    def make_mask(self, length: int, return_array: bool = False, window_size: int | None = None) -> Any:
        from mlx_lm.models.base import create_causal_mask

        if length == 1 and window_size is None:
            return None
        return create_causal_mask(length, self.offset, window_size=window_size)


def build(name: str, config: dict[str, Any] | None = None) -> nn.Module:
    """The model with random weights."""
    module = import_module(f"mlx_lm.models.{name}")
    mx.random.seed(3)
    model = module.Model(module.ModelArgs.from_dict({"model_type": name, **(config or CONFIGS[name])}))
    model.eval()
    mx.eval(model.parameters())
    return model


def decoder(model: nn.Module) -> Callable[..., tuple[mx.array, ...]]:
    """(ids, key, value, key, value, …) to (logits, and the grown keys and values)."""

    def run(ids: mx.array, *past: mx.array) -> tuple[mx.array, ...]:
        caches = [ArrayCache(*past[i : i + 2]) for i in range(0, len(past), 2)]
        logits = model(ids, cache=caches)
        return (logits, *(array for cache in caches for array in cache.state))

    return run


def mamba_step(model: nn.Module) -> Callable[..., tuple[mx.array, ...]]:
    """(ids of one token, convolution state, recurrent state, …) to (logits, and the new states)."""
    from mlx_lm.models.cache import ArraysCache

    def run(ids: mx.array, *states: mx.array) -> tuple[mx.array, ...]:
        caches = []
        for i in range(0, len(states), 2):
            cache = ArraysCache(size=2)
            cache[0], cache[1] = states[i], states[i + 1]
            caches.append(cache)
        logits = model(ids, cache=caches)
        return (logits, *(cache[part] for cache in caches for part in range(2)))

    return run
