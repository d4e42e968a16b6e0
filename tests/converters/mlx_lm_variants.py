"""Options of architectures that change what they compute: scaled positions, groups of experts, biases."""

from typing import Any

from mlx_lm_configs import LAYERS, LLAMA3, LONG, YARN

GROUPED: dict[str, Any] = {"n_group": 2, "topk_group": 1}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama3 positions": ("llama", {"rope_scaling": LLAMA3}),
    "yarn positions": ("llama", {"rope_scaling": YARN}),
    "linear positions": ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    "long positions": ("phi3", {"rope_scaling": LONG}),
    "pairs of positions": ("llama", {"rope_traditional": True}),
    "windows and biases": (
        "llama",
        {
            "layer_types": LAYERS["windowed"],
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "groups of experts": (
        "deepseek_v3",
        {**GROUPED, "n_routed_experts": 8, "rope_scaling": YARN, "first_k_dense_replace": 0},
    ),
    "greedy groups": (
        "deepseek_v2",
        {**GROUPED, "n_routed_experts": 8, "topk_method": "group_limited_greedy"},
    ),
    "whole queries": ("deepseek_v3", {"q_lora_rank": None}),
    "sinks and yarn": ("gpt_oss", {"rope_scaling": YARN}),
    "norms of heads": (
        "stablelm",
        {"qk_layernorm": True, "use_parallel_residual": True, "use_qkv_bias": True},
    ),
    "one after the other": ("gpt_neox", {"use_parallel_residual": False}),
    "twice through the layers": ("nanbeige", {"num_loops": 2}),
    "no positions": (
        "granitemoehybrid",
        {"position_embedding_type": "nope", "layer_types": ["attention", "mamba"]},
    ),
    "keys are values": (
        "gemma4_text",
        {
            "num_kv_shared_layers": 0,
            "enable_moe_block": True,
            "num_experts": 4,
            "attention_k_eq_v": True,
            "hidden_size_per_layer_input": 0,
        },
    ),
    "expert biases": (
        "bailing_moe",
        {**GROUPED, "num_experts": 8, "moe_router_enable_expert_bias": True, "score_function": "sigmoid"},
    ),
    "three of eight experts": (
        "qwen3_moe",
        {"norm_topk_prob": False, "num_experts": 8, "num_experts_per_tok": 3},
    ),
    "latent experts": (
        "nemotron_h",
        {"hybrid_override_pattern": ["M", "E", "*", "M", "-"], "moe_latent_size": 32},
    ),
    "norm before the gate": ("falcon_h1", {"mamba_rms_norm": True, "mamba_norm_before_gate": True}),
    "sinks everywhere": ("mimo_v2_flash", {"add_full_attention_sink_bias": True}),
    "limited gates": ("step3p5", {"swiglu_limits": [7.0, 7.0], "swiglu_limits_shared": [7.0, 7.0]}),
}
