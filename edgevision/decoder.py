"""A language model whose cache goes in and out as arrays: what a file can hold.

Models in the style of mlx-lm are called as `model(ids, cache=caches)` and change the caches in place. An
exported function keeps nothing, so the cache must be an argument and a result:

    decoder = StatelessDecoder(model)
    graph = cv.capture(decoder, decoder.inputs, decoder.outputs, dims=decoder.dims, states=decoder.states)

Nothing here depends on mlx-lm or on a class of it: a cache that has `update_and_fetch` grows by concatenation
(a window is kept by its mask), one with `caches` is a list, one with `cache` holds states of fixed shape.

B: batch, T: tokens of this call, P: tokens before it, H: heads of keys and values, D: size of a head.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from converters import Dim, Spec
from converters.sizes import sizes_in, substitute
from edgevision.errors import UserError

PROBES = ((2, 5), (3, 5), (2, 6))  # (batch, tokens): what differs between them names the sizes of a state


class GrowingCache:
    """Keys and values of every token so far, (B, H, P, D); `window` limits what a token sees of them, and
    `real` (B, P + T), where it is set, says which of them are text and which fill up a row."""

    def __init__(self, window: int | None = None):
        self.keys: mx.array | None = None
        self.values: mx.array | None = None
        self.real: mx.array | None = None
        self.window = window
        self.offset: Any = 0

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """(B, H, T, D) of the new tokens to (B, H, P + T, D) of all."""
        self.offset += keys.shape[2]
        self.keys = keys if self.keys is None else mx.concatenate([self.keys, keys], axis=2)
        self.values = values if self.values is None else mx.concatenate([self.values, values], axis=2)
        return self.keys, self.values

    def keys_and_values(self) -> tuple[mx.array | None, mx.array | None]:
        return self.keys, self.values

    @property
    def state(self) -> tuple[mx.array | None, mx.array | None]:
        return self.keys, self.values

    def size(self) -> int:
        return self.offset

    def empty(self) -> bool:
        return self.keys is None

    def maybe_trim_front(self) -> None:
        """Nothing is forgotten."""

    def make_mask(self, length: int, window_size: int | None = None, return_array: bool = False) -> Any:
        """(T, P + T), True where the token of a row sees that of a column; None where it sees all."""
        window = window_size or self.window
        if length == 1 and window is None and not return_array and self.real is None:
            return None
        rows = mx.arange(self.offset, self.offset + length)[:, None]
        columns = mx.arange(self.offset + length)[None]
        seen = rows >= columns
        seen = seen if window is None else seen & (rows < columns + window)
        if self.real is None:
            return seen
        real = self.real.astype(mx.bool_)[:, None, None]
        return seen & (real | (rows == columns))  # (B, 1, T, P + T); nobody sees nothing at all


@dataclass(frozen=True)
class Slot:
    """One array of the cache: where it lies, what it is called, its sizes."""

    path: tuple[int, ...]
    part: str | int
    spec: Spec

    @property
    def name(self) -> str:
        kind = "key_values" if isinstance(self.part, str) else "states"
        part = {"keys": "key", "values": "value"}.get(str(self.part), self.part)
        return f"{kind}.{'.'.join(map(str, self.path))}.{part}"

    @property
    def past(self) -> str:
        return f"past_{self.name}"

    @property
    def present(self) -> str:
        return "present" + self.name.removeprefix("key_values").replace("states", "_states", 1)


class StatelessDecoder:
    """`(ids, *past) -> (logits, *present)` of a model that keeps its cache in objects.

    Args:
        model: called as `model(ids, cache=caches)`, with `make_cache()` or a list `layers`.
        length: the size of ids' second axis: a name, or 1 for models that take one token a step, such as
            those with a recurrent state.

    Raises:
        UserError: where a cache is none of those that the module names.
    """

    def __init__(self, model: nn.Module, length: str | int = "length"):
        self.model, self.length = model, length
        self.slots = _slots(self._probe)
        named = {name for slot in self.slots for size in sizes_in(slot.spec.shape) for name in size.names()}
        self.dims = {"past": Dim(0)} if "past" in named else {}

    @property
    def inputs(self) -> dict[str, Spec]:
        """The ids, then every array of the cache."""
        return {"input_ids": Spec(("batch", self.length), "int32")} | {s.past: s.spec for s in self.slots}

    @property
    def outputs(self) -> list[str]:
        return ["logits", *(slot.present for slot in self.slots)]

    @property
    def states(self) -> dict[str, str]:
        """Which input each output becomes in the next step."""
        return {slot.past: slot.present for slot in self.slots}

    def __call__(self, ids: mx.array, *past: mx.array) -> tuple[mx.array, ...]:
        return self.run(ids, past)

    def run(
        self,
        ids: mx.array,
        past: Sequence[mx.array],
        kind: type[GrowingCache] = GrowingCache,
        position: mx.array | None = None,
    ) -> tuple[mx.array, ...]:
        """As `__call__`, with caches of another kind.

        Args:
            position: how many tokens there were; None: as many as `past` holds.
        """
        caches = self._caches(kind)
        for slot, array in zip(self.slots, past, strict=True):
            cache = _at(caches, slot.path)
            _put(cache, slot.part, array)
            if position is not None and isinstance(cache, GrowingCache):
                cache.offset = position
        logits = self.model(ids, cache=caches)
        return logits, *(_get(_at(caches, slot.path), slot.part) for slot in self.slots)

    def empty(self, batch: int = 1) -> list[mx.array]:
        """The cache before the first token."""
        sizes = {"batch": batch, "past": 0}
        specs = [slot.spec for slot in self.slots]
        return [mx.zeros(substitute(spec.shape, sizes), getattr(mx, spec.dtype)) for spec in specs]

    def _caches(self, kind: type[GrowingCache] = GrowingCache) -> list[Any]:
        if hasattr(self.model, "make_cache"):
            return [_stateless(cache, (i,), kind) for i, cache in enumerate(self.model.make_cache())]
        return [kind() for _ in self.model.layers]

    def _probe(self, batch: int, tokens: int) -> Sequence[Any]:
        caches = self._caches()
        self.model(mx.zeros((batch, tokens), mx.int32), cache=caches)
        return caches


def _stateless(cache: Any, path: tuple[int, ...], kind: type[GrowingCache]) -> Any:
    """The cache as one that can be filled from arrays; its class is kept for a model that asks for it."""
    if cache is None:
        return None
    same = copy.copy(cache)
    if hasattr(cache, "caches"):
        same.caches = tuple(_stateless(part, (*path, i), kind) for i, part in enumerate(cache.caches))
    elif isinstance(getattr(cache, "cache", None), list):
        same.cache = list(cache.cache)
    elif hasattr(cache, "update_and_fetch") and not getattr(cache, "keep", 0):
        growing = type(f"{kind.__name__}{type(cache).__name__}", (kind, type(cache)), {})
        same = growing(getattr(cache, "max_size", None))
        same.__dict__ = {**cache.__dict__, **same.__dict__}
    else:
        raise UserError(
            f"cache {'.'.join(map(str, path))} is a {type(cache).__name__}, which cannot be passed as arrays",
            hint="the model needs caches with update_and_fetch, or lists of arrays of fixed shape",
        )
    return same


def _leaves(caches: Sequence[Any], path: tuple[int, ...] = ()) -> Iterator[tuple[tuple, str | int, mx.array]]:
    for index, cache in enumerate(caches):
        here = (*path, index)
        if hasattr(cache, "caches"):
            yield from _leaves(cache.caches, here)
            continue
        parts = range(len(cache.cache)) if hasattr(cache, "cache") else ("keys", "values")
        for part in parts if cache is not None else ():
            array = _get(cache, part)
            if array is not None:
                yield here, part, array


def _slots(probe: Any) -> list[Slot]:
    """The arrays that a model leaves in its cache; sizes that differ with batch or tokens are named."""
    first, more_rows, more_tokens = (list(_leaves(probe(*sizes))) for sizes in PROBES)
    slots = []
    for (path, part, array), (_, _, taller), (_, _, longer) in zip(
        first, more_rows, more_tokens, strict=True
    ):
        shape = tuple(
            "batch" if a != b else "past" if a != c else a
            for a, b, c in zip(array.shape, taller.shape, longer.shape, strict=True)
        )
        slots.append(Slot(path, part, Spec(shape, str(array.dtype).removeprefix("mlx.core."))))
    return slots


def _at(caches: Sequence[Any], path: tuple[int, ...]) -> Any:
    cache = caches[path[0]]
    return _at(cache.caches, path[1:]) if len(path) > 1 else cache


def _get(cache: Any, part: str | int) -> Any:
    return cache.cache[part] if isinstance(part, int) else getattr(cache, part)


def _put(cache: Any, part: str | int, array: mx.array) -> None:
    if isinstance(part, int):
        cache.cache[part] = array
        return
    setattr(cache, part, array)
    cache.offset = array.shape[2]
