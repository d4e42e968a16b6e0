"""A translator as one package for Core ML or Core AI, with two functions that share their weights:

encode   inputIds (1, S) -> crossKeys, crossValues (N, H, S, D): what the decoder reads, computed once
step     inputIds (1, 1) and position (), with crossKeys and crossValues -> logits (1, 1, V); the keys and
         values of the words so far are its state

N: layers, H: heads, S: tokens of the source, D: size of a head, V: vocabulary, T: the most tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

import converters as cv
from converters import Spec
from converters.graph import Graph
from converters.storage import claim
from edgevision.models import translator
from edgevision.pretrained_translator import Translator
from edgevision.stateful import FixedCache

CROSS = ("crossKeys", "crossValues")


class Stepper:
    """`(inputIds, position, crossKeys, crossValues, *states) -> (logits, *states)`."""

    def __init__(self, model: translator.Model, tokens: int):
        self.model, config = model, model.config
        size = config.width // config.heads
        self.dims = {"length": cv.Dim(1, config.context)}
        cross = Spec((config.layers, config.heads, "length", size))
        self.inputs = {"inputIds": Spec((1, 1), "int32"), "position": Spec((), "int32")}
        self.inputs |= dict.fromkeys(CROSS, cross)
        self.states: dict[str, str] = {}
        for layer in range(config.layers):
            for part in ("key", "value"):
                self.inputs[f"past.{layer}.{part}"] = Spec((1, config.heads, tokens, size))
                self.states[f"past.{layer}.{part}"] = f"present.{layer}.{part}"
        self.outputs = ["logits", *self.states.values()]

    def __call__(
        self, ids: mx.array, position: mx.array, keys: mx.array, values: mx.array, *past: mx.array
    ) -> tuple[mx.array, ...]:
        caches = []
        for own_keys, own_values in zip(past[::2], past[1::2], strict=True):
            cache = FixedCache()
            cache.keys, cache.values, cache.offset = own_keys, own_values, position
            caches.append(cache)
        memory = [(keys[layer : layer + 1], values[layer : layer + 1]) for layer in range(keys.shape[0])]
        logits = self.model.decode(ids, memory, None, caches, positions=position.reshape(1))
        return logits, *(array for cache in caches for array in (cache.keys, cache.values))

    def capture(self) -> Graph:
        """The graph of one step."""
        return cv.capture(
            self, self.inputs, self.outputs, dims=self.dims, states=self.states, module=self.model
        )


def to_package(
    loaded: Translator,
    folder: Path,
    precision: str | None = None,
    overwrite: bool = True,
    quantize: str | None = None,
    ending: str = ".mlpackage",
) -> Path:
    """`folder/translator.mlpackage` (or `.aimodel`), or with the name of its quantization, and the
    tokenizer's files beside it; gives its path."""
    from edgevision.export_translator import FILES, write_files

    model = loaded.model
    path = folder / f"translator{f'_{quantize}' if quantize else ''}{ending}"
    claim(folder, [path.name, *FILES])

    def encode(ids: mx.array) -> tuple[mx.array, mx.array]:
        keys, values = zip(*model.remember(model.encode(ids)), strict=True)
        return mx.concatenate(list(keys)), mx.concatenate(list(values))

    stepper = Stepper(model, loaded.limit + 1)
    source = {"inputIds": Spec((1, "length"), "int32")}
    graphs = {
        "encode": cv.capture(encode, source, list(CROSS), dims=stepper.dims, module=model),
        "step": stepper.capture(),
    }
    metadata = {"task": "translation", "source": f"edgevision translator from {loaded.path.name}"}
    options: dict[str, Any] = {"precision": precision, "quantize": quantize, "metadata": metadata}
    path = cv.convert(graphs, path, overwrite=overwrite, **options)
    write_files(loaded, folder)
    return path


__all__ = ["CROSS", "Stepper", "to_package"]
