"""`edgevision caption --watch`, and the watching of folders behind it."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from edgevision import cli
from edgevision.data import scenes
from edgevision.errors import UserError
from edgevision.inference.arrivals import arrivals

WAIT_SECONDS = 120


def test_only_what_is_new_and_complete_is_told(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    found: queue.Queue[str] = queue.Queue()

    def follow() -> None:
        with pytest.raises(UserError, match="not a folder"):
            for path in coming:
                found.put(path.name)
        found.put("the folder is gone")

    coming = arrivals(tmp_path, pause=0.2)
    thread = threading.Thread(target=follow)
    thread.start()
    (tmp_path / ".hidden.png").write_bytes(b"hidden")
    (tmp_path / "empty.png").touch()
    (tmp_path / "new.png").write_bytes(b"new")
    assert found.get(timeout=WAIT_SECONDS) == "new.png"
    (tmp_path / "old.png").write_bytes(b"written anew")
    assert found.get(timeout=WAIT_SECONDS) == "old.png"
    (tmp_path / "empty.png").write_bytes(b"no longer")
    assert found.get(timeout=WAIT_SECONDS) == "empty.png"
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert found.get(timeout=WAIT_SECONDS) == "the folder is gone"
    thread.join()


def test_a_growing_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows at each look but the last two; time is what the loop sleeps."""
    from edgevision.inference import arrivals as module

    looks = 0

    def grow(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks <= 3:
            with (tmp_path / "a.png").open("ab") as file:
                file.write(b"more")

    coming = arrivals(tmp_path)
    monkeypatch.setattr(module.time, "sleep", grow)
    assert next(coming).stat().st_size == 12
    assert looks == 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner of two steps, and the pictures that it saw."""
    root = tmp_path_factory.mktemp("watched")
    drawn = scenes.draw("train", 40)
    with (root / "captions.jsonl").open("w") as file:
        for index, (image, sentence) in enumerate(zip(drawn.images, drawn.captions, strict=True)):
            Image.fromarray(image).save(root / f"{index}.png")
            file.write(json.dumps({"image": f"{index}.png", "caption": sentence}) + "\n")
    command = ["train", "captioner", "--variant", "scenes", "--data", str(root), "--out", str(root / "run")]
    assert cli.main([*command, "--steps", "2", "--batch-size", "16", "--vocabulary", "300"]) == 0
    return root


def test_a_watched_folder_says_what_the_command_says_of_the_picture(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, run = tmp_path / "in", model / "run"
    folder.mkdir()
    command = [sys.executable, "-m", "edgevision", "caption", run, "--watch", folder, "--json"]
    pipe = subprocess.PIPE
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell put us behind
    with subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe) as process:
        signal.signal(signal.SIGINT, heard)
        timer = threading.Timer(WAIT_SECONDS, process.kill)
        timer.start()
        assert process.stdout
        assert process.stderr
        assert "watching" in process.stderr.readline()
        (folder / "broken.png").write_bytes(b"no picture")
        assert "broken.png" in process.stderr.readline()
        os.replace(model / "0.png", folder / "0.png")
        told = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        timer.cancel()
    capfd.readouterr()
    assert cli.main(["caption", str(run), str(folder / "0.png"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["pictures"] == [told]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give pictures, or a folder with --watch"),
        (["a.png", "--watch", "."], 2, "give pictures, or a folder with --watch"),
        (["--watch", ".", "--csv", "new.csv"], 2, "--csv"),
        (["--watch", "nowhere"], 1, "nowhere is not a folder"),
    ],
)
def test_wrong_uses_are_said(
    model: Path, arguments: list[str], code: int, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert cli.main(["caption", str(model / "run"), *arguments]) == code
    assert message in capfd.readouterr().err
