"""Training a classifier: one function, with a compiled step."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from edgevision.console import console
from edgevision.data import ImageSet
from edgevision.data.batches import Batches, moved, normalized
from edgevision.errors import UserError
from edgevision.training import checkpoints
from edgevision.training.recipe import Recipe
from edgevision.training.watch import Metrics, draw_curve, peak_memory, progress_bar

LOOK_EVERY = 50  # steps between two looks at the loss; each look waits for the device
SAVE_EVERY = 500  # steps between two checkpoints


class Interrupted(UserError):
    """Ctrl-C: the state is saved, and the message says how to go on."""


def train(
    model: nn.Module, data: ImageSet, test: ImageSet, recipe: Recipe, out: Path, resume: bool = False
) -> dict[str, Any]:
    """Train `model` in place; give the results (accuracy, losses, seconds).

    `out` gets `metrics.jsonl`, `curve.png` and `checkpoints/`. With the same recipe, data and machine the
    weights are the same to the bit, also when the training was interrupted and resumed.

    Raises:
        Interrupted: by Ctrl-C, after a checkpoint was written.
        UserError: the loss is not a number; the last good checkpoint is kept.
    """
    batches = Batches(data, recipe.batch_size, recipe.seed, recipe.shift)
    steps = recipe.steps if recipe.steps is not None else recipe.epochs * batches.per_epoch
    optimizer = optim.AdamW(learning_rate=schedule(recipe, steps), weight_decay=recipe.weight_decay)
    optimizer.init(model.trainable_parameters())
    settings = {**asdict(recipe), "steps": steps, "pictures": len(data)}
    start = _restore(model, optimizer, checkpoints.load(out / "checkpoints", settings)) if resume else 0
    step_once = compiled_step(model, optimizer, recipe)
    metrics = Metrics(out / "metrics.jsonl", keep_to_step=start)
    began, losses, right = time.monotonic(), [], []
    seconds_before = max((r.get("seconds", 0.0) for r in metrics.records), default=0.0)

    def save(step: int) -> None:
        checkpoints.save(out / "checkpoints", step, _state(model, optimizer), settings)

    with progress_bar() as bar, _deferred_interrupt() as interrupted:
        task = bar.add_task("training", total=steps, completed=start, told="")
        for step in range(start, steps):
            images, labels, moves = batches.at(batches.place(step))
            loss, hits = step_once(images, labels, moves)
            mx.async_eval(loss, hits)
            losses.append(loss)
            right.append(hits)
            done = step + 1
            if done % LOOK_EVERY == 0 or done == steps or interrupted:
                mean, accuracy = _look(losses, right, batches.size, done)
                speed = (done - start) * batches.size / (time.monotonic() - began)
                metrics.write(step=done, loss=mean, accuracy=accuracy)
                told = f"loss {mean:.4f}  accuracy {accuracy:.2%}  {speed:,.0f} images/s"
                told += f"  {peak_memory() / 2**20:,.0f} MiB"
                bar.update(task, completed=done, told=told)
            if interrupted:
                save(done)
                raise Interrupted(
                    f"stopped after step {done} of {steps}", hint="go on with the same command and --resume"
                )
            if done % batches.per_epoch == 0 or done == steps:
                seconds = seconds_before + time.monotonic() - began
                correct = float((predict(model, test.images) == test.labels).mean())
                metrics.write(step=done, test_accuracy=correct, seconds=round(seconds, 3))
            if done % SAVE_EVERY == 0 or done == steps:
                save(done)
    draw_curve(metrics.records, out / "curve.png")
    return results(metrics.records, batches.size, steps - start, time.monotonic() - began)


def results(records: list[dict[str, Any]], batch_size: int, steps: int, seconds: float) -> dict[str, Any]:
    """What a run folder keeps of a training."""
    last = {key: value for record in records for key, value in record.items()}
    return {
        "test_accuracy": last.get("test_accuracy"),
        "loss": last.get("loss"),
        "seconds": last.get("seconds"),
        "images_per_second": round(steps * batch_size / seconds) if steps else None,
        "peak_memory_bytes": peak_memory(),
    }


def schedule(recipe: Recipe, steps: int) -> Any:
    """Linear rise, then a cosine to a thousandth."""
    rise = max(1, round(recipe.warmup * steps))
    high = recipe.learning_rate
    fall = optim.cosine_decay(high, max(1, steps - rise), high / 1000)
    return optim.join_schedules([optim.linear_schedule(high / 20, high, rise), fall], [rise])


def compiled_step(model: nn.Module, optimizer: optim.Optimizer, recipe: Recipe) -> Any:
    """The step: (uint8 images (B, H, W, C), labels (B,), movements (B, 2)) to (loss, hits)."""

    def loss_and_hits(images: mx.array, labels: mx.array) -> tuple[mx.array, mx.array]:
        logits = model(images)
        loss = nn.losses.cross_entropy(
            logits, labels, label_smoothing=recipe.label_smoothing, reduction="mean"
        )
        return loss, mx.sum(mx.argmax(logits, axis=-1) == labels)

    differentiate = nn.value_and_grad(model, loss_and_hits)
    state = [model.state, optimizer.state, mx.random.state]

    @partial(mx.compile, inputs=state, outputs=state)
    def step(images: mx.array, labels: mx.array, moves: mx.array) -> tuple[mx.array, mx.array]:
        pictures = moved(normalized(images), moves, recipe.shift)
        (loss, hits), gradients = differentiate(pictures, labels)
        optimizer.update(model, gradients)
        return loss, hits

    model.train()
    return step


def predict(model: nn.Module, images: np.ndarray, batch: int = 1000) -> np.ndarray:
    """The most probable class of each uint8 picture (N, H, W, C); int64 (N,)."""
    return np.concatenate([
        np.argmax(logits(model, images[start : start + batch]), axis=-1) for start in range(0, len(images),
        batch)
    ])  # fmt: skip


def logits(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """What the model gives for uint8 pictures (N, H, W, C), in evaluation mode; float32 (N, classes)."""
    training = model.training
    model.eval()
    result = np.array(model(normalized(mx.array(images))))
    model.train(training)
    return result


def _look(losses: list[mx.array], right: list[mx.array], size: int, step: int) -> tuple[float, float]:
    """Mean loss and accuracy since the last look, which empties the lists."""
    mean = float(np.mean([np.array(loss) for loss in losses]))
    accuracy = float(np.sum([np.array(hits) for hits in right])) / (len(right) * size)
    losses.clear()
    right.clear()
    if not np.isfinite(mean):
        raise UserError(
            f"the loss is {mean} at step {step}",
            hint="lower the learning rate; the last good checkpoint is kept",
        )
    return mean, accuracy


def _state(model: nn.Module, optimizer: optim.Optimizer) -> dict[str, Any]:
    (key,) = mx.random.state  # type: ignore[misc]
    return {"model": model.parameters(), "optimizer": optimizer.state, "random": {"key": key}}


def _restore(model: nn.Module, optimizer: optim.Optimizer, found: tuple[int, dict[str, Any]] | None) -> int:
    """Put a checkpoint back; gives its step, 0 where there is none."""
    if found is None:
        console.print("no checkpoint yet: training from the beginning")
        return 0
    step, tree = found
    model.update(tree["model"])
    optimizer.state = tree["optimizer"]
    high, low = (int(half) for half in np.array(tree["random"]["key"]))
    mx.random.seed((high << 32) | low)  # assigning to mx.random.state does nothing
    mx.eval(model.parameters(), optimizer.state)
    return step


@contextmanager
def _deferred_interrupt() -> Iterator[list[int]]:
    """A list that Ctrl-C makes non-empty, so that the step in work is finished; a second Ctrl-C stops at
    once."""
    caught: list[int] = []

    def note(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread
        yield caught
        return
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)
