"""Training a language model: one function, with a compiled step.

edgevision train decoder_lm --data tiny-shakespeare --out runs/shakespeare
    nanoGPT's CPU setting (4 layers, 128 wide, context 64, 2,000 steps of 12 rows) with rotary positions,
    SwiGLU and a higher learning rate, 746,880 parameters: held-out loss 1.740, perplexity 5.70; nanoGPT's
    README has 1.88 with 0.80 million. 875 s on 2 cores that other programs used too.
edgevision train decoder_lm --variant llama-6x384 --data tiny-shakespeare --out runs/shakespeare-large
    its GPU setting (6 layers, 384 wide, context 256, 5,000 steps of 64 rows); the mark is nanoGPT's 1.47. It
    is for a GPU and was not run by us. gpt2 and gpt2-6x384 are nanoGPT's own architecture.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from math import exp, log
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from edgevision import blas
from edgevision.console import console
from edgevision.errors import UserError
from edgevision.models import decoder_lm
from edgevision.text.corpus import HeldOut, Windows
from edgevision.training import checkpoints
from edgevision.training.loop import Interrupted, deferred_interrupt
from edgevision.training.watch import Metrics, draw_curve, peak_memory, progress_bar

LOOK_EVERY = 50  # steps between two looks at the loss; each look waits for the device
SAVE_EVERY = 500  # steps between two checkpoints
QUICK = 200  # rows that are measured on during training


@dataclass(frozen=True)
class TextRecipe:
    """Settings of a training.

    Attributes:
        steps: updates of the weights. batch_size: rows of a step.
        learning_rate: the highest, after a linear rise over `warmup` steps and before a fall along a cosine
            to `floor` of it.
        muon: matrices inside the blocks are updated by Muon (Jordan et al., 2024), at this rate; 0 for AdamW
            everywhere.
        weight_decay: of matrices; norms and biases have none.
        clip: largest norm of all gradients together.
        evaluate_every: steps between two measurements on held-out text.
        seed: of the weights, the windows and the dropout.
    """

    steps: int = 2000
    batch_size: int = 12
    learning_rate: float = 4e-3
    muon: float = 0.0
    warmup: int = 100
    floor: float = 0.0
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    evaluate_every: int = 250
    seed: int = 0
    blas_threads: int | None = 2


RECIPES = {
    "llama": TextRecipe(learning_rate=6e-3),
    "gpt2-6x384": TextRecipe(steps=5000, batch_size=64, learning_rate=1e-3, floor=0.1),
    "llama-6x384": TextRecipe(steps=5000, batch_size=64, learning_rate=1e-3, floor=0.1),
    "gpt2-124m": TextRecipe(steps=100_000, batch_size=32, learning_rate=6e-4, floor=0.1, warmup=2000),
}


def recipe_of(variant: str) -> TextRecipe:
    """The recipe of a variant, or the default one."""
    return RECIPES.get(variant, TextRecipe())


def train(
    model: decoder_lm.Model,
    windows: Windows,
    test: HeldOut,
    recipe: TextRecipe,
    out: Path,
    resume: bool = False,
) -> dict[str, Any]:
    """Train `model` in place; gives the results of `measure`, seconds, tokens per second, peak memory.

    `out` gets `metrics.jsonl`, `curve.png` and `checkpoints/`. With the same recipe, text and machine the
    weights are the same to the bit on the CPU, also when the training was interrupted and resumed.

    Raises:
        Interrupted: by Ctrl-C, after a checkpoint was written.
        UserError: the loss or a weight is not a number; the last good checkpoint is kept.
    """
    optimizer = build_optimizer(recipe)
    optimizer.init(model.trainable_parameters())
    start = _restore(model, optimizer, out) if resume else 0
    step_once = compiled_step(model, optimizer, recipe)
    metrics = Metrics(out / "metrics.jsonl", keep_to_step=start)
    earlier, began = metrics.seconds(), time.monotonic()
    losses: list[mx.array] = []
    per_step = windows.rows * windows.length

    with progress_bar() as bar, deferred_interrupt() as interrupted, blas.threads(recipe.blas_threads):
        task = bar.add_task("training", total=recipe.steps, completed=start, told="")
        for done in range(start + 1, recipe.steps + 1):
            losses.append(step_once(mx.array(windows.at(done - 1))))
            mx.async_eval(losses[-1])
            ends = done == recipe.steps
            seconds = earlier + time.monotonic() - began
            if done % LOOK_EVERY == 0 or ends or interrupted:
                loss = _look(losses, done)
                metrics.write(step=done, loss=loss, seconds=round(seconds, 3))
                speed = (done - start) * per_step / (seconds - earlier)
                told = f"loss {loss:.3f}  {speed:,.0f} tokens/s  {peak_memory() / 2**20:,.0f} MiB"
                bar.update(task, completed=done, told=told)
            if done % recipe.evaluate_every == 0 and not ends:
                metrics.write(
                    step=done, test_loss=measure(model, test, QUICK)["loss"], seconds=round(seconds, 3)
                )
            if done % SAVE_EVERY == 0 or ends or interrupted:
                checkpoints.save(out, done, _state(model, optimizer))
            if interrupted and not ends:
                raise Interrupted(
                    f"stopped after step {done} of {recipe.steps}",
                    hint="the same command with --resume goes on",
                    code=130,
                )
    found = measure(model, test)
    seconds = earlier + time.monotonic() - began
    metrics.write(step=recipe.steps, test_loss=found["loss"], seconds=round(seconds, 3))
    draw_curve(metrics.records, out / "curve.png")
    trained = (recipe.steps - start) * per_step
    return {
        **found,
        "training_loss": metrics.last("loss"),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(trained / (seconds - earlier)) if trained else None,
        "peak_memory_bytes": peak_memory(),
    }


def build_optimizer(recipe: TextRecipe) -> optim.Optimizer:
    """AdamW, with weight decay on matrices only; Muon for those inside blocks where the recipe says so."""

    def adamw(decay: float) -> optim.AdamW:
        rate = schedule(recipe, recipe.learning_rate)
        return optim.AdamW(rate, betas=list(recipe.betas), weight_decay=decay, bias_correction=True)

    def is_matrix(name: str, weight: mx.array) -> bool:
        return weight.ndim == 2

    def is_inside(name: str, weight: mx.array) -> bool:
        return weight.ndim == 2 and name.startswith("layers.")

    if not recipe.muon:
        return optim.MultiOptimizer([adamw(recipe.weight_decay), adamw(0.0)], [is_matrix])
    muon = optim.Muon(schedule(recipe, recipe.muon), weight_decay=recipe.weight_decay)
    return optim.MultiOptimizer([muon, adamw(recipe.weight_decay), adamw(0.0)], [is_inside, is_matrix])


def schedule(recipe: TextRecipe, high: float) -> Any:
    """Linear rise, then a cosine down to the floor."""
    warmup = min(recipe.warmup, max(1, recipe.steps // 10))
    fall = optim.cosine_decay(high, max(1, recipe.steps - warmup), high * recipe.floor)
    return optim.join_schedules([optim.linear_schedule(high / warmup, high, warmup), fall], [warmup])


def compiled_step(model: decoder_lm.Model, optimizer: optim.Optimizer, recipe: TextRecipe) -> Any:
    """The step: tokens (B, L + 1) to the mean loss in nats."""

    def mean_loss(rows: mx.array) -> mx.array:
        return nn.losses.cross_entropy(model(rows[:, :-1]), rows[:, 1:], reduction="mean")

    differentiate = nn.value_and_grad(model, mean_loss)
    state = [model.state, optimizer.state, mx.random.state]

    @partial(mx.compile, inputs=state, outputs=state)
    def step(rows: mx.array) -> mx.array:
        loss, gradients = differentiate(rows)
        gradients, _ = optim.clip_grad_norm(gradients, recipe.clip)
        optimizer.update(model, gradients)
        return loss

    model.train()
    return step


def measure(model: nn.Module, test: HeldOut, rows: int | None = None, batch: int = 32) -> dict[str, float]:
    """Loss in nats per token, perplexity, and bits per byte of held-out text.

    rows: how many are measured, spread over all; default all of them.
    """
    training = model.training
    model.eval()
    chosen = (
        np.arange(len(test.rows))
        if rows is None or rows >= len(test.rows)
        else (np.arange(rows) * len(test.rows) // rows)
    )
    total, count = 0.0, 0
    for start in range(0, len(chosen), batch):
        index = chosen[start : start + batch]
        tokens, counted = mx.array(test.rows[index]), mx.array(test.counted[index].astype(np.float32))
        losses = nn.losses.cross_entropy(model(tokens[:, :-1]).astype(mx.float32), tokens[:, 1:])
        total += float(np.array(mx.sum(losses * counted)))
        count += int(test.counted[index].sum())
    model.train(training)
    loss = total / count
    return {
        "loss": loss,
        "perplexity": exp(min(loss, 700.0)),
        "bits_per_byte": loss / log(2) / test.bytes_per_token,
        "tokens": count,
    }


def _look(losses: list[mx.array], step: int) -> float:
    """Mean loss since the last look; empties the list."""
    mean = float(np.mean([np.array(loss) for loss in losses]))
    losses.clear()
    if not np.isfinite(mean):
        raise UserError(
            f"the loss is {mean} at step {step}",
            hint="lower the learning rate; the last good checkpoint is kept",
        )
    return mean


def _state(model: nn.Module, optimizer: optim.Optimizer) -> dict[str, Any]:
    """All that the next step depends on, beside the recipe and the number of the step."""
    (key,) = mx.random.state  # type: ignore[misc]
    return {"model": model.parameters(), "optimizer": optimizer.state, "random": key}


def _restore(model: nn.Module, optimizer: optim.Optimizer, out: Path) -> int:
    """Put the newest checkpoint back; gives its step."""
    found = checkpoints.load(out)
    if found is None:
        console.print("no checkpoint yet: training from the beginning")
        return 0
    step, tree = found
    model.update(tree["model"])
    optimizer.state = tree["optimizer"]
    high, low = (int(half) for half in np.array(tree["random"]))
    mx.random.seed((high << 32) | low)  # assigning to mx.random.state does nothing
    mx.eval(model.parameters(), optimizer.state)
    console.print(f"resumed after step {step}")
    return step
