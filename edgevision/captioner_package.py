"""A captioner as one package for Core ML or Core AI, with two functions that share their weights:

encode   image, a picture -> crossKeys, crossValues (N, H, S, D): what the decoder reads, computed once
step     inputIds (1, 1) and position (), with crossKeys and crossValues -> logits (1, 1, V), and
         crossAttention (1, H, 1, S): where the last block looked; the keys and values of the words so far
         are its state

N: layers, H: heads, S: features of the picture, D: size of a head, V: vocabulary, T: the most tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

import converters as cv
from converters import Spec
from converters.graph import Graph
from converters.storage import claim
from edgevision.models import captioner
from edgevision.pretrained_captioner import Captioner
from edgevision.stateful import FixedCache

CROSS = ("crossKeys", "crossValues")
LOOKED = "crossAttention"


class Stepper:
    """`(inputIds, position, crossKeys, crossValues, *states) -> (logits, *states, crossAttention)`."""

    def __init__(self, model: captioner.Model, tokens: int):
        self.model, config = model, model.config.decoder
        heads = config.key_value_heads or config.heads
        size = config.head_size or config.width // config.heads
        cross = Spec((config.layers, config.heads, model.config.features, config.width // config.heads))
        self.inputs = {"inputIds": Spec((1, 1), "int32"), "position": Spec((), "int32")}
        self.inputs |= dict.fromkeys(CROSS, cross)
        self.states: dict[str, str] = {}
        for layer in range(config.layers):
            for part in ("key", "value"):
                self.inputs[f"past.{layer}.{part}"] = Spec((1, heads, tokens, size))
                self.states[f"past.{layer}.{part}"] = f"present.{layer}.{part}"
        self.outputs = ["logits", *self.states.values(), LOOKED]

    def __call__(
        self, ids: mx.array, position: mx.array, keys: mx.array, values: mx.array, *past: mx.array
    ) -> tuple[mx.array, ...]:
        caches = []
        for own_keys, own_values in zip(past[::2], past[1::2], strict=True):
            cache = FixedCache()
            cache.keys, cache.values, cache.offset = own_keys, own_values, position
            caches.append(cache)
        memory = [(keys[layer : layer + 1], values[layer : layer + 1]) for layer in range(keys.shape[0])]
        positions = position.reshape(1, 1)
        looked: list[mx.array] = []
        logits = self.model.decoder(ids, cache=caches, positions=positions, memory=memory, looked=looked)
        return logits, *(array for cache in caches for array in (cache.keys, cache.values)), looked[-1]

    def capture(self) -> Graph:
        """The graph of one step."""
        return cv.capture(self, self.inputs, self.outputs, states=self.states, module=self.model)


def to_package(
    loaded: Captioner,
    folder: Path,
    precision: str | None = None,
    overwrite: bool = True,
    quantize: str | None = None,
    ending: str = ".mlpackage",
) -> Path:
    """`folder/captioner.mlpackage` (or `.aimodel`), or with the name of its quantization, and the
    tokenizer's files beside it; gives its path."""
    from edgevision.export_captioner import FILES, write_files

    model, side = loaded.model, loaded.model.config.image_size
    path = folder / f"captioner{f'_{quantize}' if quantize else ''}{ending}"
    claim(folder, [path.name, *FILES])

    def encode(pictures: mx.array) -> tuple[mx.array, mx.array]:
        memory = model.remember(model.encode(pictures))
        keys, values = zip(*memory, strict=True)
        return mx.concatenate(list(keys)), mx.concatenate(list(values))

    image = cv.Image(size=(side, side), color="rgb", scale=1 / 255)
    graphs = {
        "encode": cv.capture(encode, {"image": image}, list(CROSS), module=model),
        "step": Stepper(model, loaded.limit + 1).capture(),
    }
    metadata = {"task": "image-to-text", "source": f"edgevision captioner from {loaded.path.name}"}
    options: dict[str, Any] = {"precision": precision, "quantize": quantize, "metadata": metadata}
    path = cv.convert(graphs, path, overwrite=overwrite, **options)
    write_files(loaded, folder)
    return path


__all__ = ["CROSS", "LOOKED", "Stepper", "to_package"]
