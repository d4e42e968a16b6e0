"""A language model whose cache has a fixed length and is kept by the runtime: Core ML's form.

    decoder = StatefulDecoder(model, context=512)
    prefill, step = decoder.capture("length"), decoder.capture(1)
    cv.convert({"prefill": prefill, "step": step}, "model.mlpackage")

New keys and values are written into the cache at a position, which the caller passes; what lies behind the
position is hidden by the mask. B is 1: a runtime keeps one conversation in one state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

import converters as cv
from converters.graph import Graph
from converters.sizes import substitute
from edgevision.decoder import GrowingCache, StatelessDecoder
from edgevision.errors import UserError

TOLERANCE = 0.03  # of the largest logit, with room for bfloat16


class FixedCache(GrowingCache):
    """Keys and values (1, H, S, D) of S tokens at most; `offset` is an int32 array: how many there are."""

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """(1, H, T, D) of the new tokens, written behind those before them; all S are given."""
        assert self.keys is not None
        assert self.values is not None
        at = mx.array(self.offset).reshape(1)
        self.keys = mx.slice_update(self.keys, keys, at, (2,))
        self.values = mx.slice_update(self.values, values, at, (2,))
        self.offset = self.offset + keys.shape[2]
        return self.keys, self.values

    def make_mask(self, length: int, window_size: int | None = None, return_array: bool = False) -> mx.array:
        """(T, S), True where the token of a row sees that of a column."""
        assert self.keys is not None
        window = window_size or self.window
        rows = (self.offset + mx.arange(length))[:, None]
        columns = mx.arange(self.keys.shape[2])[None]
        seen = rows >= columns
        return seen if window is None else seen & (rows < columns + window)


class StatefulDecoder:
    """`(ids, position, *states) -> (logits, *states)` of a model that keeps its cache in objects.

    Args:
        model: as `StatelessDecoder` takes it; positions must be allowed to be arrays.
        context: S, the tokens that the cache holds.

    Raises:
        UserError: where a cache cannot be passed as arrays.
    """

    def __init__(self, model: nn.Module, context: int):
        self.growing, self.context, self.checked = StatelessDecoder(model), context, False
        sizes = {"batch": 1, "past": context}
        self.slots = [
            replace(slot, spec=cv.Spec(substitute(slot.spec.shape, sizes), slot.spec.dtype))
            for slot in self.growing.slots
        ]

    @property
    def states(self) -> dict[str, str]:
        """Which input each output becomes in the next step."""
        return {slot.past: slot.present for slot in self.slots}

    def __call__(self, ids: mx.array, position: mx.array, *states: mx.array) -> tuple[mx.array, ...]:
        with _ranges_of_arrays(ids.shape[1], self.context):
            return self.growing.run(ids, states, FixedCache, position)

    def capture(self, length: int | str) -> Graph:
        """The graph for `length` tokens a call, or any number up to the context.

        Raises:
            UserError: the model computes something else with a cache of this kind.
        """
        self._check()
        specs = {"input_ids": cv.Spec((1, length), "int32"), "position": cv.Spec((), "int32")}
        specs |= {slot.past: slot.spec for slot in self.slots}
        outputs = ["logits", *(slot.present for slot in self.slots)]
        dims: dict[str, Any] | None = {length: (1, self.context)} if isinstance(length, str) else None
        return cv.capture(self, specs, outputs, dims=dims, states=self.states, module=self.growing.model)

    def _check(self) -> None:
        """A few tokens with a cache of fixed length and with one that grows must give the same."""
        if self.checked:
            return
        fixed, growing = self.empty(), self.growing.empty(1)
        for position in range(min(3, self.context)):
            ids = mx.array([[position + 1]], mx.int32)
            logits, *fixed = self(ids, mx.array(position), *fixed)
            wanted, *growing = self.growing(ids, *growing)
            a, b = (np.array(x.astype(mx.float32)) for x in (logits, wanted))
            if not np.allclose(a, b, rtol=0, atol=TOLERANCE * float(np.abs(b).max())):
                raise UserError(
                    "the model gives something else where its cache has a fixed length",
                    hint="it takes positions from the length of its keys; export it to ONNX",
                )
        self.checked = True

    def empty(self) -> list[mx.array]:
        """The states before the first token."""
        return [mx.zeros(slot.spec.shape, getattr(mx, slot.spec.dtype)) for slot in self.slots]  # type: ignore[arg-type]


@contextmanager
def _ranges_of_arrays(length: int, context: int) -> Iterator[None]:
    """`arange` with a position that is an array, as models spell it: from there on one for each of `length`
    tokens; from a number on, the columns of a mask, of which there are always `context`."""

    count = mx.arange

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def arange(*bounds: Any, **more: Any) -> Any:
            if not any(isinstance(bound, mx.array) for bound in bounds):
                return original(*bounds, **more)
            start = bounds[0] if len(bounds) > 1 else 0
            return count(length if isinstance(start, mx.array) else context - start) + start

        return arange

    before: list[tuple[Any, Any]] = [(module, module.arange) for module in (mx, np)]
    try:
        for module, original in before:
            module.arange = counting(original)
        yield
    finally:
        for module, original in before:
            module.arange = original


__all__ = ["FixedCache", "StatefulDecoder"]
