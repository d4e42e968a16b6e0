"""A captioner in a folder as `edgevision export` writes it, in onnxruntime.

R: rows, the sentences about one picture, S: features, E: their width, H: heads, P: tokens so far.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from converters.targets.onnx.load import check_file
from edgevision.errors import UserError
from edgevision.inference.beam import Rows
from edgevision.jsonfiles import end_tokens, read_json
from edgevision.text.tokenizer import load_tokenizer

KINDS = ("", "_fp16", "_quantized", "_q4")
LOOKED = "cross_attentions."  # where the last block looked, as optimum names it


class OnnxWriter:
    """The most precise of the models in the folder."""

    def __init__(self, path: Path):
        config = {**read_json(path / "config.json"), **read_json(path / "generation_config.json")}
        self.tokenizer = load_tokenizer(path)
        kind = next((n for n in KINDS if (path / "onnx" / f"encoder_model{n}.onnx").is_file()), None)
        if kind is None:
            raise UserError(f"{path / 'onnx'} holds no encoder_model.onnx")
        self._encoder = session(path / "onnx" / f"encoder_model{kind}.onnx")
        self._decoder = session(path / "onnx" / f"decoder_model_merged{kind}.onnx")
        self.end = end_tokens(config, config, self.tokenizer.end)[0]
        self.start = config.get("decoder_start_token_id", self.end)
        self.limit = int(config.get("max_length", 32)) - 1
        prepared = read_json(path / "preprocessor_config.json")
        self.side = int(prepared["size"]["height"])
        self._mean, self._std = (np.float32(prepared[name]) for name in ("image_mean", "image_std"))
        self.runtime = "onnxruntime"

    def look(self, picture: np.ndarray) -> np.ndarray:
        """The features (1, S, E)."""
        pixels = ((picture - self._mean) / self._std).transpose(0, 3, 1, 2)
        fed = {"pixel_values": np.ascontiguousarray(pixels, np.float32)}
        return self._encoder.run(["last_hidden_state"], fed)[0]

    def rows(self, seen: Any, count: int) -> Rows:
        """With keys and values kept."""
        return _OnnxRows(self._decoder, np.repeat(seen, count, axis=0))

    def looked(self, picture: np.ndarray, tokens: list[int]) -> np.ndarray:
        """(H, L, S): where the last block looked after each of L tokens.

        Raises:
            UserError: the file does not tell.
        """
        name = next((o.name for o in self._decoder.get_outputs() if o.name.startswith(LOOKED)), None)
        if name is None:
            raise UserError("the files do not tell where the model looked", hint="export the run again")
        return _OnnxRows(self._decoder, self.look(picture)).looked(tokens, name)


class _OnnxRows:
    """The cache stays in onnxruntime's own arrays from step to step."""

    def __init__(self, session: Any, features: np.ndarray):
        self._session, self._features = session, value(features)
        self._past: dict[str, Any] = {}
        for given in session.get_inputs():
            if given.name.startswith("past_key_values."):
                _, heads, _, size = given.shape
                kind = np.float16 if "float16" in given.type else np.float32
                self._past[given.name] = value(np.zeros((len(features), heads, 0, size), kind))
        self._carried = [name.replace("past_key_values", "present") for name in self._past]

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        ids = value(np.asarray(tokens, np.int64)[:, None])
        fed = {"input_ids": ids, "encoder_hidden_states": self._features, **self._past}
        logits, *present = self._session.run_with_ort_values(["logits", *self._carried], fed)
        self._past = dict(zip(self._past, present, strict=True))
        return logits.numpy()[:, -1].astype(np.float32)

    def looked(self, tokens: list[int], name: str) -> np.ndarray:
        """The output of that name for the first row, (H, L, S), all tokens at once."""
        ids = value(np.array([tokens], np.int64))
        fed = {"input_ids": ids, "encoder_hidden_states": self._features, **self._past}
        return self._session.run_with_ort_values([name], fed)[0].numpy()[0].astype(np.float32)

    def reorder(self, rows: np.ndarray) -> None:
        if not np.array_equal(rows, np.arange(len(rows))):
            self._past = {name: value(kept.numpy()[rows]) for name, kept in self._past.items()}


def session(path: Path) -> Any:
    """With a thread on each core that this process may use: onnxruntime's default is all there are."""
    import onnxruntime as ort

    if not path.is_file():
        raise UserError(f"{path} is not there")
    check_file(path)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if hasattr(os, "sched_getaffinity"):
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, one for each status
        raise UserError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error


def value(array: np.ndarray) -> Any:
    """An array as onnxruntime holds it."""
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


__all__ = ["KINDS", "LOOKED", "OnnxWriter", "session", "value"]
