"""A tiny random model of any architecture that mlx-lm ships.

`TINY` holds a small value for each field that architectures share; what one reads beyond these, or needs
otherwise, is a row of `EXTRA`. Fields that an architecture does not have are ignored by mlx-lm.
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
    "index_topk": 8192,
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
    "block_dim": 64,
    "block_multiple_of": 8,
    "block_ffn_dim_multiplier": 1.0,
    "block_auto_adjust_ff_dim": False,
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
LAYERS = {
    "windowed": ["sliding_attention", "full_attention"],
    "hybrid": ["linear_attention", "full_attention"],
    "convolved": ["conv", "full_attention"],
}
YARN = {
    "type": "yarn",
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "rope_theta": 10000.0,
}
LLAMA3 = {
    "type": "llama3",
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONG = {
    "type": "longrope",
    "original_max_position_embeddings": 64,
    "short_factor": [1.0 + i / 8 for i in range(4)],
    "long_factor": [1.5 + i / 8 for i in range(4)],
}
ROPE_BY_TYPE = {name: {"rope_theta": 10000.0, "rope_type": "default"} for name in LAYERS["windowed"]}
SCALED = YARN | {"llama_4_scaling_beta": 0.1, "partial_rotary_factor": 1.0}
DELTA = {
    "kda_layers": [1],
    "full_attn_layers": [2],
    "num_heads": 4,
    "head_dim": 16,
    "short_conv_kernel_size": 4,
    "gate_lower_bound": -5.0,
}
GEMMA3N = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "vocab_size_per_layer_input": 101,
    "rope_local_base_freq": 10000.0,
    "final_logit_softcapping": 30.0,
    "layer_types": LAYERS["windowed"] * 2,
    "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    "hidden_size_per_layer_input": 8,
    "altup_num_inputs": 2,
    "altup_coef_clip": 120.0,
    "altup_correct_scale": True,
    "altup_active_idx": 0,
    "laurel_rank": 8,
}
GEMMA4 = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "global_head_dim": 32,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 101,
    "tie_word_embeddings": True,
}
QWEN_HYBRID = {"full_attention_interval": 2, "partial_rotary_factor": 0.25}
FLAT_LONGCAT = {"mla_scale_q_lora": True, "mla_scale_kv_lora": True, "zero_expert_num": 2}
EXTRA: dict[str, dict[str, Any]] = {
    "afm7": {"num_kv_reuse_layers": 1},
    "afmoe": {"layer_types": LAYERS["windowed"]},
    "baichuan_m1": {"sliding_window_layers": [0], "num_swa_attention_heads": 4, "num_swa_key_value_heads": 2},
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 4.0, "rope_theta": 10000.0},
    },
    "deepseek_v2": {"rope_scaling": YARN, "topk_method": "greedy"},
    "exaone4": {"rope_scaling": LLAMA3, "sliding_window_pattern": "LG"},
    "exaone_moe": {"layer_types": LAYERS["windowed"], "is_moe_layer": [False, True]},
    "gear": {"layer_types": ["sliding_attention", "conv_mixer", "full_attention"], "num_hidden_layers": 3},
    "gemma3n": GEMMA3N,
    "gemma4": GEMMA4,
    "gemma4_text": GEMMA4,
    "glm4_moe": {"rope_scaling": None},
    "glm_moe_dsa": {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
    "gpt_neox": {"rotary_emb_base": 10000, "rotary_pct": 0.5, "num_key_value_heads": 4},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "hunyuan": {
        "use_mixed_mlp_moe": True,
        "use_cla": True,
        "cla_share_factor": 2,
        "rope_scaling": {"alpha": 1000.0, "factor": 1.0, "type": "dynamic"},
    },
    "jamba": {
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
    },
    "kimi_k3": {"linear_attn_config": DELTA, "mla_use_nope": True},
    "kimi_linear": {"linear_attn_config": DELTA},
    "lfm2": {"layer_types": LAYERS["convolved"]},
    "lfm2-vl": {"layer_types": LAYERS["convolved"]},
    "lfm2_moe": {"layer_types": LAYERS["convolved"], "use_expert_bias": True},
    "llama4": {
        "num_experts_per_tok": 1,
        "num_hidden_layers": 4,
        "attention_chunk_size": 8,
        "interleave_moe_layer_step": 2,
        "rope_scaling": LLAMA3,
        "intermediate_size_mlp": 96,
    },
    "llama4_text": {"intermediate_size_mlp": 96, "no_rope_layers": [1, 0]},
    "longcat_flash": FLAT_LONGCAT | {"attention_method": "MLA", "zero_expert_type": "identity"},
    "longcat_flash_ngram": FLAT_LONGCAT,
    "mellum": {"layer_types": LAYERS["windowed"], "rope_parameters": ROPE_BY_TYPE},
    "mimo_v2_flash": {
        "hybrid_layer_pattern": [1, 0],
        "moe_layer_freq": [0, 1],
        "add_swa_attention_sink_bias": True,
        "add_full_attention_sink_bias": False,
        "sliding_window_size": 12,
        "layernorm_epsilon": 1e-5,
        "swa_rope_theta": 10000.0,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 16,
        "swa_v_head_dim": 16,
    },
    "minicpm3": {"rope_scaling": LONG},
    "minimax_m3_vl": {"moe_layer_freq": [0, 1], "dense_intermediate_size": 96},
    "ministral3": {"rope_parameters": SCALED, "layer_types": LAYERS["windowed"]},
    "mistral4": {"rope_parameters": SCALED},
    "muse_spark": {
        "post_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10000.0},
        "layer_rope_theta": [10000.0, 0.0],
        "layer_types": LAYERS["windowed"],
        "final_logit_softcapping": 20.0,
        "output_multiplier": 0.5,
        "moe_hidden_size": 64,
        "num_shared_experts": 0,
    },
    "nemotron-nas": {
        "block_configs": [
            {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.0}},
            {"attention": {"no_op": True}, "ffn": {"replace_with_linear": True}},
        ]
    },
    "nemotron": {"hidden_act": "relu2"},
    "nemotron_h": {"hybrid_override_pattern": ["M", "*", "-", "E"]},
    "olmo3": {"layer_types": LAYERS["windowed"]},
    "openelm": {
        "num_transformer_layers": 2,
        "ffn_dim_divisor": 8,
        "num_query_heads": [4, 4],
        "num_kv_heads": [2, 2],
        "ffn_multipliers": [1.0, 2.0],
    },
    "phi3small": {
        "dense_attention_every_n_layers": 2,
        "gegelu_limit": 20.0,
        "blocksparse_block_size": 32,
        "blocksparse_num_local_blocks": 2,
        "blocksparse_vert_stride": 2,
    },
    "plamo": {"n_shared_head": 2},
    "prism_hadamard_qwen35": {
        "hidden_size": 512,
        "head_dim": 64,
        "intermediate_size": 512,
        "full_attention_interval": 2,
        "num_experts": 0,
        "tensor_namespace": "mlx-vlm-qwen3_5",
        "quantization": {"bits": 2, "group_size": 128, "mode": "affine"},
        "modules": [
            {"path": f"model.layers.1.mlp.{name}_proj", "embedding": False, "dtype": "float16", "block": 512}
            for name in ("gate", "up", "down")
        ],
    },
    "qwen": {"kv_channels": 16},
    "qwen3_5": {"full_attention_interval": 2, "num_experts": 0},
    "qwen3_5_moe": QWEN_HYBRID,
    "qwen3_next": QWEN_HYBRID,
    "recurrent_gemma": {"logits_soft_cap": 30.0, "block_types": ["recurrent", "attention"]},
    "rwkv7": {"a_low_rank_dim": 8, "v_low_rank_dim": 8, "gate_low_rank_dim": 8, "decay_low_rank_dim": 8},
    "spark2_5": {
        "layer_types": LAYERS["windowed"],
        "rope_parameters": ROPE_BY_TYPE,
    },
    "step3p5": {"num_attention_groups": 2, "layer_types": LAYERS["windowed"], "moe_layers_enum": "1"},
}
# What only MLX's version for Metal computes, needs another package, or ends the process on this machine.
NOT_RUN = {
    "bitnet": "a Metal kernel",
    "muse_spark": "a Metal kernel",
    "olmo": "needs ai2-olmo",
    "phi3small": "MLX's CPU version ends with a segmentation fault from 70 tokens on",
}
NOT_MODELS = {
    "activations", "base", "bitlinear_layers", "cache", "gated_delta", "mla", "pipeline", "rope_utils", "ssm",
    "switch_layers",
}  # fmt: skip


def architectures() -> list[str]:
    """The names of mlx-lm's model files that MLX can run here."""
    names = [module.name for module in iter_modules(import_module("mlx_lm.models").__path__)]
    return [name for name in names if name not in NOT_MODELS | set(NOT_RUN)]


def build(name: str, **changes: Any) -> nn.Module:
    """The architecture with random weights."""
    module = import_module(f"mlx_lm.models.{name}")
    config = TINY | {"model_type": name} | EXTRA.get(name, {}) | changes
    mx.random.seed(3)
    model = module.Model(module.ModelArgs.from_dict({"text_config": config} | config))
    model.eval()
    mx.eval(model.parameters())
    return model
