"""A translated sentence in onnxruntime, beside transformers.js with the same files under Node and beside
transformers with PyTorch and the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgevision.benchmark.captions import asked, missing
from edgevision.benchmark.timing import timed
from edgevision.inference.writers import usable_cores

TOKENS = 15
TITLE = f"translator, a sentence of {TOKENS} tokens to {TOKENS}, greedy"
ROUNDS = 60
SCRIPT = Path(__file__).with_name("translation.mjs")


def translation_figures(folder: Path, rounds: int = ROUNDS) -> dict[str, str]:
    """Milliseconds of a sentence, and how many times as long others take, in turns: the translator of
    Multi30k with random weights, in float32.

    Args:
        folder: for files. rounds: turns, of which the median is told.
    """
    from edgevision.export_translator import export_translator
    from edgevision.inference.translation import open_translator, translate

    run, sentence = _saved(folder / "translator")
    out = run.with_name("translator-exported")
    export_translator(run, ["onnx"], out)
    writer = open_translator(out)

    def ours() -> str:
        return translate(writer, sentence)

    text = ours()
    rows = {}
    others: dict[str, Callable[..., Any]] = {"transformers.js": _node, "transformers and PyTorch": _torch}
    for name, other in others.items():
        with other(run, out, sentence, text) as theirs:
            if theirs is None:
                rows[name] = "not compared: it is not installed"
                continue
            turns = [(timed(ours), theirs()) for _ in range(rounds + 3)][3:]
        mine, ratio = median(t for t, _ in turns), median(t / m for m, t in turns)
        rows[name] = f"{1000 * mine:.1f} ms, {ratio:.2f} x its speed"
    return rows


def _saved(run: Path) -> tuple[Path, str]:
    """A translator with random weights whose translations are cut at TOKENS, and a sentence as long."""
    import mlx.core as mx
    from mlx.utils import tree_map

    from edgevision import pretrained_translator
    from edgevision.models import translator
    from edgevision.text.tokenizer import train_tokenizer
    from edgevision.training.translating_run import VOCABULARY

    run.mkdir(parents=True)
    random = np.random.default_rng(0)
    words = ["".join(random.choice([*"etaoinshrdlu"], random.integers(2, 9))) for _ in range(9000)]
    tokenizer = train_tokenizer("bpe", [" ".join(words)], VOCABULARY, TOKENS)
    end = tokenizer.size - 1
    mx.random.seed(0)
    model = translator.Model(translator.Config(tokenizer.size, TOKENS, start=end, end=end))
    model.update(tree_map(lambda w: w + mx.random.normal(w.shape, scale=0.05), model.parameters()))
    model.bias = mx.where(mx.arange(tokenizer.size) == end, -1e4, 0.0)  # no sentence ends early
    pretrained_translator.save(run, model, tokenizer, {})
    ids = random.integers(300, end, 4 * TOKENS).tolist()
    sentence = tokenizer.decode(ids)
    return run, tokenizer.decode(tokenizer.encode(sentence.strip())[:TOKENS]).strip()


@contextmanager
def _node(run: Path, folder: Path, sentence: str, text: str) -> Iterator[Callable[[], float] | None]:
    """Gives seconds of one translation, which is `text`; None without Node or transformers.js."""
    if missing() is not None:
        yield None
        return
    arguments = [str(folder), "fp32", str(usable_cores()), str(TOKENS), sentence]
    with asked(SCRIPT, arguments, text) as write:
        yield write


@contextmanager
def _torch(run: Path, folder: Path, sentence: str, text: str) -> Iterator[Callable[[], float] | None]:
    """Gives seconds of one translation; None without transformers or PyTorch."""
    try:
        import torch
        from transformers import MarianMTModel
    except ImportError:
        yield None
        return
    from edgevision.text.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(run)
    model: Any = MarianMTModel.from_pretrained(run).eval()
    threads = torch.get_num_threads()
    torch.set_num_threads(usable_cores())

    def write() -> str:
        ids = torch.tensor([tokenizer.encode(sentence)])
        with torch.inference_mode():
            found = model.generate(ids, max_length=TOKENS + 1, num_beams=1, do_sample=False)
        return tokenizer.decode(found[0].tolist()).strip()

    assert write() == text, "PyTorch writes another sentence"
    yield lambda: timed(write)
    torch.set_num_threads(threads)


__all__ = ["TITLE", "translation_figures"]
