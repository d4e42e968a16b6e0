"""A captioner as a folder that transformers.js, optimum and others load as it is, and as a Core ML package.

DIR/onnx/encoder_model.onnx            pixel_values -> last_hidden_state
DIR/onnx/decoder_model_merged.onnx     one graph without branches: the first call has a cache of length 0
                                       beside both: _fp16, _quantized, _q4
DIR/config.json, generation_config.json, preprocessor_config.json, tokenizer.json, tokenizer_config.json
DIR/captioner.mlpackage, .aimodel      two functions, see `edgevision.captioner_package`

B: batch, S: features, E: their width, L: tokens of this call, P: tokens before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

import converters as cv
from converters import Spec
from converters.storage import claim, replacing_file
from edgevision.decoder import GrowingCache
from edgevision.errors import UsageError, UserError
from edgevision.export_language import STATEFUL
from edgevision.inference.captioner_onnx import LOOKED
from edgevision.jsonfiles import CAPTIONER
from edgevision.models import captioner, decoder_lm
from edgevision.pretrained_captioner import Captioner, load

SUFFIXES = {"float32": "", "float16": "_fp16", "int8": "_quantized", "int4": "_q4"}
DTYPES = {"": "fp32", "_fp16": "fp16", "_quantized": "q8", "_q4": "q4"}
FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def export_captioner(
    path: Path,
    targets: list[str],
    out: Path,
    precision: str | None = None,
    force: bool = False,
    quantize: str | None = None,
) -> list[Path]:
    """Write the captioner in `path` for each target; gives the paths: the folder `onnx`, the package.

    Raises:
        UsageError: an unknown target, precision or quantization.
        UserError: the model cannot be loaded, or has the prefix form and shall become a package.
    """
    for name, value, known in (
        *(("to", target, ("onnx", *STATEFUL)) for target in targets),
        ("precision", precision, ("float32", "float16")),
        ("quantize", quantize, ("int8", "int4")),
    ):
        if value is not None and value not in known:
            raise UsageError(f"--{name} {value!r} is unknown", hint=f"choose from {', '.join(known)}")
    loaded = load(path)
    if loaded.model.config.prefix and targets != ["onnx"]:
        raise UserError(
            "a captioner of the prefix form goes to ONNX only: packages hold one with cross-attention",
            hint="--to onnx",
        )
    paths = []
    if "onnx" in targets:
        paths.append(to_onnx_folder(loaded, out, precision, force, quantize))
    for ending in (ending for target, ending in STATEFUL.items() if target in targets):
        from edgevision.captioner_package import to_package

        paths.append(to_package(loaded, out, precision, force, quantize, ending))
    return paths


class Decoder:
    """`(input_ids, encoder_hidden_states, *past) -> (logits, *present, where the last block looked)`.

    In the prefix form the encoder gives the prefix's keys and values in each layer in place of features, so
    that no step computes them again, and the decoder does not tell where it looked.
    """

    def __init__(self, model: captioner.Model):
        self.model, config = model, model.config.decoder
        self.dims = {"past_sequence_length": cv.Dim(0)}
        heads = config.key_value_heads or config.heads
        head_size = config.head_size or config.width // config.heads
        batch, past = "batch_size", "past_sequence_length"
        self.shape = (2 * config.layers, heads, head_size)  # of a feature, in the prefix form
        prefix = model.config.prefix
        width = 2 * config.layers * heads * head_size if prefix else model.config.feature_width
        self.inputs = {
            "input_ids": Spec((batch, "sequence_length"), "int64"),
            "encoder_hidden_states": Spec((batch, model.config.features, width)),
        }
        self.states = {}
        for layer in range(config.layers):
            for part in ("key", "value"):
                self.inputs[f"past_key_values.{layer}.{part}"] = Spec((batch, heads, past, head_size))
                self.states[f"past_key_values.{layer}.{part}"] = f"present.{layer}.{part}"
        looked = [] if prefix else [f"{LOOKED}{config.layers - 1}"]
        self.outputs = ["logits", *self.states.values(), *looked]

    def __call__(self, ids: mx.array, features: mx.array, *past: mx.array) -> tuple[mx.array, ...]:
        caches = []
        for keys, values in zip(past[::2], past[1::2], strict=True):
            cache = GrowingCache()
            cache.keys, cache.values, cache.offset = keys, values, keys.shape[2]
            caches.append(cache)
        ids = ids.astype(mx.int32)
        looked: list[mx.array] = []
        if self.model.config.prefix:
            before = features.reshape(*features.shape[:2], *self.shape).transpose(2, 0, 3, 1, 4)
            logits = self.model.decoder(ids, cache=[Prefixed(*pair) for pair in _pairs(before, caches)])
        else:
            logits = self.model.decode(ids, self.model.remember(features), caches, looked)
        kept = (array for cache in caches for array in (cache.keys, cache.values))
        return logits, *kept, *looked[-1:]

    def encode(self, pixels: mx.array) -> mx.array:
        """(B, 3, H, W) in [0, 1] to what the decoder takes, (B, S, E)."""
        features = self.model.encode(pixels.transpose(0, 2, 3, 1))
        if not self.model.config.prefix:
            return features
        caches = [GrowingCache() for _ in self.model.decoder.layers]
        ids = mx.zeros((features.shape[0], 1), mx.int32)  # nothing before it sees it
        self.model.decoder(ids, cache=caches, prefix=self.model.bridge(features))
        arrays = [array for cache in caches for array in (cache.keys, cache.values) if array is not None]
        kept = mx.stack(arrays)[:, :, :, :-1]  # (2 N, B, H, S, D)
        return kept.transpose(1, 3, 0, 2, 4).reshape(*features.shape[:2], -1)


class Prefixed:
    """The cache of a layer, with keys and values of a prefix before those that it holds."""

    def __init__(self, keys: mx.array, values: mx.array, cache: GrowingCache):
        self._before, self._cache = (keys, values), cache
        self.offset = keys.shape[2] + cache.offset

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """(B, H, L, D) of new tokens in, (B, H, S + P + L, D) of all out."""
        arrays = zip(self._before, self._cache.update_and_fetch(keys, values), strict=True)
        keys, values = (mx.concatenate(list(pair), axis=2) for pair in arrays)
        return keys, values


def _pairs(before: mx.array, caches: list[GrowingCache]) -> Iterator[tuple[mx.array, mx.array, GrowingCache]]:
    """Keys and values (B, H, S, D) of each layer, of (2 N, B, H, S, D), with its cache."""
    for layer, cache in enumerate(caches):
        yield before[2 * layer], before[2 * layer + 1], cache


def to_onnx_folder(
    loaded: Captioner,
    folder: Path,
    precision: str | None = None,
    overwrite: bool = True,
    quantize: str | None = None,
) -> Path:
    """`folder/onnx` with both graphs, and the files beside it; gives `folder/onnx`."""
    model = loaded.model
    suffix = SUFFIXES[quantize or precision or "float32"]
    names = [f"{name}{suffix}.onnx" for name in ("encoder_model", "decoder_model_merged")]
    claim(folder, [*(f"onnx/{name}" for name in names), *FILES])
    side = model.config.image_size
    pixels = {"pixel_values": Spec(("batch_size", model.config.channels, side, side))}

    decoder = Decoder(model)
    encoder_graph = cv.capture(decoder.encode, pixels, ["last_hidden_state"], module=model)
    graphs = (
        encoder_graph,
        cv.capture(
            decoder, decoder.inputs, decoder.outputs, dims=decoder.dims, states=decoder.states, module=model
        ),
    )
    metadata = {"task": "image-to-text", "source": f"edgevision captioner from {loaded.path.name}"}
    options: dict[str, Any] = {"precision": precision, "quantize": quantize, "metadata": metadata}
    for name, graph, sample in zip(names, graphs, _samples(loaded, decoder), strict=True):
        if quantize is not None:
            options["calibration"] = [sample]
        cv.convert(graph, folder / "onnx" / name, overwrite=overwrite, **options)
    write_files(loaded, folder)
    return folder / "onnx"


def write_files(loaded: Captioner, folder: Path) -> None:
    """The JSON files beside the graphs."""
    side, end = loaded.model.config.image_size, loaded.end
    present = [s for s in SUFFIXES.values() if (folder / "onnx" / f"encoder_model{s}.onnx").is_file()]
    ids = {
        "eos_token_id": end,
        "pad_token_id": end,
        "bos_token_id": end,
        "decoder_start_token_id": loaded.start,
    }
    generation = {**ids, "max_length": loaded.limit + 1, "num_beams": 1, "do_sample": False}
    decoder = decoder_lm.to_hugging_face(loaded.model.config.decoder) | {"is_decoder": True} | ids
    config: dict[str, Any] = {
        "model_type": CAPTIONER,
        "is_encoder_decoder": True,
        "encoder": {"model_type": "vit", "image_size": side},
        "decoder": decoder,
        **ids,
    }
    if present:
        config["transformers.js_config"] = {"dtype": DTYPES[present[0]]}
    prepare = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": side, "width": side},
        **dict.fromkeys(("do_resize", "do_rescale", "do_normalize"), True),
        "resample": 3,
        "rescale_factor": 1 / 255,
        "image_mean": [0.0] * 3,
        "image_std": [1.0] * 3,
    }
    loaded.tokenizer.save(folder)
    for name, value in zip(FILES, (config, generation, prepare), strict=False):
        with replacing_file(folder / name) as new:
            new.write_text(json.dumps(value, indent=1))


def _samples(loaded: Captioner, decoder: Decoder) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs of the encoder and of a first call of the decoder."""
    config, random = loaded.model.config, np.random.default_rng(0)
    picture = random.random((1, config.channels, config.image_size, config.image_size), np.float32)
    features = decoder.encode(mx.array(picture))
    ids = random.integers(0, loaded.tokenizer.size, (1, min(8, config.decoder.context)))
    first = {"input_ids": ids, "encoder_hidden_states": np.array(features)}
    heads = config.decoder.key_value_heads or config.decoder.heads
    size = config.decoder.head_size or config.decoder.width // config.decoder.heads
    first |= {name: np.zeros((1, heads, 0, size), np.float32) for name in decoder.states}
    return {"pixel_values": picture}, first


__all__ = ["Decoder", "export_captioner", "to_onnx_folder", "write_files"]
