"""A translator as a folder that transformers.js and others load as it is.

DIR/onnx/encoder_model.onnx            input_ids, attention_mask -> last_hidden_state
DIR/onnx/decoder_model_merged.onnx     one graph without branches: the first call has caches of length 0
                                       beside both: _fp16, _quantized, _q4
DIR/config.json, generation_config.json, tokenizer.json, tokenizer_config.json
DIR/translator.mlpackage, .aimodel     two functions, see `edgevision.translator_package`

The keys and values of the source are computed in the first call and handed on: the decoder computes those of
the tokens that `past_key_values.N.encoder` does not hold yet, all in the first call and none in the others.

B: batch, S: tokens of the source, W: width, L: tokens of this call, P: tokens before it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

import converters as cv
from converters import Spec
from converters.storage import claim, replacing_file
from edgevision.decoder import GrowingCache
from edgevision.errors import UsageError
from edgevision.export_captioner import DTYPES, SUFFIXES
from edgevision.export_language import STATEFUL
from edgevision.models import translator
from edgevision.pretrained_translator import Translator, load

FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def export_translator(
    path: Path,
    targets: list[str],
    out: Path,
    precision: str | None = None,
    force: bool = False,
    quantize: str | None = None,
) -> list[Path]:
    """Write the translator in `path` for each target; gives the paths: the folder `onnx`, the package.

    Raises:
        UsageError: an unknown target, precision or quantization.
        UserError: the model cannot be loaded.
    """
    for name, value, known in (
        *(("to", target, ("onnx", *STATEFUL)) for target in targets),
        ("precision", precision, ("float32", "float16")),
        ("quantize", quantize, ("int8", "int4")),
    ):
        if value is not None and value not in known:
            raise UsageError(f"--{name} {value!r} is unknown", hint=f"choose from {', '.join(known)}")
    loaded, paths = load(path), []
    if "onnx" in targets:
        paths.append(to_onnx_folder(loaded, out, precision, force, quantize))
    for ending in (ending for target, ending in STATEFUL.items() if target in targets):
        from edgevision.translator_package import to_package

        paths.append(to_package(loaded, out, precision, force, quantize, ending))
    return paths


class Decoder:
    """`(input_ids, encoder_hidden_states, encoder_attention_mask, *past) -> (logits, *present)`."""

    def __init__(self, model: translator.Model):
        self.model, config = model, model.config
        past, known = "past_decoder_sequence_length", "past_encoder_sequence_length"
        source = f"{known} + new_encoder_sequence_length"
        self.dims = {past: cv.Dim(0), known: cv.Dim(0), "new_encoder_sequence_length": cv.Dim(0)}
        self.shape = (config.heads, config.width // config.heads)
        heads, size = self.shape
        self.inputs = {
            "input_ids": Spec(("batch_size", "decoder_sequence_length"), "int64"),
            "encoder_hidden_states": Spec(("batch_size", source, config.width)),
            "encoder_attention_mask": Spec(("batch_size", source), "int64"),
        }
        self.states = {}
        for layer in range(config.layers):
            for side, length in (("decoder", past), ("encoder", known)):
                for part in ("key", "value"):
                    name = f"{layer}.{side}.{part}"
                    self.inputs[f"past_key_values.{name}"] = Spec(("batch_size", heads, length, size))
                    self.states[f"past_key_values.{name}"] = f"present.{name}"
        self.outputs = ["logits", *self.states.values()]

    def __call__(
        self, ids: mx.array, features: mx.array, mask: mx.array, *past: mx.array
    ) -> tuple[mx.array, ...]:
        caches, memory = [], []
        for index, layer in enumerate(self.model.decoder):
            keys, values, known_keys, known_values = past[4 * index : 4 * index + 4]
            cache = GrowingCache()
            cache.keys, cache.values, cache.offset = keys, values, keys.shape[2]
            caches.append(cache)
            new_keys, new_values = layer.cross.remember(features[:, known_keys.shape[2] :])
            arrays = ((known_keys, new_keys), (known_values, new_values))
            memory.append(tuple(mx.concatenate(list(pair), axis=2) for pair in arrays))
        logits = self.model.decode(ids.astype(mx.int32), memory, mask, caches)
        kept = ((c.keys, c.values, *m) for c, m in zip(caches, memory, strict=True))
        return logits, *(array for four in kept for array in four)

    def encode(self, ids: mx.array, mask: mx.array) -> mx.array:
        """(B, S) to (B, S, W)."""
        return self.model.encode(ids.astype(mx.int32), mask)


def to_onnx_folder(
    loaded: Translator,
    folder: Path,
    precision: str | None = None,
    overwrite: bool = True,
    quantize: str | None = None,
) -> Path:
    """`folder/onnx` with both graphs, and the files beside it; gives `folder/onnx`."""
    model, decoder = loaded.model, Decoder(loaded.model)
    suffix = SUFFIXES[quantize or precision or "float32"]
    names = [f"{name}{suffix}.onnx" for name in ("encoder_model", "decoder_model_merged")]
    claim(folder, [*(f"onnx/{name}" for name in names), *FILES])
    tokens = Spec(("batch_size", "encoder_sequence_length"), "int64")
    read = {"input_ids": tokens, "attention_mask": tokens}
    graphs = (
        cv.capture(decoder.encode, read, ["last_hidden_state"], module=model),
        cv.capture(
            decoder, decoder.inputs, decoder.outputs, dims=decoder.dims, states=decoder.states, module=model
        ),
    )
    metadata = {"task": "translation", "source": f"edgevision translator from {loaded.path.name}"}
    options: dict[str, Any] = {"precision": precision, "quantize": quantize, "metadata": metadata}
    for name, graph, sample in zip(names, graphs, _samples(loaded, decoder), strict=True):
        if quantize is not None:
            options["calibration"] = [sample]
        cv.convert(graph, folder / "onnx" / name, overwrite=overwrite, **options)
    write_files(loaded, folder)
    return folder / "onnx"


def write_files(loaded: Translator, folder: Path) -> None:
    """The JSON files beside the graphs."""
    present = [s for s in SUFFIXES.values() if (folder / "onnx" / f"encoder_model{s}.onnx").is_file()]
    settings = loaded.model.config
    config = translator.to_hugging_face(settings) | {"variant": loaded.config.get("variant")}
    config |= {"data": loaded.config.get("data")}
    if present:
        config["transformers.js_config"] = {"dtype": DTYPES[present[0]]}
    names = ("decoder_start_token_id", "pad_token_id", "bos_token_id", "eos_token_id")
    generation = {name: config[name] for name in names}
    generation |= {"max_length": loaded.limit, "num_beams": 1, "do_sample": False}
    loaded.tokenizer.save(folder)
    for name, value in zip(FILES, (config, generation), strict=False):
        with replacing_file(folder / name) as new:
            new.write_text(json.dumps(value, indent=1))


def _samples(loaded: Translator, decoder: Decoder) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs of the encoder and of a first call of the decoder."""
    random, length = np.random.default_rng(0), min(12, loaded.limit)
    ids, text = (random.integers(0, loaded.tokenizer.size, (1, length)) for _ in range(2))
    mask = np.ones((1, length), np.int64)
    features = np.array(decoder.encode(mx.array(ids), mx.array(mask)))
    heads, size = decoder.shape
    first = {"input_ids": text, "encoder_hidden_states": features, "encoder_attention_mask": mask}
    first |= {name: np.zeros((1, heads, 0, size), np.float32) for name in decoder.states}
    return {"input_ids": ids, "attention_mask": mask}, first


__all__ = ["Decoder", "export_translator", "to_onnx_folder", "write_files"]
