"""Training a classifier: one function, with a compiled step."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from edgevision import blas
from edgevision.console import console
from edgevision.data import ImageSet
from edgevision.data.batches import Batches, normalized
from edgevision.errors import UserError
from edgevision.training import checkpoints
from edgevision.training.distortion import distorted
from edgevision.training.recipe import Recipe
from edgevision.training.watch import Metrics, draw_curve, peak_memory, progress_bar

LOOK_EVERY = 50  # steps between two looks at the loss; each look waits for the device
SAVE_EVERY = 500  # steps between two checkpoints

Step = Callable[[mx.array, mx.array], tuple[mx.array, mx.array]]


class Interrupted(UserError):
    """Ctrl-C: the state is saved, and the message says how to go on."""


def train(
    model: nn.Module, data: ImageSet, test: ImageSet, recipe: Recipe, out: Path, resume: bool = False
) -> dict[str, Any]:
    """Train `model` in place; give the results (accuracy, loss, seconds, images per second, bytes).

    `out` gets `metrics.jsonl`, `curve.png` and `checkpoints/`. With the same recipe, data and machine the
    weights are the same to the bit on the CPU, also when the training was interrupted and resumed.

    Args:
        model: takes float32 pictures (B, H, W, C) in [0, 1], gives logits (B, classes).
        data, test: uint8 pictures and their labels.
        resume: go on from the newest checkpoint in `out`, from the beginning where there is none.

    Raises:
        Interrupted: by Ctrl-C, after a checkpoint was written.
        UserError: the loss or a weight is not a number; the last good checkpoint is kept.
    """
    batches = Batches(data, recipe.batch_size, recipe.seed)
    steps = recipe.total_steps(batches.per_epoch)
    optimizer = optim.AdamW(learning_rate=schedule(recipe, steps), weight_decay=recipe.weight_decay)
    optimizer.init(model.trainable_parameters())
    start, losses, hits = _restore(model, optimizer, out) if resume else (0, [], [])
    step_once = compiled_step(model, optimizer, recipe)
    metrics = Metrics(out / "metrics.jsonl", keep_to_step=start)
    earlier, began = metrics.seconds(), time.monotonic()

    with progress_bar() as bar, deferred_interrupt() as interrupted, blas.threads(recipe.blas_threads):
        task = bar.add_task("training", total=steps, completed=start, told="")
        for done in range(start + 1, steps + 1):
            loss, right = step_once(*batches.at(batches.place(done - 1)))
            mx.async_eval(loss, right)
            losses.append(loss)
            hits.append(right)
            if done % LOOK_EVERY == 0 or done == steps:
                mean, accuracy = _look(losses, hits, batches.size, done)
                seconds = time.monotonic() - began
                metrics.write(step=done, loss=mean, accuracy=accuracy, seconds=round(earlier + seconds, 3))
                speed = (done - start) * batches.size / seconds
                told = f"loss {mean:.3f}  acc {accuracy:.1%}  {speed:,.0f} images/s"
                bar.update(task, completed=done, told=f"{told}  {peak_memory() / 2**20:,.0f} MiB")
            if done % batches.per_epoch == 0 or done == steps:
                correct = float((predict(model, test.images) == test.labels).mean())
                seconds = earlier + time.monotonic() - began
                metrics.write(step=done, test_accuracy=correct, seconds=round(seconds, 3))
            if done % SAVE_EVERY == 0 or done == steps or interrupted:
                checkpoints.save(out, done, _state(model, optimizer, losses, hits))
            if interrupted and done < steps:
                raise Interrupted(
                    f"stopped after step {done} of {steps}",
                    hint="the same command with --resume goes on",
                    code=130,
                )
    draw_curve(metrics.records, out / "curve.png")
    speed = (steps - start) * batches.size / (time.monotonic() - began) if start < steps else None
    return _results(metrics, speed)


def schedule(recipe: Recipe, steps: int) -> Any:
    """Linear rise, then a cosine to a thousandth."""
    rise = max(1, round(recipe.warmup * steps))
    high = recipe.learning_rate
    fall = optim.cosine_decay(high, max(1, steps - rise), high / 1000)
    return optim.join_schedules([optim.linear_schedule(high / 20, high, rise), fall], [rise])


def compiled_step(model: nn.Module, optimizer: optim.Optimizer, recipe: Recipe) -> Step:
    """The step: uint8 images (B, H, W, C) and labels (B,) to mean loss and right answers."""

    def loss_and_hits(images: mx.array, labels: mx.array) -> tuple[mx.array, mx.array]:
        logits = model(images)
        loss = nn.losses.cross_entropy(
            logits, labels, label_smoothing=recipe.label_smoothing, reduction="mean"
        )
        return loss, mx.sum(mx.argmax(logits, axis=-1) == labels)

    differentiate = nn.value_and_grad(model, loss_and_hits)
    state = [model.state, optimizer.state, mx.random.state]

    @partial(mx.compile, inputs=state, outputs=state)
    def step(images: mx.array, labels: mx.array) -> tuple[mx.array, mx.array]:
        pictures = normalized(images)
        if recipe.turn or recipe.stretch or recipe.shift:
            pictures = distorted(pictures, recipe.turn, recipe.stretch, recipe.shift)
        (loss, hits), gradients = differentiate(pictures, labels)
        optimizer.update(model, gradients)
        return loss, hits

    model.train()
    return step


def predict(model: nn.Module, images: np.ndarray, batch: int = 1000) -> np.ndarray:
    """The most probable class of each uint8 picture (N, H, W, C); int64 (N,)."""
    starts = range(0, len(images), batch)
    return np.concatenate([logits(model, images[i : i + batch]).argmax(axis=-1) for i in starts])


def logits(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """What the model gives for uint8 pictures (N, H, W, C), in evaluation mode; float32 (N, classes)."""
    training = model.training
    model.eval()
    result = np.array(model(normalized(mx.array(images))))
    model.train(training)
    return result


def _look(losses: list[mx.array], hits: list[mx.array], size: int, step: int) -> tuple[float, float]:
    """Mean loss and accuracy since the last look; empties both lists."""
    mean = float(np.mean([np.array(loss) for loss in losses]))
    accuracy = float(np.sum([np.array(right) for right in hits])) / (len(hits) * size)
    losses.clear()
    hits.clear()
    if not np.isfinite(mean):
        raise UserError(
            f"the loss is {mean} at step {step}",
            hint="lower the learning rate; the last good checkpoint is kept",
        )
    return mean, accuracy


def _results(metrics: Metrics, images_per_second: float | None) -> dict[str, Any]:
    return {
        "test_accuracy": metrics.last("test_accuracy"),
        "loss": metrics.last("loss"),
        "seconds": metrics.seconds(),
        "images_per_second": round(images_per_second) if images_per_second else None,
        "peak_memory_bytes": peak_memory(),
    }


def _state(
    model: nn.Module, optimizer: optim.Optimizer, losses: list[mx.array], hits: list[mx.array]
) -> dict[str, Any]:
    """All that the next step and the next look depend on, beside the recipe and the number of the step."""
    (key,) = mx.random.state  # type: ignore[misc]
    tree = {"model": model.parameters(), "optimizer": optimizer.state, "random": key}
    if losses:
        tree["unseen"] = {"losses": mx.stack(losses), "hits": mx.stack(hits)}
    return tree


def _restore(
    model: nn.Module, optimizer: optim.Optimizer, out: Path
) -> tuple[int, list[mx.array], list[mx.array]]:
    """Put the newest checkpoint back; gives its step and the losses and hits since the last look."""
    found = checkpoints.load(out)
    if found is None:
        console.print("no checkpoint yet: training from the beginning")
        return 0, [], []
    step, tree = found
    model.update(tree["model"])
    optimizer.state = tree["optimizer"]
    high, low = (int(half) for half in np.array(tree["random"]))
    mx.random.seed((high << 32) | low)  # assigning to mx.random.state does nothing
    mx.eval(model.parameters(), optimizer.state)
    console.print(f"resumed after step {step}")
    unseen = tree.get("unseen")
    return (step, list(unseen["losses"]), list(unseen["hits"])) if unseen else (step, [], [])


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
