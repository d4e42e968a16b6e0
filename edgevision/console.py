"""What goes to the terminal: data to stdout, everything else to stderr, foreign text without its escapes."""

import re
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(stderr=True, highlight=False)
out = Console(highlight=False, soft_wrap=True)

# CSI and OSC sequences and the other two-byte escapes, then every control character but tab and newline,
# and the characters that turn the direction of text around.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]",
    re.DOTALL,
)


def strip_escapes(text: str) -> str:
    """`text` without terminal escapes and control characters; tabs and newlines stay."""
    return _ESCAPES.sub("", text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """A table for `out.print`; cells are plain text (no rich markup), numbers stand right.

    columns: the heads. rows: one sequence per row, as long as `columns`.
    """
    rows = [tuple(row) for row in rows]
    shown = None if title is None else _plain(title)
    result = Table(title=shown, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, head in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        result.add_column(_plain(head), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        result.add_row(*(_plain(str(cell)) for cell in row))
    return result


def _plain(text: str) -> Text:
    """Text that is not read as markup."""
    return Text(strip_escapes(text))


__all__ = ["console", "out", "strip_escapes", "table"]
