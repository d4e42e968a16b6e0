"""Training: one function, for every model."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from rich.progress import Progress

from edgevision import blas
from edgevision.allocator import kept_memory
from edgevision.console import console
from edgevision.data.batches import Ahead, Batch
from edgevision.errors import UserError
from edgevision.training import checkpoints, memory
from edgevision.training.best import Best
from edgevision.training.group import Group, lost
from edgevision.training.optimizer import build_optimizer
from edgevision.training.recipe import Recipe
from edgevision.training.recomputed import recomputed_blocks
from edgevision.training.step import Measured, Step
from edgevision.training.watch import Clock, Metrics, Watcher, draw_curve, peak_memory, progress_bar

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

    def score(self, measured: dict[str, Any]) -> float:
        """What `measure` found as one number, the larger the better."""
        ...


def train(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    out: Path,
    resume: bool = False,
    memory_limit: int | None = None,
    watchers: Sequence[Watcher] = (),
) -> dict[str, Any]:
    """Train `model` in place; give what `task.measure` found, the loss, seconds, speed and bytes.

    `out` gets `metrics.jsonl`, `curve.png` and `checkpoints/`. With the same recipe, data and machine the
    weights are the same to the bit on the CPU, also when the training was interrupted and resumed.

    Args:
        resume: go on from the newest checkpoint in `out`, from the beginning where there is none.
        memory_limit: bytes that MLX's arrays may take.
        watchers: are told every record of `metrics.jsonl`.

    Raises:
        Interrupted: by Ctrl-C, after a checkpoint was written.
        UserError: the loss or a weight is not a number, or the limit is passed; the last good checkpoint is
            kept.
    """
    steps, group = recipe.total_steps(task.per_epoch), Group()
    optimizer = build_optimizer(recipe, steps, model)
    optimizer.init(model.trainable_parameters())
    step, best = Step(model, optimizer, task.loss, recipe, group), Best(out, recipe)
    start, unseen = _restore(step, best, out, group) if resume else (0, [])
    metrics = Metrics(out / "metrics.jsonl", start, watchers)
    batches = Ahead(task.at, start, start if best.exhausted else steps)
    measure_every = recipe.evaluate_every or task.per_epoch
    with _prepared(model, recipe, memory_limit, out) as (bar, interrupted):
        shown = bar.add_task("training", total=steps, completed=start, told="", visible=group.is_first)
        clock = Clock(metrics.seconds())
        for done, batch in enumerate(batches, start + 1):
            unseen.append(step(*map(mx.array, batch)))
            mx.async_eval(unseen[-1])
            mx.eval(unseen[-IN_FLIGHT:][0])
            ends = done == steps
            measures = done % measure_every == 0 or ends
            looks = done % LOOK_EVERY == 0 or measures
            if looks:
                seen = _look(unseen, task.answers, done, out)
                metrics.write(step=done, **seen, seconds=clock.seconds())
                bar.update(shown, completed=done, told=_told(seen, task, (done - start) / clock.own()))
                memory.check(memory_limit, done)
            if measures:
                with step.averaged():
                    found = task.measure(model, ends)
                    best.note(done, task.score(found), model)
                named = {f"test_{name}": value for name, value in found.items()}
                metrics.write(step=done, **named, seconds=clock.seconds())
                ends = ends or group.agree(best.exhausted)
            stops = bool(interrupted) if group.size == 1 else looks and group.agree(bool(interrupted))
            if done % SAVE_EVERY == 0 or ends or stops:
                checkpoints.save(out, done, _state(step, best, unseen))
            if ends:
                break
            if stops:
                raise Interrupted(
                    f"stopped after step {done} of {steps}",
                    hint="the same command with --resume goes on",
                    code=130,
                )
    step.keep_average()
    best.keep(model)
    draw_curve(metrics.records, out / "curve.png")
    return _results(metrics, task, best, start, clock, batches.waited)


@contextmanager
def _prepared(
    model: nn.Module, recipe: Recipe, memory_limit: int | None, out: Path
) -> Iterator[tuple[Progress, list[int]]]:
    """The progress bar, and the list that an interrupt makes non-empty; the process is set up."""
    memory.respect(memory_limit)
    threads, blocks = blas.threads(recipe.blas_threads), recomputed_blocks(model, recipe.recompute)
    with progress_bar() as bar, deferred_interrupt() as interrupted, threads, kept_memory(), blocks:
        try:
            yield bar, interrupted
        except RuntimeError as error:
            if (told := lost(error, checkpoints.kept(out))) is None:
                raise
            raise told from error


def _look(unseen: list[Measured], answers: int, step: int, out: Path) -> dict[str, float]:
    """Mean loss, and accuracy where it is told, since the last look; empties the list. UserError where a loss
    is no number."""
    losses = np.array([np.array(loss) for loss, _ in unseen], np.float64)
    hits = sum(int(np.array(right)) for _, right in unseen)
    first = step - len(unseen) + 1
    unseen.clear()
    if not np.isfinite(losses).all():
        wrong = int(np.flatnonzero(~np.isfinite(losses))[0])
        raise UserError(
            f"the loss is {losses[wrong]} at step {first + wrong}; {checkpoints.kept(out)}",
            hint="lower the learning rate",
        )
    told = {"loss": float(losses.mean())}
    return told | ({"accuracy": hits / (len(losses) * answers)} if answers else {})


def _told(seen: dict[str, float], task: Task, steps_per_second: float) -> str:
    """The line beside the progress bar."""
    told = [f"{name} {value:.3f}" for name, value in seen.items()]
    speed = steps_per_second * task.per_step
    return "  ".join([*told, f"{speed:,.0f} {task.unit}/s", f"{peak_memory() / 2**20:,.0f} MiB"])


def _results(
    metrics: Metrics, task: Task, best: Best, start: int, clock: Clock, waited: float
) -> dict[str, Any]:
    """What was measured of the weights that are kept, and what this process needed for its steps."""
    last = metrics.last("step") or 0
    kept = best.kept_step or last
    steps = last - start
    return {
        **metrics.measured_at(kept),
        "kept_step": kept,
        "loss": metrics.last("loss"),
        "seconds": metrics.seconds(),
        f"{task.unit}_per_second": round(steps * task.per_step / clock.own()) if steps else None,
        "cpu_seconds": round(time.process_time()),
        "share_waiting_for_data": round(waited / clock.own(), 4) if steps else None,
        "peak_memory_bytes": peak_memory(),
    }


def _state(step: Step, best: Best, unseen: list[Measured]) -> dict[str, Any]:
    """All that the next step and the next look depend on, beside the recipe and the number of the step."""
    tree = {**step.state(), "best": best.state()}
    if unseen:
        losses, hits = zip(*unseen, strict=True)
        tree["unseen"] = {"losses": mx.stack(list(losses)), "hits": mx.stack(list(hits))}
    return tree


def _restore(step: Step, best: Best, out: Path, group: Group) -> tuple[int, list[Measured]]:
    """Put the newest checkpoint of process 0 back, in all processes; gives its step and what was measured
    since the last look."""
    found = checkpoints.load(out) if group.is_first else None
    number, count = 0, 0
    if found:
        told = found[1].pop("unseen", None)
        checkpoints.check(out, found[1], _state(step, best, []))
        number, count = found[0], len(told["losses"]) if told else 0
        found[1].update({"unseen": told} if told else {})
    number, count = np.array(group.shared({"place": mx.array([number, count])})["place"]).tolist()
    if not number:
        console.print("no checkpoint yet: training from the beginning")
        return 0, []
    blank = [(mx.array(0.0), mx.array(0))] * count
    tree = group.shared(found[1] if found else _state(step, best, blank))
    step.restore(tree)
    best.restore(tree["best"])
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
