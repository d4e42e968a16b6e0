"""Training: one function, for every model."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from edgevision import blas
from edgevision.allocator import kept_memory
from edgevision.console import console
from edgevision.data.batches import Ahead, Batch
from edgevision.errors import UserError
from edgevision.training import checkpoints
from edgevision.training.optimizer import build_optimizer
from edgevision.training.recipe import Recipe
from edgevision.training.step import Measured, Step
from edgevision.training.watch import Metrics, draw_curve, peak_memory, progress_bar

LOOK_EVERY = 50  # steps between two looks at the loss
SAVE_EVERY = 500  # steps between two checkpoints
IN_FLIGHT = 2  # steps that are given to the device before the first of them is done


class Interrupted(UserError):
    """Ctrl-C: the state is saved, and the message says how to go on."""


class Task(Protocol):
    """What is learnt: batches, the loss of a model on one, and how good the model is in the end.

    unit: what is counted as speed. per_step: how many of them a step takes. answers: how many of these are
    right or wrong, 0 where accuracy is not told. per_epoch: steps.
    """

    unit: str
    per_step: int
    answers: int
    per_epoch: int

    def at(self, step: int) -> Batch:
        """The batch of a step, from 0, the same in every run; called on other threads."""
        ...

    def loss(self, model: nn.Module, *batch: mx.array) -> Measured:
        """Mean loss and right answers of one batch; traced."""
        ...

    def measure(self, model: nn.Module, last: bool) -> dict[str, Any]:
        """How good the model is; quicker where it is not the last time."""
        ...


def train(model: nn.Module, task: Task, recipe: Recipe, out: Path, resume: bool = False) -> dict[str, Any]:
    """Train `model` in place; give what `task.measure` found, the loss, seconds, speed and bytes.

    `out` gets `metrics.jsonl`, `curve.png` and `checkpoints/`. With the same recipe, data and machine the
    weights are the same to the bit on the CPU, also when the training was interrupted and resumed.

    Args:
        resume: go on from the newest checkpoint in `out`, from the beginning where there is none.

    Raises:
        Interrupted: by Ctrl-C, after a checkpoint was written.
        UserError: the loss or a weight is not a number; the last good checkpoint is kept.
    """
    steps = recipe.total_steps(task.per_epoch)
    optimizer = build_optimizer(recipe, steps)
    optimizer.init(model.trainable_parameters())
    step = Step(model, optimizer, task.loss, recipe)
    start, unseen = _restore(step, out) if resume else (0, [])
    metrics = Metrics(out / "metrics.jsonl", keep_to_step=start)
    earlier, began = metrics.seconds(), time.monotonic()
    batches = Ahead(task.at, start, steps)
    measure_every = recipe.evaluate_every or task.per_epoch
    found: dict[str, Any] = {}

    def seconds() -> float:
        return round(earlier + time.monotonic() - began, 3)

    threads = blas.threads(recipe.blas_threads)
    with progress_bar() as bar, deferred_interrupt() as interrupted, threads, kept_memory():
        shown = bar.add_task("training", total=steps, completed=start, told="")
        for done, batch in enumerate(batches, start + 1):
            unseen.append(step(*map(mx.array, batch)))
            mx.async_eval(unseen[-1])
            mx.eval(unseen[-IN_FLIGHT:][0])
            if done % LOOK_EVERY == 0 or done == steps:
                seen = _look(unseen, task.answers, done)
                metrics.write(step=done, **seen, seconds=seconds())
                speed = (done - start) * task.per_step / (time.monotonic() - began)
                told = [f"{name} {value:.3f}" for name, value in seen.items()]
                told += [f"{speed:,.0f} {task.unit}/s", f"{peak_memory() / 2**20:,.0f} MiB"]
                bar.update(shown, completed=done, told="  ".join(told))
            if done % measure_every == 0 or done == steps:
                found = step.measured(lambda model, last=done == steps: task.measure(model, last))
                metrics.write(step=done, **{f"test_{name}": found[name] for name in found}, seconds=seconds())
            if done % SAVE_EVERY == 0 or done == steps or interrupted:
                checkpoints.save(out, done, _state(step, unseen))
            if interrupted and done < steps:
                raise Interrupted(
                    f"stopped after step {done} of {steps}",
                    hint="the same command with --resume goes on",
                    code=130,
                )
    step.keep_average()
    draw_curve(metrics.records, out / "curve.png")
    return _results(metrics, task, steps - start, time.monotonic() - began, batches.waited)


def _look(unseen: list[Measured], answers: int, step: int) -> dict[str, float]:
    """Mean loss, and accuracy where it is told, since the last look; empties the list."""
    losses = np.array([np.array(loss) for loss, _ in unseen], np.float64)
    hits = sum(int(np.array(right)) for _, right in unseen)
    first = step - len(unseen) + 1
    unseen.clear()
    if not np.isfinite(losses).all():
        wrong = int(np.flatnonzero(~np.isfinite(losses))[0])
        raise UserError(
            f"the loss is {losses[wrong]} at step {first + wrong}",
            hint="lower the learning rate; the last good checkpoint is kept",
        )
    told = {"loss": float(losses.mean())}
    return told | ({"accuracy": hits / (len(losses) * answers)} if answers else {})


def _results(metrics: Metrics, task: Task, steps: int, seconds: float, waited: float) -> dict[str, Any]:
    """The newest measurements, and what this process needed for its steps."""
    return {
        **metrics.newest("test_"),
        "loss": metrics.last("loss"),
        "seconds": metrics.seconds(),
        f"{task.unit}_per_second": round(steps * task.per_step / seconds) if steps else None,
        "cpu_seconds": round(time.process_time()),
        "share_waiting_for_data": round(waited / seconds, 4) if steps else None,
        "peak_memory_bytes": peak_memory(),
    }


def _state(step: Step, unseen: list[Measured]) -> dict[str, Any]:
    """All that the next step and the next look depend on, beside the recipe and the number of the step."""
    tree = step.state()
    if unseen:
        losses, hits = zip(*unseen, strict=True)
        tree["unseen"] = {"losses": mx.stack(list(losses)), "hits": mx.stack(list(hits))}
    return tree


def _restore(step: Step, out: Path) -> tuple[int, list[Measured]]:
    """Put the newest checkpoint back; gives its step and what was measured since the last look."""
    found = checkpoints.load(out)
    if found is None:
        console.print("no checkpoint yet: training from the beginning")
        return 0, []
    number, tree = found
    step.restore(tree)
    console.print(f"resumed after step {number}")
    unseen = tree.get("unseen")
    return number, list(zip(unseen["losses"], unseen["hits"], strict=True)) if unseen else []


@contextmanager
def deferred_interrupt() -> Iterator[list[int]]:
    """A list that Ctrl-C or SIGTERM makes non-empty, so that the step in work is finished.

    The second signal stops at once.
    """
    caught: list[int] = []

    def note(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # signals are the main thread's
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["Interrupted", "Task", "deferred_interrupt", "train"]
