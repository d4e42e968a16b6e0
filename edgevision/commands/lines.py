"""What commands that take texts have in common."""

import sys
from collections.abc import Sequence
from typing import Any

from edgevision.errors import UserError


def given_or_lines(texts: Sequence[str] | None) -> list[str]:
    """The texts, or the lines of the standard input that hold something.

    Raises:
        UserError: the input is not UTF-8, or holds nothing.
    """
    if texts:
        return list(texts)
    try:
        content = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"the input is not UTF-8 at byte {error.start:,}") from error
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        raise UserError("there is no text", hint="give it as an argument, or on the standard input")
    return lines


def told_unknown(encoder: Any, text: str) -> None:
    """A line on stderr about what of a text an encoder does not know."""
    from edgevision.console import console, strip_escapes
    from edgevision.inference.encoding import unknown_parts

    if parts := unknown_parts(encoder, text):
        shown = ", ".join(map(ascii, dict.fromkeys(parts)))
        console.print(strip_escapes(f"the model does not know {shown[:200]}"), markup=False)


__all__ = ["given_or_lines", "told_unknown"]
