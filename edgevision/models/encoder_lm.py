"""An encoder: a text in, features of each of its tokens out, and what a head makes of them.

BERT (Devlin et al., 2019): every token attends to every other one. It is pre-trained by guessing tokens that
were hidden, and fine-tuned by a small head on the token in front, [CLS].

Letters: B batch, L tokens, N hidden tokens of a text, W width, V vocabulary, C classes, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn

from edgevision.models.post_norm import ACTIVATIONS, EncoderLayer, activate, seen

Head = Literal["masked", "classifier", "features"]


@dataclass(frozen=True)
class Config:
    """Takes int32 tokens (B, L).

    Attributes:
        context: tokens of a text, at most, those in front and behind included.
        kinds: of tokens: BERT tells a first from a second sentence by them.
        hidden: width inside the feed-forward networks; None for 4 W.
        head: what comes out: "masked" logits (B, L, V), "classifier" logits (B, C), "features" (B, L, W).
        pooled: whether the features come with a pooler, which only the classifier uses.
        eps: of the normalisations.
        pad: the token that fills rows up.
    """

    vocabulary: int = 8000
    context: int = 128
    layers: int = 3
    heads: int = 4
    width: int = 256
    hidden: int | None = None
    activation: Literal["relu", "swish", "silu", "gelu"] = "gelu"
    kinds: int = 2
    dropout: float = 0.1
    head: Head = "masked"
    classes: int = 2
    pooled: bool = False
    eps: float = 1e-12
    pad: int = 0


VARIANTS = {"masked": Config(), "classifier": Config(head="classifier")}


class Model(nn.Module):
    """Tokens (B, L) to what the head makes of them."""

    def __init__(self, config: Config):
        super().__init__()
        width = config.width
        sizes = (width, config.heads, config.hidden or 4 * width)
        kind = (config.activation, config.dropout, config.eps)
        self.tokens, self.places = _table(config.vocabulary, width), _table(config.context, width)
        self.kinds = _table(config.kinds, width)
        self.norm = nn.LayerNorm(width, config.eps)
        self.blocks = [EncoderLayer(*sizes, *kind) for _ in range(config.layers)]
        self.dropout = nn.Dropout(config.dropout)
        if config.head == "masked":
            self.head = MaskedHead(config)
        elif config.head == "classifier" or config.pooled:
            self.pooler = nn.Linear(width, width)
        if config.head == "classifier":
            self.head = nn.Linear(width, config.classes)
        self._config = config

    def __call__(
        self, ids: mx.array, mask: mx.array | None = None, kinds: mx.array | None = None
    ) -> mx.array:
        """What the configuration's head gives.

        Args:
            mask: (B, L), true where there is a token; None where there is one everywhere.
            kinds: int32 (B, L), the kind of each token; None for the first.
        """
        x = self.features(ids, mask, kinds)
        if self._config.head == "features":
            return x
        return self.guess(x) if self._config.head == "masked" else self.classify(x)

    def features(
        self,
        ids: mx.array,
        mask: mx.array | None = None,
        kinds: mx.array | None = None,
        looked: list[mx.array] | None = None,
    ) -> mx.array:
        """(B, L) to (B, L, W); `looked` gets (B, H, L, L) of each layer, where it attended to."""
        x = self.tokens(ids) + self.places(mx.arange(ids.shape[1]))
        x = x + (self.kinds.weight[0] if kinds is None else self.kinds(kinds))
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x, seen(mask), looked)
        return x

    def guess(self, x: mx.array) -> mx.array:
        """Features (..., W) to logits (..., V) of the token that stands there."""
        return self.tokens.as_linear(self.head(x)) + self.head.bias

    def classify(self, x: mx.array) -> mx.array:
        """Features (B, L, W) to logits (B, C), by the first token."""
        return self.head(self.dropout(mx.tanh(self.pooler(x[:, 0]))))

    @property
    def config(self) -> Config:
        """What the model was built from."""
        return self._config


class MaskedHead(nn.Module):
    """Features to what is compared with the table of tokens."""

    def __init__(self, config: Config):
        super().__init__()
        self.dense, self.norm = nn.Linear(config.width, config.width), nn.LayerNorm(config.width, config.eps)
        self.bias = mx.zeros((config.vocabulary,))
        self._activation = config.activation

    def __call__(self, x: mx.array) -> mx.array:
        """(..., W) to (..., W)."""
        return self.norm(activate(self._activation, self.dense(x), self.training))


def mean_of(features: mx.array, mask: mx.array) -> mx.array:
    """The embedding of each text, of length 1: the mean of its tokens' features.

    Reimers and Gurevych, 2019. features (B, L, W) and mask (B, L), true where there is a token, to (B, W).
    """
    there = mask.astype(features.dtype)[..., None]
    mean = mx.sum(features * there, axis=1) / mx.maximum(mx.sum(there, axis=1), 1e-9)
    return mean / mx.maximum(mx.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)


def _table(rows: int, width: int) -> nn.Embedding:
    table = nn.Embedding(rows, width)
    table.weight = mx.random.normal((rows, width), scale=0.02)
    return table


# Hugging Face's names, each beside ours.
_NAMES = (
    ("bert.embeddings.word_embeddings", "tokens"),
    ("bert.embeddings.position_embeddings", "places"),
    ("bert.embeddings.token_type_embeddings", "kinds"),
    ("bert.embeddings.LayerNorm", "norm"),
    ("bert.pooler.dense", "pooler"),
    ("cls.predictions.transform.dense", "head.dense"),
    ("cls.predictions.transform.LayerNorm", "head.norm"),
    ("cls.predictions", "head"),
    ("classifier", "head"),
)
_IN_LAYER = (
    ("attention.self.query", "attention.query"),
    ("attention.self.key", "attention.key"),
    ("attention.self.value", "attention.value"),
    ("attention.output.dense", "attention.out"),
    ("attention.output.LayerNorm", "attention_norm"),
    ("intermediate.dense", "mlp.up"),
    ("output.dense", "mlp.down"),
    ("output.LayerNorm", "mlp_norm"),
)
_LAYER = "bert.encoder.layer."
_UNUSED = ("position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
_NEXT = "cls.seq_relationship."  # whether a second sentence follows a first one: not a head of ours
ARCHITECTURES: dict[Head, str] = {
    "masked": "BertForMaskedLM",
    "classifier": "BertForSequenceClassification",
    "features": "BertModel",
}


def sanitize(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Weights of BERT in Hugging Face's form under our names; ours as they are.

    Raises:
        ValueError: the logits have a table of their own.
    """
    if "tokens.weight" in weights:
        return weights
    tied = weights.get("cls.predictions.decoder.weight")
    table = weights.get("bert.embeddings.word_embeddings.weight")
    if tied is not None and table is not None and not mx.array_equal(tied, table).item():
        raise ValueError("its table of tokens is not that of its logits")
    result = {}
    for name, array in weights.items():
        full = name if name.startswith(("bert.", "cls.", "classifier.")) else f"bert.{name}"
        if not full.endswith(_UNUSED) and not full.startswith(_NEXT):
            result[_ours(full)] = array
    return result


def hugging_face_weights(weights: dict[str, mx.array], config: Config) -> dict[str, mx.array]:
    """Our weights under Hugging Face's names: the inverse of `sanitize`."""
    result = {}
    for name, array in weights.items():
        their = _theirs(name, config.head)
        result[their.removeprefix("bert.") if config.head == "features" else their] = array
    return result


def _ours(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem.startswith(_LAYER):
        number, _, part = stem.removeprefix(_LAYER).partition(".")
        return f"blocks.{number}.{dict(_IN_LAYER).get(part, part)}.{kind}"
    return f"{dict(_NAMES).get(stem, stem)}.{kind}"


def _theirs(name: str, head: Head) -> str:
    stem, _, kind = name.rpartition(".")
    if stem.startswith("blocks."):
        _, number, part = stem.split(".", 2)
        return f"{_LAYER}{number}.{ {ours: theirs for theirs, ours in _IN_LAYER}[part] }.{kind}"
    table = {ours: theirs for theirs, ours in _NAMES}
    if head == "masked":
        table["head"] = "cls.predictions"
    return f"{table[stem]}.{kind}"


def to_hugging_face(config: Config, labels: Sequence[str] = ()) -> dict[str, Any]:
    """config.json of the class in `ARCHITECTURES`."""
    found = {
        "model_type": "bert",
        "architectures": [ARCHITECTURES[config.head]],
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden or 4 * config.width,
        "hidden_act": config.activation,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": config.context,
        "type_vocab_size": config.kinds,
        "layer_norm_eps": config.eps,
        "pad_token_id": config.pad,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    if config.head == "classifier":
        names = [str(label) for label in labels] or [f"LABEL_{i}" for i in range(config.classes)]
        found["id2label"] = {str(index): name for index, name in enumerate(names)}
        found["label2id"] = {name: index for index, name in enumerate(names)}
        found["problem_type"] = "single_label_classification"
    return found


def from_hugging_face(found: dict[str, Any], names: Sequence[str]) -> Config:
    """The Config of a config.json of BERT.

    Args:
        names: of its weights, which tell its head.

    Raises:
        ValueError: it is another architecture, or has something that this model has not.
        KeyError: a size is missing.
    """
    if found.get("model_type") != "bert":
        raise ValueError(f"model_type {found.get('model_type')!r} is not bert")
    activation = found.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise ValueError(f"hidden_act {activation!r} is none of {', '.join(ACTIVATIONS)}")
    if found.get("position_embedding_type", "absolute") != "absolute" or found.get("is_decoder"):
        raise ValueError("relative positions and decoders are no encoders of this kind")
    if found.get("problem_type") not in (None, "single_label_classification"):
        raise ValueError(f"problem_type {found['problem_type']!r} is not single_label_classification")
    head: Head = "features"
    if any(name.startswith("classifier.") for name in names):
        head = "classifier"
    elif any(name.startswith("cls.predictions.") for name in names):
        head = "masked"
    return Config(
        vocabulary=found["vocab_size"],
        context=found["max_position_embeddings"],
        layers=found["num_hidden_layers"],
        heads=found["num_attention_heads"],
        width=found["hidden_size"],
        hidden=found["intermediate_size"],
        activation=activation,
        kinds=found.get("type_vocab_size", 2),
        dropout=found.get("hidden_dropout_prob", 0.1),
        head=head,
        classes=len(found.get("id2label") or {}) or int(found.get("num_labels", 2)),
        pooled=any("pooler." in name for name in names),
        eps=found.get("layer_norm_eps", 1e-12),
        pad=found.get("pad_token_id") or 0,
    )


__all__ = [
    "ARCHITECTURES",
    "VARIANTS",
    "Config",
    "Model",
    "from_hugging_face",
    "hugging_face_weights",
    "mean_of",
    "sanitize",
    "to_hugging_face",
]
