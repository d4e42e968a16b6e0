"""A language model as swift-transformers runs it in Core ML: one state for the keys of all layers, one for
the values, and a mask that says how many tokens there are.

    decoder = StackedDecoder(model, context=512)
    cv.convert(decoder.capture(), "model.mlpackage")

inputIds (1, L) int32, fullAttentionMask (1, 1, L, P + L) float16, added to the scores: 0 where a token sees
another, -65504 where not. A model whose layers look back over a window takes slidingAttentionMask too, alike.
keyCache and valueCache (N, 1, H, S, D) hold S tokens; logits (1, L, V).

N: layers, L: tokens of this call, P: tokens before it, S: the most tokens, H: heads of keys, D: their size.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn

import converters as cv
from converters.graph import Graph
from edgevision.decoder import GrowingCache, StatelessDecoder
from edgevision.errors import UserError

FULL, SLIDING = "fullAttentionMask", "slidingAttentionMask"
SMALLEST = 256  # tokens of a state: capturing tries sizes of its own, which have to fit
STATES = {"keyCache": "keyCacheNext", "valueCache": "valueCacheNext"}


class StackedCache(GrowingCache):
    """The part of one layer in arrays that all layers share; `shared` holds them and the masks."""

    shared: Any
    layer: int

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """(1, H, L, D) of the new tokens, written behind the P before them; (1, H, P + L, D) of all."""
        first, end, at, shared = self.offset, self.offset + keys.shape[2], self.layer, self.shared
        shared.keys[at : at + 1, :, :, first:end] = keys[None]
        shared.values[at : at + 1, :, :, first:end] = values[None]
        self.offset = end
        return shared.keys[at, :, :, :end], shared.values[at, :, :, :end]

    def make_mask(self, length: int, window_size: int | None = None, return_array: bool = False) -> mx.array:
        """The mask that was given, of the kind that the layer wants."""
        return self.shared.sliding if window_size or self.window else self.shared.full


class StackedDecoder:
    """`(inputIds, fullAttentionMask, keyCache, valueCache) -> (logits, keyCache, valueCache)`.

    Args:
        model: as `StatelessDecoder` takes it.
        context: S, the tokens that the cache holds.

    Attributes:
        windowed: whether some layers look back over a window: then slidingAttentionMask is the third input.

    Raises:
        UserError: the layers do not all keep keys and values of one shape.
    """

    def __init__(self, model: nn.Module, context: int):
        self.growing, self.context = StatelessDecoder(model), context
        slots = self.growing.slots
        shapes = {slot.spec.shape for slot in slots}
        if len(shapes) != 1 or any(len(s.path) > 1 or not isinstance(s.part, str) for s in slots):
            raise UserError(
                "the layers of the model do not all keep keys and values of one shape",
                hint="converters.convert with edgevision.stateful.StatefulDecoder gives each layer its state",
            )
        _, heads, _, size = shapes.pop()
        self.layers = [slot.path[0] for slot in slots if slot.part == "keys"]
        self.shape = (len(self.layers), 1, heads, max(context, SMALLEST), size)
        self.windowed = any(cache.window for cache in self._caches(None))

    @property
    def inputs(self) -> dict[str, cv.Spec]:
        """As swift-transformers names them."""
        mask = cv.Spec((1, 1, "length", "past + length"), "float16")
        specs = {"inputIds": cv.Spec((1, "length"), "int32"), FULL: mask}
        if self.windowed:
            specs[SLIDING] = mask
        return specs | dict.fromkeys(STATES, cv.Spec(self.shape, "float32"))

    def __call__(self, ids: mx.array, full: mx.array, *given: mx.array) -> tuple[mx.array, ...]:
        *sliding, keys, values = given
        shared = SimpleNamespace(full=full, sliding=sliding[0] if sliding else None)
        shared.keys, shared.values = mx.array(keys), mx.array(values)  # they are written into
        caches = self._caches(shared, full.shape[3] - ids.shape[1])
        logits = self.growing.model(ids, cache=caches)
        return logits, shared.keys, shared.values

    def capture(self) -> Graph:
        """The graph for any number of tokens a call, up to the context with those before them."""
        outputs = ["logits", *STATES.values()]
        dims = {"past": cv.Dim(0)}  # no more, since each may only be as long as the other is short
        graph = cv.capture(self, self.inputs, outputs, dims, STATES, self.growing.model)
        return graph.replace(dims={"length": cv.Dim(1, self.context), "past": cv.Dim(0, self.context - 1)})

    def _caches(self, shared: Any, past: int = 0) -> list[Any]:
        caches = self.growing._caches(StackedCache)
        for place, index in enumerate(self.layers):
            cache = caches[index]
            cache.shared, cache.layer, cache.offset = shared, place, past
            cache.keys = cache.values = mx.zeros(0)  # not empty, for a model that asks
        return caches


__all__ = ["StackedDecoder"]
