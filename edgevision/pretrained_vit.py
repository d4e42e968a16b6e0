"""Vision Transformers in folders, as transformers and timm lay them out; nothing of them is executed.

config.json model.safetensors preprocessor_config.json

Both kinds are read, by the folder or, with network, by the name on the Hugging Face Hub; the first is
written. Runs of our own are read too, so that a training can begin with any of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from converters.storage import claim, replacing_file
from edgevision import runs
from edgevision.errors import UserError
from edgevision.jsonfiles import read_json
from edgevision.models import vit

# Names of a checkpoint, as patterns, to ours; # is the number of a block.
HUGGING_FACE = {
    "vit.embeddings.cls_token": "token",
    "vit.embeddings.position_embeddings": "positions",
    "vit.embeddings.patch_embeddings.projection": "patches",
    "vit.encoder.layer.#.layernorm_before": "layers.#.norm1",
    "vit.encoder.layer.#.layernorm_after": "layers.#.norm2",
    "vit.encoder.layer.#.attention.attention.query": "layers.#.attention.query",
    "vit.encoder.layer.#.attention.attention.key": "layers.#.attention.key",
    "vit.encoder.layer.#.attention.attention.value": "layers.#.attention.value",
    "vit.encoder.layer.#.attention.output.dense": "layers.#.attention.out",
    "vit.encoder.layer.#.intermediate.dense": "layers.#.up",
    "vit.encoder.layer.#.output.dense": "layers.#.down",
    "vit.layernorm": "norm",
    "classifier": "head",
}
TIMM = {
    "cls_token": "token",
    "pos_embed": "positions",
    "patch_embed.proj": "patches",
    "blocks.#.norm1": "layers.#.norm1",
    "blocks.#.norm2": "layers.#.norm2",
    "blocks.#.attn.qkv": "layers.#.attention.query|key|value",
    "blocks.#.attn.proj": "layers.#.attention.out",
    "blocks.#.mlp.fc1": "layers.#.up",
    "blocks.#.mlp.fc2": "layers.#.down",
    "norm": "norm",
    "fc_norm": "norm",
    "head": "head",
}
UNUSED = re.compile(r"(vit\.)?pooler\.|vit\.embeddings\.mask_token$")  # of no account for classes
ARRAYS_MAX = 1 << 34  # bytes of a checkpoint's file
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Pretrained:
    """A model in evaluation mode, its labels, and whether these and the head were in the checkpoint."""

    model: vit.Model
    labels: tuple[str, ...]
    has_head: bool


def load(name: str | Path) -> Pretrained:
    """The model in a folder (Hugging Face, timm, or a run), or of a name on the Hugging Face Hub.

    Raises:
        UserError: it is not there, is damaged, or is another architecture; missing and unexpected weights are
            listed, the first ten of each.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _downloaded(str(name))
    if (folder / "weights.safetensors").is_file():
        run = runs.load(folder)
        if not isinstance(run.model, vit.Model):
            raise UserError(f"{folder} is a run of {run.config['model']}, not of vit")
        return Pretrained(run.model, run.labels, True)
    settings = runs.read_config(folder)
    weights = _read(folder)
    kind = "timm" if "architecture" in settings else "Hugging Face"
    try:
        read = _from_timm if kind == "timm" else _from_hugging_face
        config, labels = read(settings, weights, read_json(folder / "preprocessor_config.json"))
        model = vit.Model(config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        about = f"{folder} is no ViT of {kind} that can be read: {error}"
        raise UserError("; ".join([about, *_names_of_another(weights)])) from error
    has_head = "head.weight" in weights
    if not has_head:
        weights |= {f"head.{part}": model.head[part] for part in ("weight", "bias")}
    runs.check_weights(model, weights, folder)
    model.load_weights(list(weights.items()))
    model.eval()
    mx.eval(model.parameters())
    return Pretrained(model, labels, has_head)


def _names_of_another(weights: Mapping[str, mx.array]) -> list[str]:
    """Which names a ViT would have, and which of these are none, where they are of another architecture."""
    blocks = {int(found[1]) for name in weights if (found := re.match(r"layers\.(\d+)\.", name))}
    small = vit.Config(8, 8, classes=1, layers=len(blocks) or 1, heads=1, width=1)
    wanted = [name for name, _ in tree_flatten(vit.Model(small).parameters())]
    if not any(name.startswith("head.") for name in weights):
        wanted = [name for name in wanted if not name.startswith("head.")]
    return runs.names_that_differ(wanted, weights)


def save(folder: Path, model: vit.Model, labels: Sequence[str] = ()) -> None:
    """Write the three files as transformers' ViTForImageClassification has them.

    Raises:
        UserError: the model takes the mean of the patches, which Hugging Face's does not.
    """
    config = model.config
    if config.pool != "token":
        raise UserError(
            "Hugging Face's ViT has a class token, this model takes the mean of the patches",
            hint="train it with --set pool=token",
        )
    if labels and len(labels) != config.classes:
        raise ValueError(f"{len(labels)} labels for {config.classes} classes")
    claim(folder, ["config.json", "model.safetensors", "preprocessor_config.json"])
    names = list(labels) or [f"LABEL_{index}" for index in range(config.classes)]
    weights = their_names(dict(tree_flatten(model.parameters())))
    with replacing_file(folder / "model.safetensors") as new:
        mx.save_safetensors(str(new), weights, {"format": "pt"})
    for file, content in {
        "preprocessor_config.json": preprocessing(config),
        "config.json": _to_hugging_face(config, names),
    }.items():
        with replacing_file(folder / file) as new:
            new.write_text(json.dumps(content, indent=1))


def our_names(weights: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Weights of a checkpoint under our names; those that are ours already, and unknown ones, stay."""
    if "pos_embed" in weights or "patch_embed.proj.weight" in weights:
        table = TIMM
        _check_timms_mean(weights)
    elif any(name.startswith(("vit.", "embeddings.")) for name in weights):
        table = HUGGING_FACE
        bare = not any(name.startswith("vit.") for name in weights)  # of ViTModel, without a head
        weights = {f"vit.{name}" if bare else name: array for name, array in weights.items()}
    else:
        return dict(weights)
    result = {}
    for name, array in weights.items():
        if UNUSED.match(name):
            continue
        stem, _, part = name.rpartition(".")
        whole = name in table  # a parameter of the model itself
        key = re.sub(r"\.\d+\.", ".#.", name if whole else stem, count=1)
        if key not in table:
            result[name] = array
            continue
        number = re.search(r"\.(\d+)\.", stem)
        ours = table[key].replace("#", number[1] if number else "")
        if array.ndim == 4:
            array = array.transpose(0, 2, 3, 1)  # (E, C, P, P) to (E, P, P, C)
        before, _, choices = ours.rpartition(".")
        parts = choices.split("|")
        for one, piece in zip(parts, mx.split(array, len(parts)) if len(parts) > 1 else [array], strict=True):
            path = f"{before}.{one}" if before else one
            result[path if whole else f"{path}.{part}"] = piece
    return result


def _check_timms_mean(weights: Mapping[str, mx.array]) -> None:
    """UserError where what the head sees is not what ours computes: without a class token the norm of the
    mean of the patches (`fc_norm`), with one the norm of that (`norm`)."""
    token, after = "cls_token" in weights, "fc_norm.weight" in weights
    if token == after:
        told = "the mean of the patches beside a class token" if token else "the mean of normalized patches"
        raise UserError(
            f"this ViT of timm classifies {told}, ours the class token or the norm of a mean",
            hint="choose one with a class token",
        )


def their_names(weights: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Our weights under Hugging Face's names."""
    theirs = {ours: name for name, ours in HUGGING_FACE.items()}
    result = {}
    for name, array in weights.items():
        whole = name in theirs
        stem, _, part = name.rpartition(".")
        number = re.search(r"\.(\d+)\.", name)
        key = theirs[re.sub(r"\.\d+\.", ".#.", name if whole else stem, count=1)]
        key = key.replace("#", number[1] if number else "")
        array = array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
        result[key if whole else f"{key}.{part}"] = mx.contiguous(array)
    return result


def preprocessing(config: vit.Config) -> dict[str, Any]:
    """preprocessor_config.json: pictures scaled to the model's size, pixels / 255, normalized."""
    mean, std = (list(v) * (config.channels if len(v) == 1 else 1) for v in (config.mean, config.std))
    return {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": config.image_size, "width": config.image_size},
        "resample": 2,
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
    }


def _to_hugging_face(config: vit.Config, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.channels,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden or 4 * config.width,
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": config.norm_epsilon,
        "qkv_bias": True,
        "dtype": "float32",
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _from_hugging_face(
    settings: Mapping[str, Any], weights: Mapping[str, mx.array], pictures: Mapping[str, Any]
) -> tuple[vit.Config, tuple[str, ...]]:
    if settings.get("model_type") != "vit":
        raise ValueError(f"its model_type is {settings.get('model_type')!r}, not 'vit'")
    if settings.get("hidden_act", "gelu") != "gelu":
        raise ValueError(f"its activation is {settings['hidden_act']!r}, only gelu is known")
    if not settings.get("qkv_bias", True):
        raise ValueError("its queries, keys and values have no bias")
    named = settings.get("id2label") or {}
    labels = tuple(str(label) for _, label in sorted(named.items(), key=lambda pair: int(pair[0])))
    classes = len(weights["head.weight"]) if "head.weight" in weights else len(labels) or 2
    config = vit.Config(
        image_size=int(settings.get("image_size", 224)),
        patch_size=int(settings.get("patch_size", 16)),
        channels=int(settings.get("num_channels", 3)),
        classes=classes,
        layers=int(settings.get("num_hidden_layers", 12)),
        heads=int(settings.get("num_attention_heads", 12)),
        width=int(settings.get("hidden_size", 768)),
        hidden=int(settings.get("intermediate_size", 3072)),
        norm_epsilon=float(settings.get("layer_norm_eps", 1e-12)),
        mean=_means(pictures.get("image_mean", HALF), pictures.get("do_normalize", True), 0.0),
        std=_means(pictures.get("image_std", HALF), pictures.get("do_normalize", True), 1.0),
    )
    return config, _labels(labels, classes)


def _from_timm(
    settings: Mapping[str, Any], weights: Mapping[str, mx.array], pictures: Mapping[str, Any]
) -> tuple[vit.Config, tuple[str, ...]]:
    """timm's config.json names the architecture; the sizes are those of the weights."""
    architecture, own = str(settings["architecture"]), settings.get("pretrained_cfg") or {}
    if not architecture.startswith(("vit_", "deit_")):
        raise ValueError(f"its architecture is {architecture!r}, no plain ViT")
    kernel, positions = weights["patches.weight"], weights["positions"]
    if "token" in weights and settings.get("global_pool", "token") not in ("token", ""):
        raise ValueError(f"its global_pool is {settings['global_pool']!r}, beside a class token")
    width, patch, channels = kernel.shape[0], kernel.shape[1], kernel.shape[3]
    pool = "token" if "token" in weights else "mean"
    heads = (settings.get("model_args") or {}).get("num_heads") or (16 if width >= 1024 else width // 64)
    blocks = [int(found[1]) for name in weights if (found := re.match(r"layers\.(\d+)\.", name))]
    classes = len(weights["head.weight"]) if "head.weight" in weights else 2
    labels = tuple(map(str, own.get("label_names") or settings.get("label_names") or ()))
    config = vit.Config(
        image_size=isqrt(positions.shape[1] - (pool == "token")) * patch,
        patch_size=patch,
        channels=channels,
        classes=classes,
        layers=1 + max(blocks),
        heads=int(heads),
        width=width,
        hidden=weights["layers.0.up.weight"].shape[0],
        pool=pool,
        mean=_means(own.get("mean", HALF), True, 0.0),
        std=_means(own.get("std", HALF), True, 1.0),
    )
    return config, _labels(labels, classes)


def _means(values: Any, wanted: bool, neutral: float) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values) if wanted else (neutral,)
    return numbers[:1] if len(set(numbers)) == 1 else numbers


def _labels(found: tuple[str, ...], classes: int) -> tuple[str, ...]:
    return found if len(found) == classes else tuple(f"LABEL_{index}" for index in range(classes))


def _read(folder: Path) -> dict[str, mx.array]:
    """All weights of a folder, under our names, in float32."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        others = ", ".join(sorted(path.name for path in folder.glob("*.bin"))[:3])
        raise UserError(
            f"{folder} has no model.safetensors{f', only {others}' if others else ''}",
            hint="weights in pickles are not read; save the model as safetensors",
        )
    if sum(file.stat().st_size for file in files) > ARRAYS_MAX:
        raise UserError(f"the weights in {folder} are larger than {ARRAYS_MAX >> 30} GiB")
    weights: dict[str, mx.array] = {}
    for file in files:
        weights |= runs.read_weights(file)
    return {name: array.astype(mx.float32) for name, array in our_names(weights).items()}


def _downloaded(name: str) -> Path:
    """The folder of a model of the Hugging Face Hub, loaded where it is not yet in its cache."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"{name} is not there", hint="give a folder, or OWNER/NAME of the Hugging Face Hub")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(f"{name} is no folder", hint="pip install huggingface_hub loads it") from error
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "model*.safetensors"]))
    except Exception as error:  # of many types: no network, no such name, no access
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{name} is no folder, and the Hub does not give it: {told}", hint="check name and network"
        ) from error


__all__ = ["Pretrained", "load", "our_names", "preprocessing", "save", "their_names"]
