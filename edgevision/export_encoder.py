"""An encoder of text as a folder that transformers.js and others load as it is, and as packages.

DIR/onnx/model.onnx       input_ids, attention_mask, token_type_ids (B, L) -> logits, or last_hidden_state
                          beside it: _fp16, _quantized, _q4
DIR/config.json, tokenizer.json, tokenizer_config.json
DIR/encoder_lm.mlpackage, .aimodel     the same with B = 1

B: texts, L: tokens of a text; free, or fixed by `length`, then short texts are filled up and masked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

import converters as cv
from converters import Spec
from converters.graph import Graph
from converters.storage import claim, replacing_file
from edgevision.errors import UsageError
from edgevision.export_captioner import DTYPES, SUFFIXES
from edgevision.export_language import STATEFUL
from edgevision.inference.encoding import TASKS
from edgevision.models import encoder_lm
from edgevision.pretrained_encoder import Encoder, load

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def export_encoder(
    path: Path,
    targets: list[str],
    out: Path,
    precision: str | None = None,
    force: bool = False,
    quantize: str | None = None,
    length: int | None = None,
) -> list[Path]:
    """Write the encoder in `path` for each target; gives the paths: an .onnx, packages.

    Args:
        length: tokens of every text; None for any number of them.

    Raises:
        UsageError: an unknown target, precision or quantization, or a length that the model does not take.
        UserError: the model cannot be loaded.
    """
    for name, value, known in (
        *(("to", target, ("onnx", *STATEFUL)) for target in targets),
        ("precision", precision, ("float32", "float16")),
        ("quantize", quantize, ("int8", "int4")),
    ):
        if value is not None and value not in known:
            raise UsageError(f"--{name} {value!r} is unknown", hint=f"choose from {', '.join(known)}")
    loaded = load(path)
    limit = loaded.model.config.context
    if length is not None and not 2 <= length <= limit:
        raise UsageError(f"--context {length} is not to be had", hint=f"the model takes 2 to {limit} tokens")
    paths = []
    for target in dict.fromkeys(targets):
        if target == "onnx":
            file = Path("onnx") / f"model{SUFFIXES[quantize or precision or 'float32']}.onnx"
        else:
            file = Path(f"encoder_lm{f'_{quantize}' if quantize else ''}{STATEFUL[target]}")
        claim(out, [str(file), *FILES])
        graph = capture(loaded, length, "batch_size" if target == "onnx" else 1)
        task = TASKS[loaded.model.config.head]
        options: dict[str, Any] = {"precision": precision, "quantize": quantize}
        options["metadata"] = {"task": task, "source": f"edgevision encoder_lm from {loaded.path.name}"}
        if quantize is not None:
            options["calibration"] = [_sample(loaded, length)]
        paths.append(cv.convert(graph, out / file, overwrite=force, **options))
        write_files(loaded, out)
    return paths


def capture(loaded: Encoder, length: int | None = None, batch: str | int = "batch_size") -> Graph:
    """The graph that clients of BERT expect: token numbers, masks and kinds as int64."""
    model, config = loaded.model, loaded.model.config
    tokens = Spec((batch, "sequence_length" if length is None else length), "int64")

    def encode(ids: mx.array, mask: mx.array, kinds: mx.array) -> mx.array:
        return model(ids.astype(mx.int32), mask, kinds.astype(mx.int32))

    dims = {"sequence_length": cv.Dim(1, config.context)} if length is None else {}
    output = "last_hidden_state" if config.head == "features" else "logits"
    return cv.capture(encode, dict.fromkeys(INPUTS, tokens), [output], dims=dims, module=model)


def write_files(loaded: Encoder, folder: Path) -> None:
    """The JSON files beside the graphs."""
    present = [s for s in SUFFIXES.values() if (folder / "onnx" / f"model{s}.onnx").is_file()]
    config = encoder_lm.to_hugging_face(loaded.model.config, loaded.labels)
    config |= {name: loaded.config[name] for name in ("variant", "data") if name in loaded.config}
    if present:
        config["transformers.js_config"] = {"dtype": DTYPES[present[0]]}
    loaded.tokenizer.save(folder)
    with replacing_file(folder / "config.json") as new:
        new.write_text(json.dumps(config, indent=1))


def _sample(loaded: Encoder, length: int | None) -> dict[str, np.ndarray]:
    """A text of random tokens."""
    shape = (1, length or min(32, loaded.model.config.context))
    ids = np.random.default_rng(0).integers(0, loaded.tokenizer.size, shape)
    return dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))


__all__ = ["capture", "export_encoder", "write_files"]
