"""What the documentation shows is true: its snippets run, print what is said, and draw the pictures.

In `README.md` and `docs/**/*.md`, in the order of the page and in one empty folder:

    ```python           is executed, with the names of the blocks above; ```python no-run is not
    ```sh run           is executed by sh; other sh blocks are not
    ```text output      directly after such a block is what it prints

Pictures that a page writes into `images/` are those that lie in `docs/images/`.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
SECONDS_MAX = 120  # per block of sh
LEVELS_MAX = 8  # of 255: other versions of Pillow round otherwise


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and marks, its text, the number of its first line."""

    marks: tuple[str, ...]
    text: str
    line: int

    @property
    def runs(self) -> bool:
        return (self.marks[:1] == ("python",) and "no-run" not in self.marks) or self.marks == ("sh", "run")


def blocks(page: str) -> Iterator[tuple[Block, str | None]]:
    """The blocks that run, each with what it prints, where the page says so."""
    found = list(FENCE.finditer(page))
    for match, after in zip(found, [*found[1:], None][: len(found)], strict=True):
        block = Block(tuple(match[1].split()), match[2], page.count("\n", 0, match.start()) + 2)
        if block.runs:
            output = after if after is not None and after[1] == "text output" else None
            adjoins = output is not None and not page[match.end() : output.start()].strip()
            yield block, output[2] if output is not None and adjoins else None


def run(block: Block, page: Path, names: dict[str, Any]) -> str:
    """Execute a block in the current folder; what it printed."""
    where = f"{page.name}, line {block.line}"
    if block.marks[0] == "python":
        printed = io.StringIO()
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        return printed.getvalue()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-e", "-c", block.text],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env=environment,
    )
    assert done.returncode == 0, f"{where}: exit code {done.returncode}\n{done.stderr}"
    assert "Traceback" not in done.stderr, f"{where}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block, shown in blocks(page.read_text(encoding="utf-8")):
        printed = run(block, page, names)
        if shown is not None:
            assert printed == shown, f"{page.name}, line {block.line} prints something else"
    for drawn in sorted(tmp_path.glob("images/*.png")):
        assert_same_picture(drawn, ROOT / "docs" / "images" / drawn.name)


def assert_same_picture(drawn: Path, kept: Path) -> None:
    with Image.open(drawn) as one, Image.open(kept) as other:
        assert (one.mode, one.size) == (other.mode, other.size), kept.name
        difference = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
    assert (difference <= LEVELS_MAX).mean() > 0.99, f"{kept.name} is not what the page draws"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [
        target for target in LINK.findall(text) if "://" not in target and not target.startswith("mailto:")
    ]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_marks_are_understood() -> None:
    page = "```python\na\n```\n\n```text output\nb\n```\n```sh run\nc\n```\nwords\n```text output\nd\n```\n"
    page += "```python no-run\ne\n```\n```sh\nf\n```\n"
    assert [(block.text, block.line, shown) for block, shown in blocks(page)] == [
        ("a\n", 2, "b\n"),
        ("c\n", 9, None),
    ]
