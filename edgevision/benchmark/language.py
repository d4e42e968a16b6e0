"""Language models written by onnxruntime from our exports, beside onnxruntime-genai running its own builder's
export of the same weights, and beside transformers with PyTorch.

The builder knows no GPT-2, so that one is compared with PyTorch alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgevision.inference.writers import usable_cores

PROMPT, WRITTEN = 512, 24  # tokens of the prompt; tokens written after it
ROUNDS = 5
PLACES = (64, 512, 2048)  # tokens before those whose speed is told
MODELS = {"llama 6x384": "llama-6x384", "GPT-2 124M": "gpt2-124m", "Llama of GPT-2 124M's size": "gpt2-124m"}

Start = Callable[[np.ndarray], Callable[[int], Any]]  # the prompt's tokens; gives the step


def figures(title: str, folder: Path, quantize: str | None = None) -> dict[str, str]:
    """Time to the first token of a prompt of 512, and tokens per second after it, as ratios (above 1: ours is
    faster) from runs in turns; and our speed at several lengths.

    Args:
        title: one of MODELS. folder: for files. quantize: None for float32, or "int4".
    """
    run = _saved(title, folder / title.replace(" ", "-"))
    file, rows = _exported(run, quantize)
    ours = _ours(file)
    others: dict[str, Start] = {}
    if find_spec("onnxruntime_genai") and title != "GPT-2 124M":
        others["onnxruntime-genai"] = _genai(run, "int4" if quantize else "fp32")
    if find_spec("transformers"):
        others["transformers + torch"] = _torch(run)
    for name, other in others.items():
        first, speed = _in_turns(ours, other)
        rows[f"first token of {PROMPT}, beside {name}"] = f"{first:.2f} x"
        rows[f"tokens per second, beside {name}"] = f"{speed:.2f} x"
    rows["tokens per second after " + ", ".join(f"{place:,}" for place in PLACES)] = ", ".join(
        f"{_speed(ours, place):,.0f}" for place in PLACES
    )
    return rows


def _saved(title: str, folder: Path) -> Path:
    """A model with random weights in Hugging Face's format."""
    import mlx.core as mx

    from edgevision import pretrained
    from edgevision.models import decoder_lm
    from edgevision.text.tokenizer import train_tokenizer

    if (folder / "config.json").is_file():
        return folder
    folder.mkdir(parents=True)
    settings = decoder_lm.VARIANTS[MODELS[title]]
    settings = replace(settings, vocabulary=50257, context=PLACES[-1] + 2 * WRITTEN, dropout=0.0)
    if title.startswith("Llama"):
        settings = replace(settings, style="llama")
    mx.random.seed(0)
    tokenizer = train_tokenizer("bpe", ["some text"], 257)
    pretrained.save(folder, decoder_lm.Model(settings), tokenizer, {})
    return folder


EXPORT = """
import json, sys, time
from pathlib import Path
from edgevision.export_language import to_onnx_folder
from edgevision.pretrained import load
from edgevision.training.watch import peak_memory
import mlx.core as mx
from mlx.utils import tree_flatten
run, out, quantize = sys.argv[1:]
began = time.perf_counter()
loaded = load(Path(run))
mx.eval(loaded.model.parameters())
before = peak_memory()
file = to_onnx_folder(loaded, Path(out), quantize=quantize or None)
seconds = time.perf_counter() - began
weights = sum(array.nbytes for _, array in tree_flatten(loaded.model.parameters()))
print(json.dumps([str(file), seconds, peak_memory() - before, weights]))
"""


def _exported(run: Path, quantize: str | None) -> tuple[Path, dict[str, str]]:
    """The file, made by a process of its own; its seconds from the folder to the file, and its memory."""
    out = run.parent / f"{run.name}-onnx"
    command = [sys.executable, "-c", EXPORT, str(run), str(out), quantize or ""]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    file, seconds, memory, weights = json.loads(done.stdout.splitlines()[-1])
    told = f"{memory / 2**20:,.0f} MiB, {memory / weights:.2f} of its weights"
    return Path(file), {"export": f"{seconds:.1f} s", "memory of the export beyond the model": told}


def _ours(file: Path) -> Start:
    from edgevision.inference.writers import open_writer

    writer = open_writer(file)

    def start(prompt: np.ndarray) -> Callable[[int], Any]:
        engine = writer.start()
        engine(prompt.tolist())
        return lambda token: engine([token]).argmax()

    return start


def _genai(run: Path, precision: str) -> Start:
    import onnxruntime_genai as genai

    out = run.parent / f"{run.name}-builder-{precision}"
    if not (out / "model.onnx").is_file():
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        options = ["-i", run, "-o", out, "-p", precision, "-e", "cpu", "-c", run.parent / "cache"]
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        subprocess.run([*builder, *map(str, options)], check=True, capture_output=True, env=environment)
    config = json.loads((out / "genai_config.json").read_text())
    config["model"]["eos_token_id"] = config["model"]["vocab_size"] - 1  # random weights must not end early
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = usable_cores()
    (out / "genai_config.json").write_text(json.dumps(config))
    model = genai.Model(str(out))

    def start(prompt: np.ndarray) -> Callable[[int], Any]:
        options = genai.GeneratorParams(model)
        options.set_search_options(max_length=PLACES[-1] + 2 * WRITTEN, do_sample=False)
        generator = genai.Generator(model, options)
        generator.append_tokens(prompt.astype(np.int32))
        generator.generate_next_token()

        def step(token: int) -> None:
            generator.generate_next_token()

        return step

    return start


def _torch(run: Path) -> Start:
    import torch
    import transformers

    torch.set_num_threads(usable_cores())
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(run, dtype=torch.float32).eval()

    def start(prompt: np.ndarray) -> Callable[[int], Any]:
        with torch.inference_mode():
            held = model(torch.tensor(prompt[None]), use_cache=True, logits_to_keep=1).past_key_values

        def step(token: int) -> int:
            with torch.inference_mode():
                return int(model(torch.tensor([[token]]), past_key_values=held).logits[0, -1].argmax())

        return step

    return start


def _in_turns(ours: Start, other: Start) -> tuple[float, float]:
    """How many times as fast ours is: to the first token, and in the steps after it; medians of rounds."""
    first, speed = [], []
    for _ in range(ROUNDS + 1):
        (our_first, our_step), (their_first, their_step) = _measured(ours, PROMPT), _measured(other, PROMPT)
        first.append(their_first / our_first)
        speed.append(their_step / our_step)
    return median(first[1:]), median(speed[1:])  # the first round warms up


def _measured(start: Start, past: int) -> tuple[float, float]:
    """Seconds to the first token after `past`, and of a step after it, the median of WRITTEN."""
    prompt = np.random.default_rng(past).integers(0, 50000, past)
    began = time.perf_counter()
    step = start(prompt)
    ends = [time.perf_counter()]
    for token in range(WRITTEN):
        step(token)
        ends.append(time.perf_counter())
    return ends[0] - began, median(np.diff(ends))


def _speed(start: Start, past: int) -> float:
    return 1 / median(_measured(start, past)[1] for _ in range(3))


__all__ = ["MODELS", "figures"]
