"""Checkpoints by name: from a server that answers as the Hugging Face Hub does, then from its cache."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlx.core as mx
import pytest

from edgevision.models import vit

NAME, COMMIT = "somebody/small-vit", "0123456789abcdef0123456789abcdef01234567"
PROGRAM = """
import sys
from edgevision import cli, pretrained_vit
from edgevision.errors import UserError
import mlx.core as mx
try:
    found = pretrained_vit.load(sys.argv[1])
except UserError as error:
    sys.exit(error.message)
print(found.model.config.layers, found.labels[0], found.model(mx.full((1, 16, 16, 3), 0.25)).tolist())
"""


class Hub(ThreadingHTTPServer):
    """The files of one model at one commit; `asked` are the paths that were got."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Answers)
        self.folder, self.asked = folder, []


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Hub)
        path = self.path.partition("?")[0]
        if self.command == "GET":
            self.server.asked.append(path)
        if path == f"/api/models/{NAME}/revision/main":
            files = [{"rfilename": file.name} for file in sorted(self.server.folder.iterdir())]
            self.answer(json.dumps({"id": NAME, "sha": COMMIT, "siblings": files}).encode(), "info")
        elif path == f"/api/models/{NAME}/tree/{COMMIT}":
            files = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": file.name}
                for file in sorted(self.server.folder.iterdir())
            ]
            self.answer(json.dumps(files).encode(), "tree")
        elif path.startswith(f"/{NAME}/resolve/{COMMIT}/"):
            content = (self.server.folder / path.rpartition("/")[2]).read_bytes()
            self.answer(content, hashlib.sha256(content).hexdigest())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def answer(self, content: bytes, tag: str) -> None:
        self.send_response(200)
        headers = {"Content-Length": len(content), "ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


def load(name: str, endpoint: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the Hub's client reads its address once."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-c", PROGRAM, name]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_a_checkpoint_is_loaded_by_its_name(tmp_path):
    pytest.importorskip("huggingface_hub")
    folder = tmp_path / "served"
    folder.mkdir()
    mx.random.seed(0)
    model = vit.Model(vit.Config(16, 8, classes=2, layers=2, heads=2, width=16))
    model.head.weight = mx.random.normal(model.head.weight.shape)
    model.save_pretrained(folder, ["cat", "dog"])
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody asks for")
    model.eval()
    wanted = f"2 cat {model(mx.full((1, 16, 16, 3), 0.25)).tolist()}"
    with Hub(folder) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{hub.server_address[1]}"
        found = load(NAME, endpoint, tmp_path / "cache")
        assert found.stdout.strip() == wanted, found.stderr
        assert not any("pytorch_model" in path for path in hub.asked)
        missing = load("nobody/nothing", endpoint, tmp_path / "cache")
        assert missing.returncode == 1
        assert "nobody/nothing is no folder, and the Hub does not give it" in missing.stderr
        hub.shutdown()
    again = load(NAME, endpoint, tmp_path / "cache")  # nobody answers now
    assert again.stdout.strip() == wanted, again.stderr
