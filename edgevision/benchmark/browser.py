"""The web app in a headless Chromium, beside onnxruntime in Python with the same captioner in int8."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from statistics import median
from typing import Any

from edgevision.benchmark.captions import exported, ours, saved
from edgevision.benchmark.timing import timed
from edgevision.inference.writers import usable_cores

TITLE = "web app in Chromium, WebAssembly; captioner in int8"
ROUNDS = 40
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
STROKES = [[0.3, 0.2], [0.7, 0.2], [0.45, 0.85]]


def web_figures(folder: Path, rounds: int = ROUNDS) -> dict[str, str]:
    """A caption from the file to the sentence and its ratio to Python's, updates in a second of drawing,
    seconds until a page is ready whose models are kept, and the size of what is not the runtime.

    Raises:
        UserError: the page cannot be built, or Chromium is missing.
    """
    from edgevision.app.browser import write_site
    from edgevision.app.page import built_page
    from edgevision.app.serve import server

    page = built_page()
    script = Path(__file__).parents[2] / "apps" / "browser" / "test" / "chromium.ts"
    run, picture = saved(folder / "captioner")
    graphs, _ = exported(run, "int8")
    site = write_site([graphs, _lenet(folder / "lenet")], folder / "site")
    write, text = ours(graphs, picture)
    cores = min(usable_cores(), 4)
    given = {"picture": str(picture), "rounds": rounds, "threads": cores, "digit": STROKES}
    with server(site, port=0) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{made.server_address[1]}/"
        turns = [
            (median(timed(write) for _ in range(rounds)), _chromium(script, "speed", address, given))
            for _ in range(3)
        ]
        made.shutdown()
    assert all(seen["text"].startswith(text.strip()) for _, seen in turns), "the app writes another sentence"
    mine, theirs = median(t for t, _ in turns), median(seen["milliseconds"] for _, seen in turns)
    own = [file for name in ("*.html", "*.js", "assets/*") for file in page.glob(name)]
    updates, ready = (median(seen[name] for _, seen in turns) for name in ("updates", "ready"))
    return {
        "a caption": f"{theirs:.1f} ms with {cores} threads, {theirs / mine / 1000:.1f} x the time in Python",
        "drawing a digit": f"{updates:.0f} updates a second",
        "ready, models kept": f"{ready / 1000:.2f} s",
        "scripts and styles": f"{sum(file.stat().st_size for file in own) / 1000:.0f} kB without the runtime",
    }


def find_chromium() -> str | None:
    """The program of a Chromium or Chrome that is installed."""
    found = (path for name in NAMES if (path := shutil.which(name)))
    return next(found, MAC if os.path.exists(MAC) else None)


def _chromium(script: Path, scenario: str, address: str, given: dict[str, Any]) -> dict[str, Any]:
    from edgevision.app.page import node
    from edgevision.errors import UserError

    chromium = find_chromium()
    if chromium is None:
        raise UserError("there is no Chromium", hint="install chromium or Chrome")
    npm, environment = node()
    program = npm[0] if len(npm) > 1 else "node"
    command = [program, str(script), scenario, address, json.dumps(given), chromium]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["seen"]


def _lenet(run: Path) -> Path:
    """An untrained one: it takes as long."""
    from dataclasses import asdict

    from edgevision import runs
    from edgevision.models import lenet

    config = lenet.VARIANTS["modern"]
    facts = {"model": "lenet", "variant": "modern", "config": asdict(config), "data": "mnist"}
    facts |= {"input": {"shape": [28, 28, 1], "scale": 1 / 255}}
    runs.save(run, lenet.Model(config), facts, tuple("0123456789"))
    return run


__all__ = ["TITLE", "find_chromium", "web_figures"]
