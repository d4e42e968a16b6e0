"""Writing text with a language model: the same loop for a run, ONNX, Core ML and folders of mlx-lm.

B: batch, L: tokens of a call, V: vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from edgevision.errors import UserError
from edgevision.inference.sampling import Sampler, Sampling
from edgevision.text.growing import GrowingText
from edgevision.text.tokenizer import Tokenizer


class Engine(Protocol):
    """One text in work: tokens in, logits out, the cache kept inside."""

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        """The tokens that follow those of earlier calls; gives the logits (V,) after the last."""
        ...


@dataclass(frozen=True)
class Writer:
    """An opened language model.

    Attributes:
        start: a new engine with an empty cache.
        context: the most tokens of prompt and text together. ends: tokens that end a text.
        runtime: what computes, for reports. precision: of the weights and the arithmetic of an artefact.
    """

    start: Callable[[], Engine]
    tokenizer: Tokenizer
    context: int
    ends: tuple[int, ...]
    runtime: str
    settings: dict[str, Any] = field(default_factory=dict)
    precision: str = "float32"


@dataclass
class Text:
    """What was written after a prompt.

    Attributes:
        text: without the prompt, the end token and the stop string.
        stopped: why it ended: "end" (the model's end token), "stop" (a stop string), "length", "context".
        prompt_seconds: until the first token. step_seconds: for all further ones.
    """

    prompt: str
    prompt_tokens: int
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    stopped: str = "length"
    prompt_seconds: float = 0.0
    step_seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Of the steps after the first token; None where there were none."""
        return (len(self.tokens) - 1) / self.step_seconds if len(self.tokens) > 1 else None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "prompt": self.prompt,
            "text": self.text,
            "tokens": self.tokens,
            "stopped": self.stopped,
            "prompt_tokens": self.prompt_tokens,
            "prompt_seconds": self.prompt_seconds,
            "prompt_tokens_per_second": self.prompt_tokens / max(self.prompt_seconds, 1e-9),
            "tokens_per_second": self.tokens_per_second,
        }


def generate(
    writer: Writer,
    prompt: str,
    sampling: Sampling,
    limit: int = 256,
    stop: Sequence[str] = (),
    truncate: bool = False,
    index: int = 0,
) -> tuple[Text, Iterator[str]]:
    """Begin a text; gives its record and the pieces of text as they come. The record is complete when the
    pieces are; it is true at every moment, also where nobody asks for the rest.

    Args:
        limit: tokens to write. stop: strings that end the text and are left out of it.
        truncate: keep the end of a prompt that is longer than the context.
        index: which text of a batch: it has draws of its own.

    Raises:
        UserError: the prompt is empty, too long, or not for this model.
    """
    ids = prompt_tokens(writer, prompt, truncate)
    record = Text(prompt, len(ids))
    return record, _pieces(writer, ids, record, Sampler(sampling, index), limit, [s for s in stop if s])


def prompt_tokens(writer: Writer, prompt: str, truncate: bool) -> list[int]:
    """The tokens of a prompt: at least one, and fewer than the context.

    Raises:
        UserError: there is none, or there are too many.
    """
    ids = writer.tokenizer.encode(prompt)
    if not ids:
        if writer.tokenizer.end is None:
            raise UserError("the prompt is empty", hint="give some text with --prompt")
        ids = [writer.tokenizer.end]  # what stands before the beginning of a text
    room = writer.context - 1
    if len(ids) > room:
        if not truncate:
            raise UserError(
                f"the prompt has {len(ids):,} tokens, the model takes {room:,} and one to write",
                hint="--truncate keeps its end",
            )
        ids = ids[-room:]
    return ids


def _pieces(
    writer: Writer, ids: list[int], record: Text, sampler: Sampler, limit: int, stop: list[str]
) -> Iterator[str]:
    engine, began = writer.start(), time.perf_counter()
    logits = engine(ids)
    longest = max(map(len, stop), default=0)
    shown, growing = 0, GrowingText(writer.tokenizer)
    for count in range(limit):
        token = sampler.choose(logits, ids + record.tokens)
        if count == 0:
            record.prompt_seconds = time.perf_counter() - began
            began = time.perf_counter()
        if token in writer.ends:
            record.stopped = "end"
            break
        if token >= writer.tokenizer.size:
            raise UserError(
                f"the model wrote token {token}, the tokenizer has {writer.tokenizer.size:,}",
                hint="take the tokenizer.json that belongs to the model",
            )
        record.tokens.append(token)
        text = growing.add(token)
        record.step_seconds = time.perf_counter() - began
        found = min((place for s in stop if (place := text.find(s)) >= 0), default=-1)
        if found >= 0:
            record.text, record.stopped = text[:found], "stop"
            break
        record.text = text
        ready = len(text) - max(0, longest - 1)  # what a stop string may still take back is held
        if ready > shown and not text.endswith("\ufffd"):
            yield text[shown:ready]
            shown = ready
        if count + 1 == limit:
            break
        if len(ids) + len(record.tokens) >= writer.context:
            record.stopped = "context"
            break
        logits = engine([token])
    if len(record.text) > shown:
        yield record.text[shown:]


def chat_prompt(tokenizer: Tokenizer, message: str) -> str:
    """A message in the form that the model was trained on, by the template of its tokenizer.

    Raises:
        UserError: there is no template, or it fails.
    """
    from edgevision.text.template import render
    from edgevision.text.tokenizer import token_text

    template = tokenizer.settings.get("chat_template")
    if isinstance(template, list):  # several by name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    if not isinstance(template, str):
        raise UserError("the model has no chat template", hint="leave --chat out")
    tokens = {name: token_text(tokenizer.settings.get(name)) or "" for name in ("bos_token", "eos_token")}
    return render(template, [{"role": "user", "content": message}], tokens)


__all__ = ["Engine", "Text", "Writer", "chat_prompt", "generate", "prompt_tokens"]
