"""Run folders: what is written is read again, and what is damaged is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from converters.errors import OutputExists
from edgevision import runs
from edgevision.errors import UserError

LABELS = tuple("0123456789")


def write(path: Path, seed: int = 0, variant: str = "modern") -> Path:
    mx.random.seed(seed)
    model, config = runs.build("lenet", variant)
    with runs.training_folder(path, force=path.exists()) as live:
        facts = {"model": "lenet", "variant": variant, "config": config, "data": "digits"}
        runs.publish(path, live, lambda folder: runs.save(folder, model, facts, LABELS))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(tmp_path / "run")


@pytest.mark.parametrize("variant", ["modern", "1998"])
def test_what_is_saved_is_loaded(tmp_path: Path, variant: str) -> None:
    loaded = runs.load(write(tmp_path / "run", variant=variant))
    mx.random.seed(0)
    model, _ = runs.build("lenet", variant)
    x = mx.random.uniform(shape=(3, 28, 28, 1))
    assert mx.array_equal(loaded.model(x), model(x))
    assert not loaded.model.training
    assert loaded.labels == LABELS
    assert json.loads((loaded.path / "labels.json").read_text()) == list(LABELS)


def weights(change: Callable[[dict[str, mx.array]], object]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        file = str(path / "weights.safetensors")
        arrays = dict(mx.load(file).items())  # type: ignore[union-attr]
        mx.eval(arrays)
        change(arrays)
        mx.save_safetensors(file, arrays)

    return harm


def config(**changes: object) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        content = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(content | changes))

    return harm


def cut(name: str, size: int) -> Callable[[Path], int]:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:size])


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing weight": (weights(lambda w: w.pop("fc1.bias")), "missing fc1.bias"),
    "unexpected weight": (weights(lambda w: w.update(extra=mx.zeros(1))), "unexpected extra"),
    "misshapen weight": (
        weights(lambda w: w.update({"conv1.bias": mx.zeros(7)})),
        r"conv1.bias has the shape \(7,\), expected \(6,\)",
    ),
    "other type": (weights(lambda w: w.update({"fc3.bias": mx.zeros(10, mx.float16)})), "fc3.bias is .*16"),
    "not a number": (
        weights(lambda w: w.update({"fc2.bias": mx.full(84, float("nan"))})),
        "fc2.bias holds values that are no numbers",
    ),
    "many missing": (weights(lambda w: w.clear()), "missing conv1.bias, conv1.weight"),
    "weights cut": (cut("weights.safetensors", 5_000), "weights.safetensors is damaged"),
    "weights emptied": (cut("weights.safetensors", 0), "weights.safetensors is damaged"),
    "no weights": (lambda path: (path / "weights.safetensors").unlink(), "weights.safetensors is missing"),
    "no config": (lambda path: (path / "config.json").unlink(), "holds no trained model"),
    "config cut": (cut("config.json", 30), "config.json is damaged"),
    "config a list": (lambda path: (path / "config.json").write_text("[]"), "it holds no object"),
    "config not text": (lambda path: (path / "config.json").write_bytes(b"\xff\xfe"), "is damaged"),
    "another format": (config(format=2), "of format 2, this version reads 1"),
    "unknown model": (config(model="resnet"), "'resnet' is unknown"),
    "unknown setting": (config(config={"style": "modern", "depth": 3}), "depth"),
    "bad setting": (config(config={"style": "1998", "classes": 11}), "codes for 10 classes"),
    "labels no list": (config(labels=3), "config.json is damaged"),
    "labels too few": (config(labels=["a", "b"]), "2 labels for 10 classes"),
}


@pytest.mark.parametrize(("harm", "message"), HARM.values(), ids=HARM)
def test_damage_is_told(run: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(run)
    with pytest.raises(UserError, match=message):
        runs.load(run)


def test_existing_run_needs_force(run: Path) -> None:
    with pytest.raises(OutputExists, match="is there already"), runs.training_folder(run):
        pass
    before = np.array(runs.load(run).model.fc1.weight)
    write(run, seed=1)
    assert not np.array_equal(before, np.array(runs.load(run).model.fc1.weight))


def test_run_stays_until_its_replacement_is_complete(run: Path) -> None:
    before = np.array(runs.load(run).model.fc1.weight)
    with pytest.raises(ZeroDivisionError), runs.training_folder(run, force=True) as live:
        (live / "metrics.jsonl").write_text("{}")
        raise ZeroDivisionError
    assert runs.live_folder(run) == live
    assert np.array_equal(before, np.array(runs.load(run).model.fc1.weight))
    with runs.training_folder(run, resume=True) as again:
        assert again == live
        assert (live / "metrics.jsonl").exists()
    with runs.training_folder(run, force=True) as again:
        assert list(again.glob("[a-z]*")) == [], "--force begins anew"


@pytest.mark.parametrize("flags", [{}, {"force": True}, {"resume": True}])
def test_foreign_folders_are_refused(tmp_path: Path, flags: dict[str, bool]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExists), runs.training_folder(tmp_path, **flags):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_foreign_file_in_a_run_is_never_removed(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    with pytest.raises(OutputExists, match=r"notes\.txt"), runs.training_folder(run, force=True):
        pass
    assert (run / "notes.txt").read_text() == "mine"
    assert runs.load(run).labels == LABELS


@pytest.mark.parametrize("flags", [{}, {"force": True}, {"resume": True}])
def test_links_are_not_followed(tmp_path: Path, run: Path, flags: dict[str, bool]) -> None:
    link = tmp_path / "link"
    link.symlink_to(run)
    with pytest.raises(OutputExists), runs.training_folder(link, **flags):
        pass
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "step-0000001").mkdir()
    inside = write(tmp_path / "second")
    (inside / "checkpoints").symlink_to(elsewhere)
    with pytest.raises(OutputExists), runs.training_folder(inside, **flags):
        pass
    assert (elsewhere / "step-0000001").is_dir()


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    with runs.training_folder(tmp_path / "run"):
        for flags in ({"force": True}, {"resume": True}):
            second = runs.training_folder(tmp_path / "run", **flags)
            with pytest.raises(UserError, match="another process trains"), second:
                pass
    with runs.training_folder(tmp_path / "run", resume=True):
        pass


def test_empty_folder_may_be_used(tmp_path: Path) -> None:
    with runs.training_folder(tmp_path) as live:
        assert live == tmp_path
