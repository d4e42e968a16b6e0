"""`edgevision train` and `evaluate` as a person uses them: killed, resumed, and with wrong input."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgevision import runs
from edgevision.data import load
from edgevision.errors import UserError
from edgevision.training.recipe import recipe_of
from edgevision.training.run import Plan, train_run

SHORT = ("--data", "digits", "--steps", "60", "--batch-size", "16")
# As `python -m edgevision`, with few pictures, and saving every third step: more moments that a kill can hit.
SAVES_OFTEN = """
import sys
from edgevision import cli, data
from edgevision.training import loop, run
loop.SAVE_EVERY = 3
run.load = lambda name, split: data.load(name, split, 500)
sys.exit(cli.main())
"""


def start(*arguments: object, program: str | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, *(["-c", program] if program else ["-m", "edgevision"])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, *map(str, arguments)], **pipes)


def edgevision(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    return ended(start(*arguments))


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, " ".join(err.split()) if process.returncode == 0 else err


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds or the process ends."""
    while process.poll() is None and not there():
        time.sleep(0.005)


def digest(path: Path) -> str:
    return hashlib.sha256((path / "weights.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests that change it make their own."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    code, said, err = edgevision("train", "lenet", *SHORT, "--seed", 1, "--out", out)
    assert code == 0, err
    assert "test accuracy" in said
    return out


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the trainings that are killed should come to."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    code, _, err = ended(start("train", "lenet", *SHORT, "--seed", 1, "--out", out, program=SAVES_OFTEN))
    assert code == 0, err
    return out


def resume(out: Path) -> str:
    """Go on to the end; gives stderr."""
    code, _, err = ended(start("train", "lenet", "--resume", "--out", out, program=SAVES_OFTEN))
    assert code == 0, err
    return err


def test_run_folder_is_complete(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert (config["format"], config["model"], config["variant"], config["data"]) == (
        1,
        "lenet",
        "modern",
        "digits",
    )
    assert config["training"]["steps"] == 60
    assert config["training"]["seed"] == 1
    assert config["result"]["seconds"] > 0
    assert config["machine"]["blas"]["state"] in ("loaded", "unused", "off", "failed")
    assert json.loads((trained / "labels.json").read_text()) == [str(digit) for digit in range(10)]
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "loss" in r] == [50, 60]
    assert (trained / "curve.png").is_file()
    assert sorted(path.name for path in trained.glob(".*")) == [".edgevision.json"]


def test_evaluate_tells_accuracy_and_confusion(trained: Path) -> None:
    code, said, err = edgevision("evaluate", trained, "--json")
    assert code == 0, err
    result = json.loads(said)
    assert result["data"] == "digits"
    assert sum(map(sum, result["confusion"])) == result["count"] == 2_000
    right = sum(result["confusion"][index][index] for index in range(10))
    assert result["accuracy"] == pytest.approx(right / 2_000)
    told = json.loads((trained / "config.json").read_text())["result"]["test_accuracy"]
    assert result["accuracy"] == pytest.approx(told)
    code, said, _ = edgevision("evaluate", trained)
    assert code == 0
    assert f"{result['errors']} of 2000 wrong" in said


def pointer(out: Path) -> str:
    """The name of the newest checkpoint."""
    path = out / "checkpoints/latest"
    return path.read_text() if path.exists() else ""


def test_killed_at_any_moment_it_resumes_to_the_bit(straight: Path, tmp_path: Path) -> None:
    """Kill -9 again and again; what the training leaves can always be gone on with."""
    out, moments = tmp_path / "run", random.Random(4)
    options: tuple[object, ...] = (*SHORT, "--seed", 1)
    codes = []
    for attempt in range(5):
        process = start("train", "lenet", *options, "--out", out, program=SAVES_OFTEN)
        if attempt == 0:
            wait_until((out / "training.json").exists, process)
        else:
            before = pointer(out)
            wait_until(lambda before=before: pointer(out) != before, process)
            time.sleep(moments.uniform(0, 0.03))
        process.kill()
        codes.append(ended(process)[0])
        options = ("--resume",)
    assert set(codes) <= {0, -signal.SIGKILL}
    assert codes.count(-signal.SIGKILL) >= 2
    resume(out)
    assert digest(out) == digest(straight)
    assert list(out.rglob("*.replacing")) == []


def test_killed_while_it_replaces_a_run_leaves_the_old_one(straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert ended(start("train", "lenet", *SHORT, "--out", out, program=SAVES_OFTEN))[0] == 0
    old = digest(out)
    assert old != digest(straight)
    process = start("train", "lenet", *SHORT, "--seed", 1, "--out", out, "--force", program=SAVES_OFTEN)
    wait_until((out / "replacement/checkpoints/latest").exists, process)
    process.kill()
    assert ended(process)[0] == -signal.SIGKILL
    assert digest(out) == old
    assert runs.load(out).labels[3] == "3"
    resume(out)
    assert digest(out) == digest(straight)
    assert not (out / "replacement").exists()


def test_interrupt_is_one_line_that_says_how_to_go_on(straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start("train", "lenet", *SHORT, "--seed", 1, "--out", out, program=SAVES_OFTEN)
    wait_until((out / "checkpoints/latest").exists, process)
    process.send_signal(signal.SIGINT)
    code, said, err = ended(process)
    assert (code, said) == (130, "")
    assert "Traceback" not in err
    assert "--resume" in err.splitlines()[-1]
    code, _, err = edgevision("evaluate", out)
    assert code == 1
    assert "--resume" in err
    code, _, err = edgevision("train", "lenet", "--steps", 61, "--out", out, "--resume")
    assert code == 1
    assert "steps was 60, is 61" in err
    resume(out)
    assert digest(out) == digest(straight)
    assert "finished already" in resume(out)


WRONG: dict[str, tuple[list[str], int, str]] = {
    "model": (["train", "resnet", "--out", "x"], 2, "model 'resnet' is unknown (choose from lenet"),
    "variant": (["train", "lenet", "--variant", "1999", "--out", "x"], 2, "choose from modern, 1998"),
    "data set": (["train", "lenet", "--data", "imagenet", "--out", "x"], 2, "'imagenet' is unknown"),
    "option": (["train", "lenet", "--speed", "3", "--out", "x"], 2, "--speed"),
    "no out": (["train", "lenet"], 2, "--out"),
    "steps": (["train", "lenet", "--steps", "0", "--out", "x"], 2, "--steps"),
    "both lengths": (["train", "lenet", "--steps", "1", "--epochs", "1", "--out", "x"], 2, "exclude"),
    "both wishes": (["train", "lenet", *SHORT, "--force", "--resume", "--out", "x"], 2, "exclude each other"),
    "below a file": (["train", "lenet", *SHORT, "--out", "file/run"], 1, "file"),
    "a file": (["train", "lenet", *SHORT, "--force", "--out", "file"], 1, "file"),
    "foreign folder": (["train", "lenet", *SHORT, "--force", "--out", "foreign"], 1, "was not written by"),
    "existing": (["train", "lenet", *SHORT, "--out", "foreign"], 1, "is there already (--force"),
    "no run": (["evaluate", "nowhere"], 1, "nowhere is not there"),
    "no model inside": (["evaluate", "foreign"], 1, "foreign holds neither a run nor an artefact"),
}


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    returned, said, err = edgevision(*arguments)
    assert (returned, said) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "foreign", "notes.txt"]
    assert (tmp_path / "file").read_text() == "a file"


def test_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """No file may grow beyond 50 kB, as on a disk that is full: the weights do not fit."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000));" + SAVES_OFTEN
    out = tmp_path / "run"
    code, said, err = ended(start("train", "lenet", *SHORT, "--out", out, program=limited))
    assert (code, said) == (1, "")
    assert "Traceback" not in err
    assert "File too large" in err.splitlines()[-1]
    assert not runs.is_run(out)
    assert list(out.rglob("*.replacing")) == []
    assert list(out.rglob("step-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "error"), [("modern", 0.007), ("1998", 0.01)])
def test_accuracy_on_mnist(tmp_path: Path, variant: str, error: float) -> None:
    try:
        load("mnist", "test")
    except UserError as missing:
        pytest.skip(str(missing))
    result = train_run(Plan("lenet", variant, "mnist", recipe_of("lenet", variant)), tmp_path / "run")
    assert 1 - result["test_accuracy"] < error
