"""Writes the generated pages of docs/; with --check, fails where one is out of date."""

import sys
from pathlib import Path

import converters as cv
from converters.passes import stages
from edgevision.models.lenet import VARIANTS, Model

DOCS = Path(__file__).parent


def passes_page() -> str:
    """LeNet's graph as captured and after each pass that changes it."""
    model = Model(VARIANTS["modern"])
    model.eval()
    graph = cv.capture(model, {"image": cv.Spec(("batch", 28, 28, 1))}, outputs=["logits"])
    parts = [
        "# LeNet through the passes",
        "Made by `python docs/generate.py`. What MLX's trace gives, and the graph after each pass that",
        "changes it; the passes and the reason for their order are in `converters/passes/__init__.py`.",
    ]
    before = str(graph)
    parts.append(f"\n## As captured: {len(graph.nodes)} nodes\n\n```\n{before}\n```")
    for name, after in stages(graph):
        if str(after) != before:
            before = str(after)
            parts.append(f"\n## After `{name}`: {len(after.nodes)} nodes\n\n```\n{before}\n```")
    return "\n".join(parts) + "\n"


PAGES = {"passes.md": passes_page}


def main() -> int:
    stale = [name for name, page in PAGES.items() if not _is_current(DOCS / name, page())]
    if "--check" in sys.argv:
        print(f"out of date: {', '.join(stale)}" if stale else "up to date")
        return int(bool(stale))
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
