"""Encoding a text of 128 tokens in onnxruntime: the files of `edgevision export`, beside what PyTorch's
exporter makes of the same weights in transformers' BertModel."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgevision.benchmark.timing import in_turns
from edgevision.inference.writers import usable_cores

TOKENS = 128
TITLE = f"MiniLM-sized encoder (6 layers, 384 wide), {TOKENS} tokens, beside PyTorch"
ROUNDS = 40


def encoding_figures(folder: Path, rounds: int = ROUNDS, layers: int = 6) -> dict[str, str]:
    """Milliseconds of a text in turns, with random weights: any length, this length alone, and 8 bits.

    Args:
        folder: for files. rounds: turns, of which the median is told.
    """
    import torch
    from transformers import BertConfig, BertModel

    from edgevision.export_encoder import export_encoder
    from edgevision.text.tokenizer import train_wordpiece

    sizes: dict[str, Any] = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=30522, num_hidden_layers=layers, **sizes)).eval()
    run = folder / "minilm"
    run.mkdir(parents=True)
    with contextlib.redirect_stderr(io.StringIO()):
        model.save_pretrained(run)
    train_wordpiece(["any words will do"], 60, 512).save(run)
    files = {
        "any length": export_encoder(run, ["onnx"], folder / "any")[0],
        "this length": export_encoder(run, ["onnx"], folder / "fixed", length=TOKENS)[0],
        "int8, any length": export_encoder(run, ["onnx"], folder / "any", quantize="int8")[0],
        "PyTorch": _torch_export(model, folder / "theirs.onnx"),
    }
    runs = {name: _runner(path) for name, path in files.items()}
    nodes = {
        name: len(onnx.load(str(path), load_external_data=False).graph.node) for name, path in files.items()
    }
    expected = runs["PyTorch"]()[0]
    times = dict(zip(runs, in_turns(list(runs.values()), rounds), strict=True))
    rows = {}
    for name in list(runs)[:-1]:
        milliseconds, ratio = times[name]
        apart = np.abs(runs[name]()[0] - expected).max() / np.abs(expected).max()
        told = f"{1000 * milliseconds:.2f} ms, {ratio:.2f}x of PyTorch's {1000 * times['PyTorch'][0]:.2f}"
        rows[name] = f"{told}; {nodes[name]} nodes to {nodes['PyTorch']}; {apart:.0e} apart"
    return rows


def _runner(path: Path) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(0, 30522, (1, TOKENS))
    fed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return lambda: session.run(None, fed)


def _torch_export(model: Any, path: Path) -> Path:
    """For this length alone, which is what suits PyTorch's exporter best."""
    import torch

    class Features(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(input_ids, attention_mask, token_type_ids).last_hidden_state

    ids = torch.zeros((1, TOKENS), dtype=torch.int64)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Features(),
            (ids, torch.ones_like(ids), torch.zeros_like(ids)),
            str(path),
            input_names=["input_ids", "attention_mask", "token_type_ids"],
            dynamo=True,
            external_data=False,
        )
    return path


__all__ = ["TITLE", "encoding_figures"]
