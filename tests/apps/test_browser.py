"""The web app in a real Chromium: what it says of pictures, digits and texts is what Python says."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from edgevision import data
from edgevision.app.browser import write_site
from edgevision.app.page import built_page, node
from edgevision.app.serve import server
from edgevision.benchmark.browser import find_chromium
from edgevision.cli import main
from edgevision.data.scenes import draw
from edgevision.errors import UserError
from edgevision.inference.captioner import Style, captions, described, open_captioner, picture_array
from edgevision.inference.generation import generate
from edgevision.inference.sampling import Sampling
from edgevision.inference.writers import open_writer

SEVEN = [[0.3, 0.2], [0.7, 0.2], [0.45, 0.85]]
ONE = [[0.5, 0.15], [0.5, 0.85]]


@pytest.fixture(scope="session")
def page():
    try:
        return built_page()
    except UserError as error:
        network = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ECONNRESET", "E403", "E404")
        if any(code in str(error) for code in network):
            pytest.skip("npm's registry cannot be reached")
        raise


@pytest.fixture(scope="session")
def chromium():
    found = find_chromium()
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-qq", *command], capture_output=True, check=False, timeout=400)
        found = find_chromium()
    if found is None:
        pytest.skip("there is no Chromium, and it could not be installed")
    return found


@pytest.fixture(scope="session")
def site(exported, page, tmp_path_factory):
    return write_site(list(exported["onnx"].values()), tmp_path_factory.mktemp("site") / "site")


@pytest.fixture(scope="session")
def browse(page, chromium):
    """Run a scenario of apps/browser/test/chromium.ts; gives what was seen."""

    def run(scenario, address, complaints=False, **given):
        npm, environment = node()
        program = npm[0] if len(npm) > 1 else "node"
        script = page.parent / "test" / "chromium.ts"
        command = [program, script, scenario, address, json.dumps(given), chromium]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stderr[-3000:]
        result = json.loads(done.stdout)
        assert result["foreign"] == [], "nothing is asked of other servers"
        if not complaints:
            assert result["complaints"] == []
        return result["seen"]

    return run


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory):
    """A LeNet that has seen some of MNIST."""
    run = tmp_path_factory.mktemp("digits") / "run"
    try:
        data.load("mnist")
    except UserError as missing:
        pytest.skip(str(missing))
    assert main(["train", "lenet", "--data", "mnist", "--steps", "200", "--out", str(run)]) == 0
    return run


@contextmanager
def served(folder):
    with server(folder, port=0) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{made.server_address[1]}/"
        finally:
            made.shutdown()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for index, image in enumerate(draw("test", 10).images):
        paths.append(str(folder / f"{index}.png"))
        picture = Image.fromarray(image)
        picture.resize((64 + 9 * index, 64 + 5 * index), Image.Resampling.NEAREST).save(paths[-1])
    return paths


def python_says(export, picture, beams=1):
    writer = open_captioner(export)
    found = captions(writer, picture_array(picture, writer.side)[0], Style(beams=beams))[0]
    text = described(writer, found)
    return text["text"] + (" …" if text["cut"] else "")


def test_what_it_says_is_what_python_says(exported, site, browse, pictures):
    export = exported["onnx"]
    settings = [
        {"temperature": 0, "top-k": 0, "top-p": 1, "limit": 20, "seed": 0},
        {"temperature": 1.2, "top-k": 12, "top-p": 0.9, "limit": 20, "seed": 7},
    ]
    texts = [{"prompt": "a large red", "settings": each} for each in settings]
    with served(site) as address:
        seen = browse("all", address, pictures=pictures, digit=SEVEN, texts=texts, strange="ΩΩ")
    expected = {picture: python_says(export["caption"], picture) for picture in pictures}
    assert seen["captions"] == expected
    assert len(set(expected.values())) > 3, "the sentences must differ to mean something"
    assert seen["beams"] == python_says(export["caption"], pictures[0], beams=4)
    assert seen["offline"] == expected[pictures[0]]
    assert seen["isolated"], "threads need it"
    assert seen["digit"]["found"] in "0123456789"
    writer = open_writer(export["write"])
    for found, each in zip(seen["texts"], settings, strict=True):
        sampling = Sampling(each["temperature"], each["top-k"], each["top-p"], seed=each["seed"])
        record, parts = generate(writer, "a large red", sampling, each["limit"])
        list(parts)
        assert found["text"] == record.text
        assert f"{len(record.tokens)} tokens" in found["facts"]
        assert found["parts"][-1].endswith(record.text)
    assert "knows no character" in seen["strange"]


def test_webgpu_gives_the_same(exported, site, browse, pictures):
    """Chromium's adapter in software; a browser without one says so."""
    export, prompt = exported["onnx"], "a large red"
    settings = {"temperature": 0, "top-k": 0, "top-p": 1, "limit": 12, "seed": 0}
    with served(site) as address:
        seen = browse("webgpu", address, picture=pictures[0], prompt=prompt, settings=settings)
        refused = browse("message", address, query="?runtime=webgpu")
    assert "WebGPU" in seen["runtime"]
    assert seen["sentences"] == [python_says(export["caption"], pictures[0], beams) for beams in (1, 4)]
    record, parts = generate(open_writer(export["write"]), prompt, Sampling(0), 12)
    list(parts)
    assert seen["text"]["text"] == record.text
    assert "no WebGPU" in refused["message"]


def test_what_needs_no_browser_is_pythons_too(page):
    """The fixtures of all apps, in Node."""
    npm, environment = node()
    command = [*npm, "test", "--silent"]
    done = subprocess.run(
        command, cwd=page.parent, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_drawn_digit_is_read(trained_digits, browse, page, tmp_path):
    site = write_site([trained_digits], tmp_path / "site")
    with served(site) as address:
        seen = browse("drawings", address, digits=[SEVEN, ONE])
    assert [one["found"] for one in seen] == ["7", "1"]
    assert all("updates in the last second" in one["facts"] for one in seen)


def test_bad_pictures_and_the_camera(exported, site, browse, pictures, tmp_path):
    text, broken, huge, turned = (tmp_path / n for n in ("a.txt", "broken.png", "huge.png", "turned.jpg"))
    text.write_text("no picture")
    whole = Path(pictures[0]).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    huge.write_bytes(whole[:16] + (60000).to_bytes(4, "big") * 2 + whole[24:])
    exif = Image.Exif()
    exif[0x0112] = 6
    halves = np.zeros((32, 64, 3), np.uint8)
    halves[:, :32] = (200, 30, 30)
    Image.fromarray(halves).save(turned, exif=exif, quality=95)
    with served(site) as address:
        bad = [str(text), str(broken), str(huge)]
        seen = browse("pictures", address, bad=bad, good=[str(turned)], complaints=True)
    said = seen["messages"]
    assert "a.txt is not a picture" in said[str(text)]
    assert "damaged" in said[str(broken)]
    assert "60000 x 60000" in said[str(huge)]
    assert "notes.txt is not a picture" in seen["drop"]
    assert "camera" in seen["camera"]
    assert seen["good"][str(turned)] == python_says(exported["onnx"]["caption"], turned)
    assert seen["left"], "a message goes when the next picture is good"


def test_the_camera_is_captioned_live(site, browse):
    with served(site) as address:
        seen = browse("camera", address)
    assert seen["live"]
    assert seen["sentence"]
    assert seen["pressed"] == "false"


def test_the_keyboard_is_enough(site, browse):
    with served(site) as address:
        seen = browse("keyboard", address)
    assert re.fullmatch(r"Pen down at \d+ %, \d+ %", seen["pen"])
    assert seen["found"] in "0123456789"
    assert seen["selected"] == "true"


def changed(site, folder, change):
    """A copy of a site whose models.json, or a file that it names, is another."""
    shutil.copytree(site, folder)
    listed = json.loads((folder / "models" / "models.json").read_text())
    change(listed, folder / "models")
    (folder / "models" / "models.json").write_text(json.dumps(listed))
    return folder


def newer(listed, models):
    listed["format"] = 2


def damaged(listed, models):
    file = models / listed["caption"]["files"]["encoder"]["url"]
    file.write_bytes(file.read_bytes()[:-1] + b"\0")


def no_model(listed, models):
    entry = listed["caption"]["files"]["encoder"]
    content = b"no model at all" * 100
    (models / entry["url"]).write_bytes(content)
    entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def missing(listed, models):
    (models / listed["caption"]["files"]["decoder"]["url"]).unlink()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (newer, "another version"),
        (damaged, "damaged, or was changed"),
        (no_model, "cannot be loaded"),
        (missing, "is not on the server"),
    ],
)
def test_a_model_that_is_not_as_promised_is_said(site, browse, tmp_path, change, expected):
    with served(changed(site, tmp_path / "site", change)) as address:
        assert expected in browse("message", address, complaints=True)["message"]


@contextmanager
def breaking(folder, ending, after):
    """A server whose connection is lost after some bytes of each file, once; and what is asked of it."""
    asked, broken = [], set()
    with server(folder, port=0) as made:
        handler: Any = made.RequestHandlerClass

        class Breaking(handler):
            def do_GET(self):
                if self.path.endswith(ending):
                    asked.append((self.path, self.headers.get("Range")))
                    if self.path not in broken:
                        broken.add(self.path)
                        self.wfile = _Cut(self.wfile, self.connection, after)
                super().do_GET()

        made.RequestHandlerClass = cast(Any, Breaking)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{made.server_address[1]}/", asked
        finally:
            made.shutdown()


class _Cut:
    """A stream that ends in the midst."""

    def __init__(self, stream, connection, after):
        self.stream, self.connection, self.left = stream, connection, after

    def write(self, content):
        self.stream.write(content[: self.left])
        self.stream.flush()
        self.left -= min(self.left, len(content))
        if self.left == 0:
            time.sleep(0.3)  # what was sent is read; an error would take it along
            self.connection.shutdown(2)
            raise ConnectionAbortedError
        return len(content)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def test_a_lost_connection_is_taken_up_where_it_was(site, browse):
    size = (site / "models" / "write" / "model.onnx").stat().st_size
    with breaking(site, "write/model.onnx", size // 2) as (address, asked):
        assert browse("tabs", address, count=1, complaints=True)["ready"] == 1
    assert len(asked) == 2
    assert asked[0][1] is None
    begun = re.fullmatch(r"bytes=(\d+)-", asked[1][1])
    assert begun
    assert 0 < int(begun[1]) <= size // 2


def test_tabs_load_a_model_once(site, browse):
    with breaking(site, "write/model.onnx", 1 << 40) as (address, asked):
        assert browse("tabs", address, count=3)["ready"] == 3
    assert len(asked) == 1


def test_the_page_is_small(page):
    files = [*page.glob("*"), *page.glob("assets/*")]
    own = sum(file.stat().st_size for file in files if file.suffix in (".js", ".css", ".html"))
    assert own < 200_000
