"""A language model as a folder that transformers.js and onnxruntime-genai load as it is.

DIR/onnx/model.onnx                 float32; beside it model_fp16.onnx, model_quantized.onnx, model_q4.onnx
DIR/config.json, tokenizer.json, tokenizer_config.json, generation_config.json      as Hugging Face has them
DIR/genai_config.json               onnxruntime-genai's
DIR/<name>.mlpackage, .aimodel      Core ML and Core AI, the cache as their state

The model may be ours or anything of mlx-lm whose cache can go in and out as arrays (`edgevision.decoder`).

B: batch, L: tokens of this call, P: tokens before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

import converters as cv
from converters import Dim, Spec
from converters.storage import claim, replacing_file
from edgevision.decoder import GrowingCache, StatelessDecoder
from edgevision.errors import UsageError, UserError
from edgevision.jsonfiles import text_setting
from edgevision.models import decoder_lm
from edgevision.pretrained import LanguageModel, load
from edgevision.stacked import StackedDecoder

CONTEXT = 2048
STATEFUL = {"coreml": ".mlpackage", "coreai": ".aimodel"}  # their cache is inside

ONNX_NAMES = {
    "float32": "model.onnx",
    "float16": "model_fp16.onnx",
    "int8": "model_quantized.onnx",
    "int4": "model_q4.onnx",
}
DTYPES = {
    "model.onnx": "fp32",
    "model_fp16.onnx": "fp16",
    "model_quantized.onnx": "q8",
    "model_q4.onnx": "q4",
}
SIZES = {"batch": "batch_size", "past": "past_sequence_length", "length": "sequence_length"}
FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "genai_config.json",
)


class ClientDecoder(StatelessDecoder):
    """`(input_ids, attention_mask, position_ids, *past) -> (logits, *present)`, as clients call a decoder.

    The mask (B, P + L) is 0 where a row of a batch is filled up. Our models take position_ids, which clients
    of this layout feed; where positions are rotary they are not read: tokens stand one after the other, and
    only the distances between them count. Models of mlx-lm do not take them.
    """

    def __init__(self, model: Any):
        super().__init__(model)
        self.positioned = isinstance(model, decoder_lm.Model)
        self.tabled = isinstance(model, decoder_lm.Model) and model.config.style == "gpt2"
        if not all(isinstance(slot.part, str) for slot in self.slots):
            raise UserError(
                "the model keeps more than keys and values, which the clients of a folder cannot name",
                hint="converters.capture with edgevision.decoder.StatelessDecoder converts it",
            )
        self.dims = {"past_sequence_length": Dim(0)}

    @property
    def inputs(self) -> dict[str, Spec]:
        """The names and shapes that clients know."""
        batch, length, past = "batch_size", "sequence_length", "past_sequence_length"
        specs = {
            "input_ids": Spec((batch, length), "int64"),
            "attention_mask": Spec((batch, f"{past} + {length}"), "int64"),
        }
        if self.positioned:
            specs["position_ids"] = Spec((batch, length), "int64")
        for slot in self.slots:
            shape = tuple(SIZES.get(str(size), size) for size in slot.spec.shape)
            specs[slot.past] = Spec(shape, slot.spec.dtype)
        return specs

    def __call__(self, ids: mx.array, *given: mx.array) -> tuple[mx.array, ...]:
        """`given`: attention_mask, position_ids where they are an input, and the cache."""
        mask, *rest = given
        positions, past = (rest[0], rest[1:]) if self.positioned else (None, rest)
        caches = self._caches()
        for slot, array in zip(self.slots, past, strict=True):
            cache = self.cache_of(caches, slot)
            setattr(cache, str(slot.part), array)
            cache.offset, cache.real = array.shape[2], mask
        ids = ids.astype(mx.int32)
        if positions is None or not self.tabled:
            logits = self.model(ids, cache=caches)
        else:
            logits = self.model(ids, cache=caches, positions=positions.astype(mx.int32))
        return logits, *(getattr(self.cache_of(caches, slot), str(slot.part)) for slot in self.slots)

    @staticmethod
    def cache_of(caches: Any, slot: Any) -> GrowingCache:
        """The cache that holds a slot."""
        cache = caches[slot.path[0]]
        for index in slot.path[1:]:
            cache = cache.caches[index]
        return cache


def export_language(
    path: Path,
    targets: list[str],
    out: Path,
    precision: str | None = None,
    force: bool = False,
    quantize: str | None = None,
    context: int | None = None,
) -> list[Path]:
    """Write the language model in `path` for each target; gives the paths of the artefacts.

    Args:
        context: tokens that a package for Core ML or Core AI keeps; default the model's, CONTEXT at most.

    Raises:
        UsageError: an unknown target, precision or quantization, or more context than the model has.
        UserError: the model cannot be loaded.
    """
    schemes = ("int8", "int4") if "onnx" in targets else ("int8", "int4", "palette4", "palette6", "palette8")
    for name, value, known in (
        *(("to", target, ("onnx", *STATEFUL)) for target in targets),
        ("precision", precision, ("float32", "float16")),
        ("quantize", quantize, schemes),
    ):
        if value is not None and value not in known:
            raise UsageError(f"--{name} {value!r} is unknown", hint=f"choose from {', '.join(known)}")
    loaded = load(path)
    if context is not None and not 2 <= context <= loaded.context:
        raise UsageError(f"--context is {context:,}, expected 2 to the model's {loaded.context:,}")
    context = context or min(loaded.context, CONTEXT)
    name = str(loaded.config.get("model") or loaded.path.resolve().name)
    suffix = f"_{quantize}" if quantize else ""
    packages = [out / f"{name}{suffix}{ending}" for target, ending in STATEFUL.items() if target in targets]
    if packages:
        beside = [name for name in FILES if not name.startswith("genai")]
        claim(out, [*(package.name for package in packages), *beside])
    paths = []
    if "onnx" in targets:
        paths.append(to_onnx_folder(loaded, out, precision, force, quantize))
    paths += [to_package(loaded, path, context, precision, force, quantize) for path in packages]
    return paths


def to_onnx_folder(
    loaded: LanguageModel,
    folder: Path,
    precision: str | None = None,
    overwrite: bool = True,
    quantize: str | None = None,
) -> Path:
    """`folder/onnx/model.onnx`, or its smaller relatives, and the files beside it."""
    decoder = ClientDecoder(loaded.model)
    graph = cv.capture(
        decoder,
        decoder.inputs,
        decoder.outputs,
        dims=decoder.dims,
        states=decoder.states,
        module=loaded.model,
    )
    graph = graph.replace(dims=_bounded(graph.dims, loaded.context))
    name = ONNX_NAMES[quantize or precision or "float32"]
    claim(folder, [f"onnx/{name}", *FILES])
    metadata = {"task": "text-generation", "source": _source(loaded)}
    options: dict[str, Any] = {"precision": precision, "quantize": quantize, "metadata": metadata}
    if quantize is not None:
        options["calibration"] = [_sample(loaded, decoder)]
    options["runtime"] = "onnxruntime"  # all clients are: its attention appends to the cache in place
    path = cv.convert(graph, folder / "onnx" / name, overwrite=overwrite, **options)
    write_files(loaded, folder)
    return path


def _bounded(dims: Mapping[str, Dim], context: int) -> dict[str, Dim]:
    """The bounds that the longest text gives: tables of positions end there."""
    highest = {"past_sequence_length": context - 1, "sequence_length": context}
    known = {name: Dim(dims[name].low, high) for name, high in highest.items() if name in dims}
    return {**dims, **known}


def to_package(
    loaded: LanguageModel,
    path: Path,
    context: int,
    precision: str | None = None,
    overwrite: bool = True,
    quantize: str | None = None,
) -> Path:
    """The package for Core ML or Core AI, its cache a state, and the files of a tokenizer beside it.

    Raises:
        UserError: the layers of the model do not all keep keys and values of one shape.
    """
    decoder = StackedDecoder(loaded.model, context)
    window = text_setting(loaded.config, "sliding_window")
    entries = {"co.huggingface.exporters.name": path.stem}  # where swift-transformers looks
    if decoder.windowed and window is not None:
        entries["co.huggingface.exporters.sliding_window"] = str(window)
    metadata = {"task": "text-generation", "source": _source(loaded), "user_defined": entries}
    options: dict[str, Any] = {"precision": precision, "quantize": quantize, "metadata": metadata}
    path = cv.convert(decoder.capture(), path, overwrite=overwrite, **options)
    write_files(loaded, path.parent)
    return path


def _source(loaded: LanguageModel) -> str:
    return f"{loaded.config.get('model_type')} from {loaded.path.name}"


def write_files(loaded: LanguageModel, folder: Path) -> None:
    """The JSON files beside the graphs."""
    present = [name for name in ONNX_NAMES.values() if (folder / "onnx" / name).is_file()]
    client = {"transformers.js_config": {"dtype": DTYPES[present[0]]}} if present else {}
    ends = list(loaded.ends)
    end = ends[0] if len(ends) == 1 else ends or None
    config = {name: value for name, value in loaded.config.items() if name not in RUN_FACTS} | client
    content = {
        "config.json": config | {"eos_token_id": end},
        "generation_config.json": loaded.generation | {"eos_token_id": end},
    }
    if present:
        content["genai_config.json"] = _genai(loaded, f"onnx/{present[0]}")
    loaded.tokenizer.save(folder)
    for name, value in content.items():
        with replacing_file(folder / name) as new:
            new.write_text(json.dumps(value, indent=1))


RUN_FACTS = (
    "format",
    "model",
    "variant",
    "config",
    "data",
    "training",
    "result",
    "machine",
    "quantization_config",
)


def _genai(loaded: LanguageModel, file: str) -> dict[str, Any]:
    """genai_config.json: "llama" is what onnxruntime-genai calls every decoder of this layout. Where a prompt
    ends in the padding token it would be misread, so padding is a token that no prompt has."""
    layers = len(getattr(loaded.model, "layers", ()))
    return {
        "model": {
            "type": "llama",
            "vocab_size": loaded.vocabulary,
            "context_length": loaded.context,
            "eos_token_id": list(loaded.ends) or loaded.vocabulary,
            "pad_token_id": loaded.vocabulary,
            "decoder": {"filename": file, "num_hidden_layers": layers},
        },
        "search": {"max_length": loaded.context, "do_sample": False},
    }


def _sample(loaded: LanguageModel, decoder: ClientDecoder, length: int = 16) -> dict[str, np.ndarray]:
    """Inputs of a first call on random tokens."""
    length = min(length, loaded.context)
    ids = np.random.default_rng(0).integers(0, loaded.vocabulary, (1, length))
    arrays = {"input_ids": ids, "attention_mask": np.ones((1, length), np.int64)}
    if decoder.positioned:
        arrays["position_ids"] = np.arange(length, dtype=np.int64)[None]
    empty = zip(decoder.slots, decoder.empty(), strict=True)
    return arrays | {slot.past: np.array(array.astype(mx.float32)) for slot, array in empty}


__all__ = ["ClientDecoder", "export_language", "to_onnx_folder", "to_package", "write_files"]
