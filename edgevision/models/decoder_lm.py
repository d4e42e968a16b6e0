"""A language model: the decoder-only Transformer, which predicts each token from those before it.

gpt2    Radford et al., "Language Models are Unsupervised Multitask Learners", 2019: learned positions,
        LayerNorm, GELU, the embedding used again as output layer.
llama   Touvron et al., "LLaMA", 2023: rotary positions, RMSNorm, SwiGLU, keys and values shared by groups.

Both are the same file: blocks of causal attention and a feed-forward network, each behind a norm and around
a residual connection. Checkpoints are those of Hugging Face's GPT2LMHeadModel and LlamaForCausalLM.

Letters: B batch, L tokens of this call, P tokens before it, V vocabulary, W width, F width inside the
feed-forward network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from edgevision.models.attention import Attention, Cache, KeyValueCache

Memory = tuple[mx.array, mx.array]  # keys and values (B, H, S, D) of another sequence


@dataclass(frozen=True)
class Config:
    """Sizes of a model.

    Attributes:
        style: "gpt2" or "llama".
        vocabulary: number of tokens. context: the most tokens that it was built for.
        width: of the residual stream. hidden: inside the feed-forward network; None for 4 widths (gpt2) or
            8/3 of it in steps of 32 (llama).
        key_value_heads: None for as many as `heads`. head_size: None for width / heads.
        dropout: in training, after the embedding and on what each block adds.
        tied: whether the embedding is the output layer too.
        memory: width of another sequence that every block attends to, None for none.
    """

    style: str = "gpt2"
    vocabulary: int = 256
    context: int = 64
    layers: int = 4
    heads: int = 4
    key_value_heads: int | None = None
    head_size: int | None = None
    width: int = 128
    hidden: int | None = None
    dropout: float = 0.0
    tied: bool = True
    norm_epsilon: float = 1e-5
    rope_base: float = 10000.0
    memory: int | None = None


VARIANTS = {
    "llama": Config("llama", key_value_heads=2),  # the sizes of nanoGPT's CPU setting
    "gpt2": Config("gpt2"),  # that setting itself
    "gpt2-6x384": Config("gpt2", context=256, layers=6, heads=6, width=384, dropout=0.2),  # its GPU setting
    "llama-6x384": Config("llama", context=256, layers=6, heads=6, key_value_heads=2, width=384, dropout=0.2),
    "gpt2-124m": Config("gpt2", vocabulary=50257, context=1024, layers=12, heads=12, width=768),
}


class Model(nn.Module):
    """Tokens (B, L) to logits (B, L, V) of the token that follows each."""

    def __init__(self, config: Config):
        super().__init__()
        if config.style not in ("gpt2", "llama"):
            raise ValueError(f"style {config.style!r} is neither gpt2 nor llama")
        if config.heads % (config.key_value_heads or config.heads):
            raise ValueError(f"{config.heads} heads cannot share {config.key_value_heads} keys and values")
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        if config.style == "gpt2":
            self.positions = nn.Embedding(config.context, config.width)
        self.layers = [Block(config) for _ in range(config.layers)]
        self.norm = _norm(config)
        if not config.tied:
            self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self._config = config
        self._initialize()

    def __call__(
        self,
        ids: mx.array,
        cache: Sequence[Cache] | None = None,
        mask: mx.array | str | None = None,
        positions: mx.array | None = None,
        memory: Sequence[Memory] | None = None,
        prefix: mx.array | None = None,
        looked: list[mx.array] | None = None,
    ) -> mx.array:
        """(B, L) to (B, L, V).

        Args:
            cache: one for each layer, from `make_cache`; the tokens of earlier calls.
            mask: default causal; see `Attention`.
            positions: (B, L), increasing by one; default: on from what the cache holds.
            memory: from `remember`, where the model was built with one.
            prefix: (B, S, W), stands before the embedded tokens; the result is (B, S + L, V) then.
            looked: gets (B, H, L, S) of each layer: how much each token attends to each place of the memory.
        """
        x = self.tokens(ids)  # (B, L, W)
        if prefix is not None:
            x = mx.concatenate([prefix, x], axis=1)
        length = x.shape[1]
        past = cache[0].offset if cache else 0
        if mask is None:
            mask = "causal" if length > 1 or not cache else None
            if hasattr(cache[0] if cache else None, "make_mask"):
                mask = cache[0].make_mask(length)  # type: ignore[index]
        offset = None
        if self._config.style == "gpt2":
            x = x + self.positions(mx.arange(past, past + length) if positions is None else positions)
        elif positions is not None:
            offset = positions[:, -1] - (length - 1)
        x = self.dropout(x)
        for index, layer in enumerate(self.layers):
            kept = (cache[index] if cache else None, offset, memory[index] if memory else None)
            x = layer(x, mask, *kept, looked)
        x = self.norm(x)
        return self.tokens.as_linear(x) if self._config.tied else self.head(x)

    @property
    def config(self) -> Config:
        """What the model was built from."""
        return self._config

    def make_cache(self) -> list[KeyValueCache]:
        """An empty cache for each layer."""
        return [KeyValueCache() for _ in self.layers]

    def remember(self, memory: mx.array) -> list[Memory]:
        """What the blocks read of another sequence (B, S, memory): the keys and values of each."""
        return [layer.cross.remember(memory) for layer in self.layers]

    def _initialize(self) -> None:
        """GPT-2's: normal 0.02, what ends on the residual stream divided by the root of its number."""
        residual = 0.02 / sqrt(2 * self._config.layers)
        new: list[tuple[str, mx.array]] = []
        parameters: dict[str, mx.array] = dict(tree_flatten(self.parameters()))
        for name, array in parameters.items():
            if array.ndim == 2:
                scale = residual if name.endswith((".out.weight", "mlp.down.weight")) else 0.02
                new.append((name, mx.random.normal(array.shape, scale=scale)))
            elif name.endswith(".bias"):
                new.append((name, mx.zeros_like(array)))
        self.update(tree_unflatten(new))


class Block(nn.Module):
    """Attention, then a feed-forward network on each token, both normalised before and added after."""

    def __init__(self, config: Config):
        super().__init__()
        gpt2 = config.style == "gpt2"
        self.attention_norm, self.mlp_norm = _norm(config), _norm(config)
        self.attention = Attention(
            config.width,
            config.heads,
            config.key_value_heads,
            config.head_size,
            bias=gpt2,
            rope_base=None if gpt2 else config.rope_base,
        )
        self.mlp = FeedForward(config) if gpt2 else GatedFeedForward(config)
        self.dropout = nn.Dropout(config.dropout)
        if config.memory is not None:
            self.cross_norm = _norm(config)
            self.cross = Attention(config.width, config.heads, bias=gpt2, memory_width=config.memory)

    def __call__(
        self,
        x: mx.array,
        mask: mx.array | str | None,
        cache: Cache | None,
        offset: Any = None,
        memory: Memory | None = None,
        looked: list[mx.array] | None = None,
    ) -> mx.array:
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, cache, offset))
        if memory is not None:
            asking = self.cross_norm(x)
            if looked is not None:
                looked.append(self.cross.weights(asking, memory[0]))
            x = x + self.dropout(self.cross.read(asking, memory))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class FeedForward(nn.Module):
    """W -> F -> W with GELU in the middle, by its tanh approximation as GPT-2 has it."""

    def __init__(self, config: Config):
        super().__init__()
        hidden = hidden_width(config)
        self.up, self.down = nn.Linear(config.width, hidden), nn.Linear(hidden, config.width)

    def __call__(self, x: mx.array) -> mx.array:
        return self.down(nn.gelu_approx(self.up(x)))


class GatedFeedForward(nn.Module):
    """SwiGLU (Shazeer, "GLU Variants Improve Transformer", 2020): one half of F gates the other."""

    def __init__(self, config: Config):
        super().__init__()
        hidden = hidden_width(config)
        self.gate = nn.Linear(config.width, hidden, bias=False)
        self.up = nn.Linear(config.width, hidden, bias=False)
        self.down = nn.Linear(hidden, config.width, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.down(nn.silu(self.gate(x)) * self.up(x))


def hidden_width(config: Config) -> int:
    """F: as configured, else 4 W for gpt2 and 8/3 W for llama, which has three matrices in place of two."""
    if config.hidden is not None:
        return config.hidden
    return 4 * config.width if config.style == "gpt2" else -(-config.width * 8 // 3 // 32) * 32


def _norm(config: Config) -> nn.Module:
    kind = nn.LayerNorm if config.style == "gpt2" else nn.RMSNorm
    return kind(config.width, eps=config.norm_epsilon)


# Hugging Face's names, each beside ours; {} is the number of the block.
_LLAMA = (
    ("model.embed_tokens", "tokens"),
    ("model.layers.{}.input_layernorm", "layers.{}.attention_norm"),
    ("model.layers.{}.self_attn.q_proj", "layers.{}.attention.query"),
    ("model.layers.{}.self_attn.k_proj", "layers.{}.attention.key"),
    ("model.layers.{}.self_attn.v_proj", "layers.{}.attention.value"),
    ("model.layers.{}.self_attn.o_proj", "layers.{}.attention.out"),
    ("model.layers.{}.post_attention_layernorm", "layers.{}.mlp_norm"),
    ("model.layers.{}.mlp.gate_proj", "layers.{}.mlp.gate"),
    ("model.layers.{}.mlp.up_proj", "layers.{}.mlp.up"),
    ("model.layers.{}.mlp.down_proj", "layers.{}.mlp.down"),
    ("model.norm", "norm"),
    ("lm_head", "head"),
)
_GPT2 = (
    ("transformer.wte", "tokens"),
    ("transformer.wpe", "positions"),
    ("transformer.h.{}.ln_1", "layers.{}.attention_norm"),
    ("transformer.h.{}.attn.c_attn", "layers.{}.attention.qkv"),
    ("transformer.h.{}.attn.c_proj", "layers.{}.attention.out"),
    ("transformer.h.{}.ln_cross_attn", "layers.{}.cross_norm"),
    ("transformer.h.{}.crossattention.q_attn", "layers.{}.cross.query"),
    ("transformer.h.{}.crossattention.c_attn", "layers.{}.cross.kv"),
    ("transformer.h.{}.crossattention.c_proj", "layers.{}.cross.out"),
    ("transformer.h.{}.ln_2", "layers.{}.mlp_norm"),
    ("transformer.h.{}.mlp.c_fc", "layers.{}.mlp.up"),
    ("transformer.h.{}.mlp.c_proj", "layers.{}.mlp.down"),
    ("transformer.ln_f", "norm"),
    ("lm_head", "head"),
)
_TRANSPOSED = tuple(
    f".{name}.weight"
    for name in (
        "attention.qkv",
        "attention.out",
        "mlp.up",
        "mlp.down",
        "cross.query",
        "cross.kv",
        "cross.out",
    )
)
_JOINED = {"attention.qkv": ("query", "key", "value"), "cross.kv": ("key", "value")}  # GPT-2's, and its parts


def sanitize(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Hugging Face's weights under our names; ours stay as they are."""
    if "tokens.weight" in weights:
        return weights
    gpt2 = any(name.removeprefix("transformer.") == "wte.weight" for name in weights)
    result: dict[str, mx.array] = {}
    for given, array in weights.items():
        name = given if not gpt2 or given.startswith(("transformer.", "lm_head.")) else f"transformer.{given}"
        if name.endswith((".attn.bias", ".crossattention.bias", ".masked_bias", "rotary_emb.inv_freq")):
            continue  # the mask and the tables that older checkpoints carry
        ours = _renamed(name, _GPT2 if gpt2 else _LLAMA)
        if gpt2 and ours.endswith(_TRANSPOSED):
            array = array.T
        joined = next((joined for joined in _JOINED if f".{joined}." in ours), None)
        if joined is None:
            result[ours] = array
            continue
        parts, (module, _, last) = _JOINED[joined], joined.partition(".")
        for part, piece in zip(parts, mx.split(array, len(parts), axis=0), strict=True):
            result[ours.replace(f"{module}.{last}", f"{module}.{part}")] = piece
    head = result.get("head.weight")
    if gpt2 and head is not None and mx.array_equal(head, result["tokens.weight"]).item():
        del result["head.weight"]  # some programs write what is tied twice
    return result


def hugging_face_weights(weights: dict[str, mx.array], style: str) -> dict[str, mx.array]:
    """Our weights under Hugging Face's names: the inverse of `sanitize`."""
    gpt2 = style == "gpt2"
    table = [(ours, theirs) for theirs, ours in (_GPT2 if gpt2 else _LLAMA)]
    merged = {}
    for name, array in weights.items():
        module, part = name.split(".")[-3:-1] if name.count(".") > 1 else ("", "")
        whole = next(
            (w for w, parts in _JOINED.items() if w.startswith(f"{module}.") and part in parts), None
        )
        if not gpt2 or whole is None:
            merged[name] = array
        elif part == _JOINED[whole][0]:
            others = [weights[name.replace(f".{part}.", f".{other}.")] for other in _JOINED[whole]]
            merged[name.replace(f".{module}.{part}.", f".{whole}.")] = mx.concatenate(others, axis=0)
    return {
        _renamed(name, table): array.T if gpt2 and name.endswith(_TRANSPOSED) else array
        for name, array in merged.items()
    }


def _renamed(name: str, table: Sequence[tuple[str, str]]) -> str:
    """By the table; a name that is not in it stays, so that it is reported as unexpected."""
    stem, _, kind = name.rpartition(".")
    number = next((part for part in stem.split(".") if part.isdigit()), "")
    pattern = ".".join("{}" if part == number and number else part for part in stem.split("."))
    for old, new in table:
        if old == pattern:
            return f"{new.format(number)}.{kind}"
    return name


def to_hugging_face(config: Config) -> dict[str, Any]:
    """config.json for transformers, mlx-lm and the clients of an export."""
    common = {"vocab_size": config.vocabulary, "tie_word_embeddings": config.tied, "dtype": "float32"}
    if config.style == "gpt2":
        return common | {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "n_positions": config.context,
            "n_ctx": config.context,
            "n_embd": config.width,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": hidden_width(config),
            "activation_function": "gelu_new",
            "layer_norm_epsilon": config.norm_epsilon,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop"), config.dropout),
            "attn_pdrop": 0.0,
            **({} if config.memory is None else {"add_cross_attention": True}),
        }
    return common | {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "intermediate_size": hidden_width(config),
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads or config.heads,
        "head_dim": config.head_size or config.width // config.heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_base,
        "attention_bias": False,
        "mlp_bias": False,
    }


def from_hugging_face(found: dict[str, Any]) -> Config:
    """The Config of a config.json of GPT2LMHeadModel or LlamaForCausalLM.

    Raises:
        ValueError: it is another architecture, or has something that this model has not.
        KeyError: a size is missing.
    """
    kind = found.get("model_type")
    if kind == "gpt2":
        _refuse(found, {"scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False})
        _refuse(found, {"activation_function": "gelu_new", "scale_attn_weights": True})
        return Config(
            "gpt2",
            vocabulary=found["vocab_size"],
            context=found["n_positions"],
            layers=found["n_layer"],
            heads=found["n_head"],
            width=found["n_embd"],
            hidden=found.get("n_inner"),
            tied=found.get("tie_word_embeddings", True),
            norm_epsilon=found.get("layer_norm_epsilon", 1e-5),
            dropout=found.get("resid_pdrop", 0.0),
        )
    if kind != "llama":
        raise ValueError(f"model_type {kind!r} is neither gpt2 nor llama")
    _refuse(found, {"attention_bias": False, "mlp_bias": False, "hidden_act": "silu", "rope_scaling": None})
    rope = found.get("rope_parameters") or {}
    _refuse(rope, {"rope_type": "default"})
    return Config(
        "llama",
        vocabulary=found["vocab_size"],
        context=found.get("max_position_embeddings", 2048),
        layers=found["num_hidden_layers"],
        heads=found["num_attention_heads"],
        key_value_heads=found.get("num_key_value_heads"),
        head_size=found.get("head_dim"),
        width=found["hidden_size"],
        hidden=found["intermediate_size"],
        tied=found.get("tie_word_embeddings", False),
        norm_epsilon=found.get("rms_norm_eps", 1e-6),
        rope_base=rope.get("rope_theta", found.get("rope_theta", 10000.0)),
    )


def _refuse(found: dict[str, Any], supported: dict[str, Any]) -> None:
    for name, value in supported.items():
        if found.get(name, value) != value:
            raise ValueError(f"{name} is {found[name]!r}; only {value!r} is supported")


__all__ = [
    "VARIANTS",
    "Config",
    "Model",
    "from_hugging_face",
    "hugging_face_weights",
    "sanitize",
    "to_hugging_face",
]
