"""Every option of a recipe: what it does, and that a training with it is resumed to the bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

from edgevision import blas
from edgevision.data import ImageSet, load
from edgevision.errors import UsageError, UserError
from edgevision.training import Recipe, checkpoints, classification, loop, memory
from edgevision.training.augmentation import cropped, cut_in, flipped, mixed_up, randomly_augmented
from edgevision.training.classification import Classification
from edgevision.training.optimizer import build_optimizer
from edgevision.training.recomputed import recomputed_blocks
from edgevision.training.step import Step
from edgevision.training.watch import read_metrics

SHORT = Recipe(steps=30, batch_size=16, seed=5, weight_decay=0.1)
OPTIONS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "muon": {"optimizer": "muon"},
    "lion": {"optimizer": "lion", "learning_rate": 1e-4},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05},
    "clip": {"clip": 0.1},
    "accumulate": {"accumulate": 3},
    "side by side": {"side_by_side": 2},
    "bfloat16": {"precision": "bfloat16"},
    "average": {"average": 0.9},
    "average in bfloat16": {"average": 0.9, "precision": "bfloat16", "accumulate": 2},
    "crop and flip": {"crop": 3, "flip": True},
    "distortions": {"turn": 0.1, "stretch": 0.1, "shift": 1.0},
    "RandAugment": {"randaugment": (2, 9.0)},
    "mixup and cutmix": {"mixup": 0.4, "cutmix": 1.0},
    "best": {"keep": "best", "evaluate_every": 5},
    "patience": {"patience": 2, "evaluate_every": 2, "learning_rate": 0.0},
}


class Blocks(nn.Module):
    """Two blocks in a list, one of them with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(784, 24)
        self.blocks = [nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Dropout(share)) for share in (0.0, 0.2)]
        self.last = nn.Linear(24, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.first(x.reshape(x.shape[0], -1))
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return load("digits", "train", 16 * 10 + 7)


def train(data: ImageSet, out: Path, recipe: Recipe, resume: bool = False, **options: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    mx.random.seed(recipe.seed)
    model = Blocks()
    result = classification.train(model, data, data, recipe, out, resume, **options)
    return {"model": model, **result}


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in tree_flatten(model.parameters())}


class Stop(Exception):
    pass


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=list(OPTIONS))
def test_resumed_is_as_if_never_stopped(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    recipe = replace(SHORT, **changes)
    straight = train(data, tmp_path / "straight", recipe)
    monkeypatch.setattr(loop, "SAVE_EVERY", 3)
    save, saved = checkpoints.save, []

    def stop_at_the_second(live: Path, step: int, tree: dict[str, Any]) -> None:
        if saved:
            raise Stop
        saved.append(step)
        save(live, step, tree)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(checkpoints, "save", stop_at_the_second)
        train(data, tmp_path / "stopped", recipe)
    mx.random.seed(99)
    resumed = train(data, tmp_path / "stopped", recipe, resume=True)
    one, other = weights(straight["model"]), weights(resumed["model"])
    for name, array in one.items():
        assert array.dtype == np.float32
        if mx.metal.is_available():  # whose sums may come in another order
            assert np.abs(array - other[name]).max() < 1e-3
        else:
            assert array.tobytes() == other[name].tobytes(), name
    timeless = [
        [
            {k: v for k, v in r.items() if k != "seconds"}
            for r in read_metrics(tmp_path / run / "metrics.jsonl")
        ]
        for run in ("straight", "stopped")
    ]
    assert timeless[0] == timeless[1]
    again = train(data, tmp_path / "stopped", recipe, resume=True)
    assert weights(again["model"])["last.bias"].tobytes() == other["last.bias"].tobytes()


def one_step(
    data: ImageSet, recipe: Recipe, build: Callable[[], nn.Module]
) -> tuple[float, dict[str, np.ndarray]]:
    mx.random.seed(0)
    model = build()
    task, optimizer = Classification(data, data, recipe), build_optimizer(recipe, 10)
    optimizer.init(model.trainable_parameters())
    loss, hits = Step(model, optimizer, task.loss, recipe)(*map(mx.array, task.at(0)))
    assert 0 <= int(np.array(hits)) <= recipe.batch_size
    return float(np.array(loss)), weights(model)


class Plain(Blocks):
    """Without chance."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks[1].layers[2] = nn.Dropout(0.0)


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({"accumulate": 3}, 1e-6),
        ({"side_by_side": 2}, 1e-6),
        ({"side_by_side": 3, "accumulate": 2}, 1e-6),
        ({"precision": "bfloat16"}, 3e-3),
        ({"clip": 1e6}, 1e-6),
    ],
    ids=str,
)
def test_parts_and_precisions_give_the_same_step(
    data: ImageSet, changes: dict[str, Any], tolerance: float
) -> None:
    recipe = replace(SHORT, optimizer="sgd", learning_rate=0.5, batch_size=16)
    loss, whole = one_step(data, recipe, Plain)
    other_loss, other = one_step(data, replace(recipe, **changes), Plain)
    assert other_loss == pytest.approx(loss, rel=max(tolerance, 1e-5))
    for name, array in whole.items():
        np.testing.assert_allclose(other[name], array, rtol=0, atol=tolerance, err_msg=name)


def test_recomputed_blocks_give_the_same_training(data: ImageSet, tmp_path: Path) -> None:
    call, found = nn.Sequential.__call__, []
    for recompute in (False, True):
        mx.random.seed(0)
        model, out = Plain(), tmp_path / str(recompute)
        out.mkdir()
        classification.train(model, data, data, replace(SHORT, recompute=recompute), out)
        found.append(weights(model))
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, rtol=0, atol=1e-5, err_msg=name)
    assert nn.Sequential.__call__ is call


class Deep(nn.Module):
    """Much inside its blocks, little between them."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Linear(64, 64), nn.Tanh())
        self.blocks = [nn.Sequential(*layers, *layers, *layers, *layers) for _ in range(8)]

    def __call__(self, x: mx.array) -> mx.array:
        x = mx.concatenate([x.reshape(-1, 784)[:, :64]] * 16)
        for block in self.blocks:
            x = block(x)
        return x[: x.shape[0] // 16, :10]


def test_recomputing_saves_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        mx, "compile", lambda function, **_: function
    )  # it takes longer to compile than to run
    data = load("digits", "train", 128)
    peaks = []
    for recompute in (False, True):
        recipe = replace(SHORT, optimizer="sgd", batch_size=128, recompute=recompute)
        model = Deep()
        task, optimizer = Classification(data, data, recipe), build_optimizer(recipe, 10)
        optimizer.init(model.trainable_parameters())
        with recomputed_blocks(model, recompute), blas.threads(1):
            step = Step(model, optimizer, task.loss, recipe)
            mx.eval(model.state, optimizer.state)
            mx.reset_peak_memory()
            before = mx.get_active_memory()
            mx.eval(step(*map(mx.array, task.at(0))), model.state)
            peaks.append(mx.get_peak_memory() - before)
    assert peaks[1] < 0.8 * peaks[0]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Linear(784, 10), "needs a model of blocks"),
        (nn.Sequential(nn.BatchNorm(3)), "batch normalization"),
        (Blocks(), "dropout"),
    ],
)
def test_recomputing_is_refused_where_it_would_be_wrong(
    data: ImageSet, tmp_path: Path, model: nn.Module, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        classification.train(model, data, data, replace(SHORT, recompute=True), tmp_path)


def test_the_average_is_measured_and_kept(data: ImageSet, tmp_path: Path) -> None:
    plain = train(data, tmp_path / "plain", replace(SHORT, warmup=0.0, floor=1.0))
    averaged = train(data, tmp_path / "averaged", replace(SHORT, warmup=0.0, floor=1.0, average=0.9))
    newest, average = weights(plain["model"])["last.weight"], weights(averaged["model"])["last.weight"]
    assert not np.array_equal(newest, average)
    found = checkpoints.load(tmp_path / "averaged")
    assert found is not None
    assert np.array_equal(np.array(found[1]["model"]["last"]["weight"]), newest), (
        "training goes on as without"
    )
    accuracy = float((classification.predict(averaged["model"], data.images) == data.labels).mean())
    assert averaged["test_accuracy"] == accuracy


def test_training_ends_when_nothing_gets_better(data: ImageSet, tmp_path: Path) -> None:
    recipe = replace(SHORT, patience=3, evaluate_every=2, learning_rate=0.0, weight_decay=0.0)
    result = train(data, tmp_path, recipe)
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl") if "test_accuracy" in r] == [
        2,
        4,
        6,
        8,
    ]
    assert result["kept_step"] == 8


def test_the_best_weights_are_kept(data: ImageSet, tmp_path: Path) -> None:
    """Trained until it is good, then spoilt by a rate that only rises."""
    recipe = replace(SHORT, steps=120, learning_rate=0.3, warmup=1.0, keep="best", evaluate_every=4)
    result = train(data, tmp_path, recipe)
    measured = {
        r["step"]: r["test_accuracy"]
        for r in read_metrics(tmp_path / "metrics.jsonl")
        if "test_accuracy" in r
    }
    best = max(measured.values())
    assert best > measured[120]
    assert result["kept_step"] == min(step for step, value in measured.items() if value == best)
    assert result["test_accuracy"] == best
    accuracy = float((classification.predict(result["model"], data.images) == data.labels).mean())
    assert accuracy == best


def test_the_first_step_that_is_no_number_is_named(data: ImageSet, tmp_path: Path) -> None:
    class Spoilt(Classification):
        def at(self, step: int) -> tuple[np.ndarray, ...]:
            images, labels = super().at(step)
            return images, np.where(step == 17, -1, labels)

    class FromLabels(Blocks):
        """Gives what is no number where a label is below zero."""

    def loss(model: nn.Module, images: mx.array, labels: mx.array) -> tuple[mx.array, mx.array]:
        value, hits = Classification.loss(task, model, images, mx.maximum(labels, 0))
        return mx.where(mx.any(labels < 0), mx.array(float("nan")), value), hits

    task = Spoilt(data, data, SHORT)
    task.loss = loss  # type: ignore[method-assign]
    with pytest.raises(UserError, match="the loss is nan at step 18"):
        loop.train(Blocks(), task, SHORT, tmp_path)


def test_weights_that_are_no_numbers_are_not_the_best(data: ImageSet, tmp_path: Path) -> None:
    """A score may be good by chance: the loss is looked at before, and the weights after measuring."""
    recipe = replace(SHORT, keep="best", evaluate_every=1, learning_rate=1e38, warmup=0.0)
    with pytest.raises(
        UserError, match=r"(is (nan|inf)|no numbers) at step \d+; there was no checkpoint yet"
    ):
        train(data, tmp_path, recipe)
    best = tmp_path / "checkpoints" / "best.safetensors"
    kept: Any = mx.load(str(best)) if best.exists() else {}
    assert all(mx.all(mx.isfinite(array)).item() for array in kept.values())


def test_muon_decays_apart_from_the_gradient() -> None:
    recipe = replace(SHORT, optimizer="muon", weight_decay=0.5, muon_rate=0.1, warmup=0.0, floor=1.0)
    model = Blocks()
    before = weights(model)
    optimizer = build_optimizer(recipe, 10)
    optimizer.init(model.trainable_parameters())
    optimizer.update(model, {"blocks": [{"layers": [{"weight": mx.zeros((24, 24))}, {}, {}]}]})
    shrunk = before["blocks.0.layers.0.weight"] * (1 - 0.5 * 0.1 / 20)  # the first rate is a twentieth
    np.testing.assert_allclose(weights(model)["blocks.0.layers.0.weight"], shrunk, rtol=1e-6)


@pytest.mark.parametrize("kind", ["adamw", "muon", "lion", "sgd"])
def test_only_matrices_decay(kind: Any) -> None:
    model = Blocks()
    before = weights(model)
    optimizer = build_optimizer(replace(SHORT, optimizer=kind, weight_decay=0.5), 10)
    optimizer.init(model.trainable_parameters())
    zeros = optim.optimizers.tree_map(mx.zeros_like, model.trainable_parameters())
    optimizer.update(model, zeros)
    for name, array in weights(model).items():
        assert np.array_equal(array, before[name]) == (array.ndim == 1), name


# Pictures


def pictures(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 9, 8, channels)).astype(np.uint8)


def test_cropping_moves_and_flipping_mirrors() -> None:
    images = pictures()
    moved = cropped(images, np.random.default_rng(1), 2)
    wide = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="reflect")
    for index, picture in enumerate(moved):
        places = [(t, l) for t in range(5) for l in range(5)]  # noqa: E741
        assert any(np.array_equal(picture, wide[index, t : t + 9, l : l + 8]) for t, l in places)  # noqa: E741
    mirrored = flipped(images, np.random.default_rng(1))
    same = [np.array_equal(a, b) for a, b in zip(mirrored, images, strict=True)]
    turned = [np.array_equal(a, b[:, ::-1]) for a, b in zip(mirrored, images, strict=True)]
    assert all(one != other for one, other in zip(same, turned, strict=True))
    assert 8 < sum(turned) < 32


def test_mixed_pictures_know_their_shares() -> None:
    black, white = np.zeros((200, 10, 12, 1), np.uint8), np.full((200, 10, 12, 1), 255, np.uint8)
    for mix in (mixed_up, cut_in):
        mixed, shares = mix(black, white, np.random.default_rng(0), 1.0)
        np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)) / 255, 1 - shares, atol=0.01)
        assert shares.min() < 0.2
        assert shares.max() > 0.8
    cut, _ = cut_in(black, white, np.random.default_rng(0), 1.0)
    assert set(np.unique(cut)) == {0, 255}


@pytest.mark.parametrize("channels", [1, 3])
def test_random_augmentation_changes_by_its_strength(channels: int) -> None:
    images = np.repeat(np.repeat(pictures(channels), 4, axis=1), 4, axis=2)
    weak, strong = (
        np.abs(randomly_augmented(images, np.random.default_rng(2), 1, strength).astype(int) - images).mean()
        for strength in (1, 25)
    )
    assert strong > 1.5 * weak > 0
    same = randomly_augmented(images, np.random.default_rng(2), 2, 9)
    assert np.array_equal(same, randomly_augmented(images, np.random.default_rng(2), 2, 9))


# Memory


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 4 << 30), ("512 MB", 512 << 20), ("1.5GiB", 3 << 29), ("100", 100), ("2k", 2048)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert memory.bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "much", "4 apples", "-1G", "0"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        memory.bytes_of(text)


def test_a_training_that_takes_more_memory_stops_and_says_how_to_go_on(
    data: ImageSet, tmp_path: Path
) -> None:
    before = mx.set_memory_limit(1 << 40)
    cache = mx.set_cache_limit(1 << 40)
    try:
        with pytest.raises(UserError, match="--memory-limit is 1 MiB") as caught:
            train(data, tmp_path, SHORT, memory_limit=1 << 20)
        assert "--batch-size auto" in str(caught.value.hint)
        mx.reset_peak_memory()
        train(data, tmp_path / "enough", SHORT, memory_limit=1 << 33)
    finally:
        mx.set_memory_limit(before)
        mx.set_cache_limit(cache)


def test_the_batch_is_as_large_as_memory_and_speed_allow() -> None:
    def of(size: int) -> Callable[[], None]:
        return lambda: mx.eval(mx.ones((size, 1 << 18)) + mx.ones((size, 1 << 18)))  # 2 to 3 MiB each

    assert memory.best_batch_size(of, 64, mx.get_active_memory() + (100 << 20)) in (8, 16, 32)
    assert memory.best_batch_size(of, 4, None) == 4
    with pytest.raises(UserError, match="not even a batch of 8"):
        memory.best_batch_size(of, 64, 1 << 20)
