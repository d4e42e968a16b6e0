"""A translator in a package for Core ML or Core AI, a state for each translation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgevision.inference.beam import Rows
from edgevision.inference.captioner_coreml import CROSS, CoremlRows
from edgevision.jsonfiles import end_tokens, read_json
from edgevision.text.tokenizer import load_tokenizer


class PackageWriter:
    """As `edgevision export` writes it, with its tokenizer's files beside it."""

    def __init__(self, path: Path):
        import converters as cv

        files = [read_json(path.parent / name) for name in ("config.json", "generation_config.json")]
        config = {**files[0], **files[1]}
        self.tokenizer, self._model = load_tokenizer(path.parent), cv.load(path)
        self.end = end_tokens(config, config, self.tokenizer.end)[0]
        self.start = config.get("decoder_start_token_id", self.end)
        self.limit = int(config.get("max_length", 128))
        self.name = str(config.get("variant") or path.stem)
        self.runtime = self._model.runtime

    def rows(self, source: Sequence[int], count: int) -> Rows:
        """With a state each."""
        seen = self._model["encode"](inputIds=np.array([list(source)], np.int32))
        return CoremlRows(self._model, {name: seen[name] for name in CROSS}, count)


__all__ = ["PackageWriter"]
