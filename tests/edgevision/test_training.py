"""Training: the same to the bit from the same seed, however often it was stopped, and never half-written."""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from edgevision.data import ImageSet, load
from edgevision.errors import UserError
from edgevision.training import Recipe, checkpoints, classification, loop
from edgevision.training.distortion import distorted
from edgevision.training.optimizer import schedule
from edgevision.training.watch import draw_curve, read_metrics

RECIPE = Recipe(steps=60, batch_size=32, seed=5)


class Small(nn.Module):
    """Uses the random state in every step, so that resuming has to bring that back too."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(784, 16), nn.Linear(16, 10)
        self.drop = nn.Dropout(0.3)

    def __call__(self, x: mx.array) -> mx.array:
        return self.outer(self.drop(nn.relu(self.inner(x.reshape(x.shape[0], -1)))))


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return load("digits", "train", 32 * 10 + 7)


def train(data: ImageSet, out: Path, recipe: Recipe = RECIPE, resume: bool = False) -> nn.Module:
    out.mkdir(exist_ok=True)
    mx.random.seed(recipe.seed)
    model = Small()
    classification.train(model, data, data, recipe, out, resume)
    return model


def flat(tree: dict) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in tree_flatten(tree)}


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in flat(model.parameters()).items()}


def assert_same(left: nn.Module, right: nn.Module) -> None:
    """Equal to the bit; with Metal, whose sums may come in another order, within a thousandth."""
    if mx.metal.is_available():
        other = flat(right.parameters())
        assert all(
            np.abs(array - other[name]).max() < 1e-3 for name, array in flat(left.parameters()).items()
        )
    else:
        assert bits(left) == bits(right)


def without_seconds(out: Path) -> list[dict]:
    return [{k: v for k, v in r.items() if k != "seconds"} for r in read_metrics(out / "metrics.jsonl")]


@contextmanager
def interrupt_after(seconds: float, out: Path) -> Iterator[None]:
    """Ctrl-C at a moment that the training does not choose, after it has written something more."""
    metrics, ended = out / "metrics.jsonl", threading.Event()
    before = metrics.stat().st_size if metrics.exists() else 0

    def interrupt() -> None:
        while not ended.is_set() and not (metrics.exists() and metrics.stat().st_size > before):
            time.sleep(0.001)
        if not ended.wait(seconds):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_same_seed_same_bits(data: ImageSet, tmp_path: Path) -> None:
    first, second = train(data, tmp_path / "a"), train(data, tmp_path / "b")
    assert_same(first, second)
    other = train(data, tmp_path / "c", replace(RECIPE, seed=6))
    assert bits(first) != bits(other)


def test_it_learns_and_writes_what_it_saw(data: ImageSet, tmp_path: Path) -> None:
    train(
        data, tmp_path, replace(RECIPE, steps=None, epochs=40, learning_rate=0.01, turn=0, stretch=0, shift=0)
    )
    records = read_metrics(tmp_path / "metrics.jsonl")
    losses = [r["loss"] for r in records if "loss" in r]
    accuracies = [r["test_accuracy"] for r in records if "test_accuracy" in r]
    assert [r["step"] for r in records if "test_accuracy" in r] == [10 * epoch for epoch in range(1, 41)]
    assert losses[-1] < losses[0] / 2
    assert accuracies[-1] > 0.9
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("step", [7, 20, 53])
def test_resumed_is_as_if_never_stopped(data: ImageSet, tmp_path: Path, step: int, monkeypatch) -> None:
    """Stopped by an error after a checkpoint: inside an epoch, at its end, and just after a look."""
    straight = train(data, tmp_path / "straight")
    monkeypatch.setattr(loop, "SAVE_EVERY", step)

    def stop_at_the_second(*arguments: object) -> None:
        if checkpoints.latest(tmp_path / "stopped") is not None:
            raise ZeroDivisionError
        save(*arguments)  # type: ignore[arg-type]

    save = checkpoints.save
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(checkpoints, "save", stop_at_the_second)
        train(data, tmp_path / "stopped")
    found = checkpoints.load(tmp_path / "stopped")
    assert found is not None
    assert found[0] == step
    mx.random.seed(99)
    assert_same(straight, train(data, tmp_path / "stopped", resume=True))
    assert without_seconds(tmp_path / "stopped") == without_seconds(tmp_path / "straight")


def test_interrupts_save_and_say_how_to_go_on(data: ImageSet, tmp_path: Path) -> None:
    recipe, handler = replace(RECIPE, steps=3_000), signal.getsignal(signal.SIGINT)
    straight = train(data, tmp_path / "straight", recipe)
    for index, seconds in enumerate((0.0, 0.03, 0.06)):
        with (
            interrupt_after(seconds, tmp_path / "stopped"),
            pytest.raises(loop.Interrupted, match="stopped after step") as caught,
        ):
            train(data, tmp_path / "stopped", recipe, resume=index > 0)
        assert caught.value.code == 130
        assert "--resume" in str(caught.value.hint)
    model = train(data, tmp_path / "stopped", recipe, resume=True)
    assert_same(straight, model)
    assert without_seconds(tmp_path / "stopped") == without_seconds(tmp_path / "straight")
    assert signal.getsignal(signal.SIGINT) is handler


def test_finished_training_resumes_to_itself(data: ImageSet, tmp_path: Path) -> None:
    first = train(data, tmp_path)
    assert_same(first, train(data, tmp_path, resume=True))


def test_resume_without_a_checkpoint_begins(data: ImageSet, tmp_path: Path) -> None:
    assert_same(train(data, tmp_path / "a"), train(data, tmp_path / "b", resume=True))


def test_divergence_stops_and_keeps_the_last_good_checkpoint(
    data: ImageSet, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 5)
    with pytest.raises(UserError, match=r"(is (nan|inf)|holds values that are no numbers) at step") as caught:
        train(data, tmp_path, replace(RECIPE, learning_rate=1e38))
    assert "learning rate" in str(caught.value.hint)
    found = checkpoints.load(tmp_path)
    assert found is None or all(np.isfinite(array).all() for array in flat(found[1]).values())


def test_no_checkpoint_holds_what_is_no_number(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 1, {"model": {"w": mx.ones(3)}})
    with pytest.raises(UserError, match=r"model\.w holds values that are no numbers at step 2"):
        checkpoints.save(tmp_path, 2, {"model": {"w": mx.array([1.0, math.inf])}})
    step, tree = checkpoints.load(tmp_path) or (0, {})
    assert (step, tree["model"]["w"].tolist()) == (1, [1, 1, 1])


def test_only_the_newest_checkpoint_stays(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        checkpoints.save(tmp_path, step, {"w": mx.full(2, step)})
    assert [path.name for path in tmp_path.glob("checkpoints/step-*")] == ["step-0000030"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latest", b"../../elsewhere", "latest is damaged"),
        ("latest", b"step-0000009", "cannot be read"),
        ("step-0000001/arrays.safetensors", b"\0\0", "cannot be read"),
    ],
)
def test_damaged_checkpoints_are_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    checkpoints.save(tmp_path, 1, {"w": mx.ones(3)})
    (tmp_path / "checkpoints" / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        checkpoints.load(tmp_path)
    assert "--force" in str(caught.value.hint)


def test_checkpoints_of_another_version_are_one_line(data: ImageSet, tmp_path: Path) -> None:
    """One without what a later version keeps, and with what it does not know, in another shape."""
    train(data, tmp_path, replace(RECIPE, steps=10))
    step, tree = checkpoints.load(tmp_path) or (0, {})
    del tree["best"]
    tree["older"], tree["model"]["inner"]["bias"] = mx.zeros(1), mx.zeros(3)
    checkpoints.save(tmp_path, step, tree)
    with pytest.raises(UserError) as caught:
        train(data, tmp_path, resume=True)
    assert "\n" not in caught.value.message
    told = "best.score is missing, best.stale is missing, best.step is missing, older is unexpected, "
    assert f"{told}model.inner.bias has the shape (3,), expected (16,)" in caught.value.message
    assert "--force" in str(caught.value.hint)


def test_distortion_of_nothing_is_nothing() -> None:
    images = mx.random.uniform(shape=(3, 7, 6, 2))
    assert mx.array_equal(distorted(images, 0, 0, 0), images)


def test_each_picture_is_distorted_by_its_own_amount() -> None:
    mx.random.seed(0)
    dot = np.zeros((200, 9, 9, 1), np.float32)
    dot[:, 4, 4] = 1
    moved = np.array(distorted(mx.array(dot), 0, 0, 2.5))[..., 0]
    assert (moved.sum(axis=(1, 2)) == 1).all(), "the dot stays a dot"
    places = {tuple(int(i) for i in np.argwhere(picture)[0]) for picture in moved}
    assert places == {(row, column) for row in range(2, 7) for column in range(2, 7)}


def test_pictures_turn_and_stretch_about_their_middle() -> None:
    """A bar through the middle: its ends go opposite ways by the angle, or it becomes thicker."""
    mx.random.seed(1)
    bar = np.zeros((50, 21, 21, 1), np.float32)
    bar[:, 10, :] = 1
    turned = np.array(distorted(mx.array(bar), 0.3, 0, 0))[..., 0]
    assert (turned[:, 10, 10] == 1).all()
    left, right = turned[:, :, 3].argmax(axis=1) - 10, turned[:, :, 17].argmax(axis=1) - 10
    assert (left == -right).all()
    assert set(right.tolist()) == {-2, -1, 0, 1, 2}
    bar[:, 9:12] = 1
    thickness = np.array(distorted(mx.array(bar), 0, 0.6, 0))[:, :, 10, 0].sum(axis=1)
    assert {1, 3, 5} <= set(thickness.tolist())


def test_what_comes_in_from_outside_is_black() -> None:
    moved = np.array(distorted(mx.ones((64, 5, 5, 1)), 0, 0, 2.4))
    assert set(np.unique(moved)) == {0, 1}


def test_schedule_rises_then_falls() -> None:
    rate = schedule(1.0, Recipe(warmup=0.1), 100)
    values = [rate(mx.array(step)).item() for step in range(101)]
    assert values[0] == pytest.approx(1 / 20)
    assert values[10] == pytest.approx(1)
    assert values[100] == pytest.approx(1 / 1000, abs=1e-6)
    assert values[:11] == sorted(values[:11])
    assert values[10:] == sorted(values[10:], reverse=True)


def test_cut_metrics_are_read_up_to_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1, "loss": 2.0}) + '\n{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1, "loss": 2.0}]


def test_curve_of_nothing_is_drawn(tmp_path: Path) -> None:
    draw_curve([], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1_000
