"""One text in work by a language model in onnxruntime, its cache in one of two forms.

Files whose attention appends in place (`roomy_states` in their metadata) get buffers with room for tokens to
come, which are input and output at once: nothing is copied but when the room is doubled. For all others the
cache that a call gives is the input of the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

ROOM = 256  # tokens of the smallest buffer


def engine(session: Any, past: Mapping[str, str], empty: Mapping[str, Any]) -> Callable[[], Any]:
    """What starts a text.

    Args:
        past: the names of the cache's inputs, and of the outputs that carry them on.
        empty: the cache before the first token.
    """
    from converters.metadata import KEY

    known = session.get_modelmeta().custom_metadata_map.get(KEY)
    roomy = set(json.loads(known).get("roomy_states", ())) if known else set()
    kind = InPlace if roomy == set(past) else HandedOn
    return lambda: kind(session, past, empty)


class HandedOn:
    """The cache is handed from call to call."""

    def __init__(self, session: Any, past: Mapping[str, str], empty: Mapping[str, Any]):
        self.session, self.past = session, past
        self.outputs = [output.name for output in session.get_outputs()]
        self.fed = sorted({given.name for given in session.get_inputs()} - set(past))
        self.length, self.cache = 0, dict(empty)

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        arrays = _inputs(self.fed, ids, self.length)
        logits = self._run({name: _value(array) for name, array in arrays.items()})
        self.length += len(ids)
        return logits[0, -1].astype(np.float32)

    def _run(self, fed: Mapping[str, Any]) -> np.ndarray:
        results = self.session.run_with_ort_values(self.outputs, {**fed, **self.cache})
        named = dict(zip(self.outputs, results, strict=True))
        self.cache = {name: named[present] for name, present in self.past.items()}
        return named["logits"].numpy()


class InPlace(HandedOn):
    """The cache lies in buffers (1, H, S, D) with room for S tokens; what a step of one token takes
    and gives, in others."""

    def __init__(self, session: Any, past: Mapping[str, str], empty: Mapping[str, Any]):
        super().__init__(session, past, empty)
        self.arrays = {name: value.numpy() for name, value in empty.items()}
        self.binding = session.io_binding()
        self.room = 0
        (shape,) = (given.shape for given in session.get_outputs() if given.name == "logits")
        self.scores = np.zeros((1, 1, shape[-1]), np.float32)
        self.token = _inputs(self.fed, [0], 0)
        self.stepping = False  # whether the binding is that of a step

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        if self.length + len(ids) > self.room:
            self._widen(max(ROOM, 2 * (self.length + len(ids))))
        if len(ids) > 1:
            self.stepping = False
            return super().__call__(ids)
        return self._step(ids[0])

    def _widen(self, room: int) -> None:
        for name, old in self.arrays.items():
            batch, heads, _, width = old.shape
            new = np.zeros((batch, heads, room, width), old.dtype)
            new[:, :, : self.length] = old[:, :, : self.length]
            self.arrays[name] = new
            self.cache[name] = _value(new)
            self.binding.bind_ortvalue_input(name, self.cache[name])
            self.binding.bind_ortvalue_output(self.past[name], self.cache[name])
        self.room = room
        self.seen = np.ones((1, room), np.int64)

    def _step(self, token: int) -> np.ndarray:
        if not self.stepping:
            for name, array in self.token.items():
                self.binding.bind_ortvalue_input(name, _value(array))
            self.binding.bind_ortvalue_output("logits", _value(self.scores))
            self.stepping = True
        self.token["input_ids"][0, 0] = token
        if "position_ids" in self.token:
            self.token["position_ids"][0, 0] = self.length
        self.length += 1
        if "attention_mask" in self.token:
            self.binding.bind_ortvalue_input("attention_mask", _value(self.seen[:, : self.length]))
        self.session.run_with_iobinding(self.binding)
        return self.scores[0, -1].copy()

    def _run(self, fed: Mapping[str, Any]) -> np.ndarray:
        for name, value in fed.items():
            self.binding.bind_ortvalue_input(name, value)
        self.binding.bind_output("logits")
        self.session.run_with_iobinding(self.binding)
        return self.binding.get_outputs()[-1].numpy()


def _inputs(names: Sequence[str], ids: Sequence[int], length: int) -> dict[str, np.ndarray]:
    """What a call is fed beside the cache."""
    total = length + len(ids)
    every = {
        "input_ids": np.array([ids], np.int64),
        "attention_mask": np.ones((1, total), np.int64),
        "position_ids": np.arange(length, total, dtype=np.int64)[None],
        "num_logits_to_keep": np.array(1, np.int64),
    }
    return {name: every[name] for name in names}


def _value(array: np.ndarray) -> Any:
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


__all__ = ["engine"]
