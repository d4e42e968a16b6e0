"""`edgevision caption --camera`, and pictures in terminals."""

import base64
import io
import json
import os
import pty
import re
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map
from PIL import Image

from edgevision import pretrained_captioner
from edgevision.cli import main
from edgevision.data import scenes
from edgevision.errors import UserError
from edgevision.inference.camera import frames
from edgevision.inference.captioner import Style, captions, described, open_captioner
from edgevision.inline_pictures import drawn, protocol
from edgevision.models import captioner, decoder_lm
from edgevision.text.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained captioner whose weights are large, so that its sentences vary."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer("characters", ["a large red circle left of a small blue square. "])
    decoder = decoder_lm.Config("gpt2", tokenizer.size, 16, 1, 2, width=16, tied=False)
    mx.random.seed(3)
    model = captioner.Model(captioner.Config(16, widths=(8, 16), decoder=decoder))
    model.update(tree_map(lambda w: w * 5 if w.ndim == 2 else w, model.parameters()))
    pretrained_captioner.save(folder, model, tokenizer, {"longest": 9})
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Three scenes, each for four frames; it stands for a camera."""
    cv2 = pytest.importorskip("cv2", reason="needs the extra camera")
    path = str(tmp_path_factory.mktemp("video") / "scenes.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"FFV1"), 10, (64, 64))
    if not writer.isOpened():
        pytest.skip("OpenCV was built without FFmpeg")
    for image in scenes.draw("test", 3).images:
        for _ in range(4):
            writer.write(np.ascontiguousarray(image[:, :, ::-1]))
    writer.release()
    return path


def test_frames_are_pictures(video):
    found = [np.asarray(frame) for frame in frames(video)]
    assert len(found) == 12
    expected = scenes.draw("test", 3).images
    for place, frame in enumerate(found):  # the codec keeps colours in another form
        assert np.abs(frame.astype(int) - expected[place // 4]).mean() < 8


def test_a_camera_is_captioned_when_it_sees_something_else(run, video, capsys):
    assert main(["caption", str(run), "--camera", video, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    writer = open_captioner(run)
    said: list[str] = []
    for frame in frames(video):
        array = np.asarray(frame.resize((16, 16), Image.Resampling.BICUBIC, reducing_gap=3.0), np.float32)
        text = described(writer, captions(writer, array[None] / np.float32(255), Style())[0])["text"]
        said += [text] if said[-1:] != [text] else []
    assert [line["captions"][0]["text"] for line in lines] == said


@pytest.mark.parametrize(("source", "expected"), [("nothing.avi", "no video"), ("77", "no camera 77")])
def test_no_camera_is_one_line(run, video, capfd, source, expected):
    assert main(["caption", str(run), "--camera", source]) == 1
    error = capfd.readouterr().err
    assert expected in error
    assert error.count("\n") <= 2


def test_without_opencv_the_command_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install 'edgevision\[camera\]'"):
        next(frames("0"))


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app", "COLORTERM": "truecolor"}, "iterm2"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "blocks"),
        ({"TERM": "tmux-256color", "TMUX": "x", "KITTY_WINDOW_ID": "1", "COLORTERM": "truecolor"}, "blocks"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, None),
        ({"TERM": "vt100"}, None),
    ],
)
def test_terminals_are_known(environment, kind):
    assert protocol(environment) == kind


@pytest.mark.parametrize("kind", ["kitty", "iterm2"])
def test_protocols_carry_the_picture(kind):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    sent = drawn(picture, kind)
    if kind == "kitty":
        parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sent)
        assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in parts) + "\n" == sent
        assert all(len(data) <= 4096 for _, data in parts)
        assert [keys[-3:] for keys, _ in parts] == ["m=1"] * (len(parts) - 1) + ["m=0"] or len(parts) == 1
        data = "".join(data for _, data in parts)
    else:
        found = re.fullmatch(r"\x1b\]1337;File=inline=1;[^:]*:([^\x07]*)\x07\n", sent)
        assert found
        data = found[1]
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(picture))


def test_half_blocks_are_pixels():
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 8, 7]]], np.uint8)
    lines = drawn(Image.fromarray(colours), "blocks").splitlines()
    assert lines == [
        "\x1b[38;2;255;0;0m\x1b[48;2;0;0;255m▀\x1b[38;2;0;255;0m\x1b[48;2;9;8;7m▀\x1b[0m",
    ]


def test_a_terminal_gets_the_picture_and_a_file_does_not(run, tmp_path):
    path = tmp_path / "scene.png"
    Image.fromarray(scenes.draw("test", 1).images[0]).save(path)
    command = [sys.executable, "-m", "edgevision", "caption", str(run), str(path), "--show"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for name in ("TMUX", "KITTY_WINDOW_ID", "TERM_PROGRAM"):
        environment.pop(name, None)
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as running:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so that the other side is closed
                break
            if not part:
                break
            seen += part
        assert running.wait(30) == 0
    os.close(ours)
    assert seen.decode().count("▀") > 100
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "no terminal that shows pictures" in done.stderr
