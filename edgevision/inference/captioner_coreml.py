"""A captioner in a Core ML package, a state for each sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import UserError
from edgevision.inference.beam import Rows
from edgevision.jsonfiles import end_tokens, read_json
from edgevision.text.tokenizer import load_tokenizer

CROSS = ("crossKeys", "crossValues")
LOOKED = "crossAttention"


class CoremlWriter:
    """A .mlpackage as `edgevision export` writes it, with its tokenizer's files beside it."""

    def __init__(self, path: Path):
        import converters as cv

        config = {
            **read_json(path.parent / "config.json"),
            **read_json(path.parent / "generation_config.json"),
        }
        self.tokenizer, self._model = load_tokenizer(path.parent), cv.load(path)
        self.end = end_tokens(config, config, self.tokenizer.end)[0]
        self.start = config.get("decoder_start_token_id", self.end)
        self.limit = int(config.get("max_length", 32)) - 1
        self.side = int(read_json(path.parent / "preprocessor_config.json")["size"]["height"])
        self.runtime = self._model.runtime

    def look(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """crossKeys and crossValues."""
        return self._model["encode"](image=picture)

    def rows(self, seen: Any, count: int) -> Rows:
        """With a state each."""
        return CoremlRows(self._model, {name: seen[name] for name in CROSS}, count)

    def looked(self, picture: np.ndarray, tokens: list[int]) -> np.ndarray:
        """(H, L, S): where the last block looked after each of L tokens.

        Raises:
            UserError: the package does not tell.
        """
        if LOOKED not in self._model.signatures["step"].outputs:
            raise UserError("the package does not tell where the model looked", hint="export the run again")
        seen = self.look(picture)
        rows = CoremlRows(self._model, {name: seen[name] for name in CROSS}, 1)
        return np.concatenate([rows.fed(0, token)[LOOKED][0] for token in tokens], axis=1)


class CoremlRows:
    """Sentences side by side, a state for each; `seen` is what the function step reads at each word."""

    def __init__(self, model: Any, seen: dict[str, np.ndarray], count: int):
        self._step, self._seen = model["step"], seen
        self._new = lambda: model.new_state("step")
        self._states = [self._new() for _ in range(count)]
        self._texts: list[list[int]] = [[] for _ in range(count)]

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        logits = [self.fed(row, int(token))["logits"][:, -1] for row, token in enumerate(tokens)]
        return np.concatenate(logits).astype(np.float32)

    def fed(self, row: int, token: int) -> dict[str, np.ndarray]:
        """What one more token of a sentence gives."""
        position = np.int32(len(self._texts[row]))
        self._texts[row].append(token)
        arrays = {"inputIds": np.array([[token]], np.int32), "position": np.array(position), **self._seen}
        return self._step(state=self._states[row], **arrays)

    def reorder(self, rows: np.ndarray) -> None:
        """A sentence that goes on twice is read again into a state of its own: states cannot be copied."""
        texts, states, free = self._texts, self._states, set(range(len(self._states)))
        self._texts, self._states = [], []
        for place, row in enumerate(rows.tolist()):
            if row in free:
                free.remove(row)
                self._texts.append(texts[row])
                self._states.append(states[row])
                continue
            self._texts.append([])
            self._states.append(self._new())
            for token in texts[row]:
                self.fed(place, token)


__all__ = ["CoremlRows", "CoremlWriter"]
