"""A translator in a folder as `edgevision export` writes it, in onnxruntime.

R: rows, the translations of one sentence, S: its tokens, W: width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import UserError
from edgevision.inference.beam import Rows
from edgevision.inference.captioner_onnx import KINDS, session, value
from edgevision.jsonfiles import end_tokens, read_json
from edgevision.text.tokenizer import load_tokenizer


class OnnxWriter:
    """The most precise of the models in the folder, or that of one kind."""

    def __init__(self, path: Path, kind: str | None = None):
        config = {**read_json(path / "config.json"), **read_json(path / "generation_config.json")}
        self.tokenizer = load_tokenizer(path)
        found = [k for k in KINDS if (path / "onnx" / f"encoder_model{k}.onnx").is_file()]
        if not found or (kind is not None and kind not in found):
            raise UserError(f"{path / 'onnx'} holds no encoder_model{kind or ''}.onnx")
        kind = found[0] if kind is None else kind
        self._encoder = session(path / "onnx" / f"encoder_model{kind}.onnx")
        self._decoder = session(path / "onnx" / f"decoder_model_merged{kind}.onnx")
        self.end = end_tokens(config, config, self.tokenizer.end)[0]
        self.start = config.get("decoder_start_token_id", self.end)
        self.limit = int(config.get("max_length", 128))
        self.name = str(config.get("variant") or path.name)
        self.runtime = "onnxruntime"

    def rows(self, source: Sequence[int], count: int) -> Rows:
        """With keys and values kept."""
        ids = np.array([list(source)], np.int64)
        mask = np.ones_like(ids)
        fed = {"input_ids": ids, "attention_mask": mask}
        features = self._encoder.run(["last_hidden_state"], fed)[0]
        return _OnnxRows(self._decoder, *(np.repeat(array, count, axis=0) for array in (features, mask)))


class _OnnxRows:
    """The caches stay in onnxruntime's own arrays from step to step."""

    def __init__(self, decoder: Any, features: np.ndarray, mask: np.ndarray):
        self._session = decoder
        self._fed = {"encoder_hidden_states": value(features), "encoder_attention_mask": value(mask)}
        self._past: dict[str, Any] = {}
        for given in decoder.get_inputs():
            if given.name.startswith("past_key_values."):
                _, heads, _, size = given.shape
                kind = np.float16 if "float16" in given.type else np.float32
                self._past[given.name] = value(np.zeros((len(features), heads, 0, size), kind))
        self._carried = [name.replace("past_key_values", "present") for name in self._past]

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        ids = value(np.asarray(tokens, np.int64)[:, None])
        fed = {"input_ids": ids, **self._fed, **self._past}
        logits, *present = self._session.run_with_ort_values(["logits", *self._carried], fed)
        self._past = dict(zip(self._past, present, strict=True))
        return logits.numpy()[:, -1].astype(np.float32)

    def reorder(self, rows: np.ndarray) -> None:
        if not np.array_equal(rows, np.arange(len(rows))):
            for name, kept in self._past.items():
                if ".decoder." in name or len(rows) != kept.shape()[0]:
                    self._past[name] = value(kept.numpy()[rows])


__all__ = ["OnnxWriter"]
