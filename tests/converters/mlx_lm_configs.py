"""A tiny random model of any architecture that mlx-lm ships.

`TINY` holds a small value for each field that architectures share; what an architecture reads beyond these, or
needs otherwise, is a row of `EXTRA`. Fields that an architecture does not have are ignored by mlx-lm.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import mlx.core as mx
import mlx.nn as nn

TINY: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "layer_norm_epsilon": 1e-5,
    "norm_eps": 1e-5,
    "norm_epsilon": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "use_bias": False,
    "use_qkv_bias": False,
    "use_qk_norm": True,
    "qk_norm": True,
    "post_norm": False,
    "partial_rotary_factor": 0.5,
    "sliding_window": 12,
    "sliding_window_pattern": 2,
    # experts
    "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 48,
    "moe_shared_expert_intermediate_size": 48,
    "shared_intermediate_size": 48,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "moe_top_k": 2,
    "top_k_experts": 2,
    "num_shared_experts": 1,
    "num_shared_expert": 1,
    "n_shared_experts": 1,
    "moe_num_shared_experts": 1,
    "share_expert_dim": 48,
    "norm_topk_prob": True,
    "n_group": 1,
    "topk_group": 1,
    "num_expert_group": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "routed_scaling_factor": 1.5,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "moe_layer_freq": 1,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    # latent attention
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "index_topk": 2048,
    # states and convolutions
    "state_size": 8,
    "ssm_state_size": 8,
    "conv_kernel": 4,
    "conv1d_width": 4,
    "conv_L_cache": 3,
    "conv_bias": False,
    "conv_window": 2,
    "use_conv_bias": True,
    "n_groups": 2,
    "time_step_rank": 4,
    "time_step_limit": (0.001, 100.0),
    "mamba_d_conv": 4,
    "mamba_d_state": 8,
    "mamba_d_ssm": 64,
    "mamba_d_head": 16,
    "mamba_n_heads": 4,
    "mamba_n_groups": 2,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "mamba_expand": 2,
    "mamba_proj_bias": False,
    "mamba_conv_bias": True,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "linear_allow_neg_eigval": True,
    "attention_window_size": 12,
    "window_size": 12,
    "layer_group_size": 2,
    "group_norm_size": 2,
    # scales
    "logits_scaling": 2.0,
    "logit_scale": 0.25,
    "attention_multiplier": 0.25,
    "embedding_multiplier": 1.5,
    "residual_multiplier": 0.5,
    "scale_depth": 1.4,
    "scale_emb": 2.0,
    "dim_model_base": 32,
    "query_pre_attn_scalar": 16,
    # other projects' words for the same
    "num_layers": 2,
    "n_layer": 2,
    "n_layers": 2,
    "num_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_kv_heads": 2,
    "n_kv_heads": 2,
    "hidden_dim": 64,
    "n_embd": 64,
    "d_model": 64,
    "model_dim": 64,
    "n_inner": 96,
    "ff_intermediate_size": 96,
    "ffn_hidden_size": 96,
    "expert_ffn_hidden_size": 48,
    "block_size": 512,
    "n_ctx": 512,
    "n_positions": 512,
    "model_max_length": 512,
    "rotary_dim": 8,
    "num_vocab": 101,
}
EXTRA: dict[str, dict[str, Any]] = {}
NOT_MODELS = {
    "activations", "base", "bitlinear_layers", "cache", "gated_delta", "mla", "pipeline", "rope_utils", "ssm",
    "switch_layers",
}  # fmt: skip


def architectures() -> list[str]:
    """The names of mlx-lm's model files."""
    names = [module.name for module in iter_modules(import_module("mlx_lm.models").__path__)]
    return [name for name in names if name not in NOT_MODELS]


def build(name: str, **changes: Any) -> nn.Module:
    """The architecture with random weights; RuntimeError says what it lacks on this machine."""
    try:
        module = import_module(f"mlx_lm.models.{name}")
    except SystemExit as error:
        raise RuntimeError(f"{name} needs a package that is not installed") from error
    config = TINY | {"model_type": name} | EXTRA.get(name, {}) | changes
    mx.random.seed(3)
    model = module.Model(module.ModelArgs.from_dict({"text_config": config} | config))
    model.eval()
    mx.eval(model.parameters())
    return model
