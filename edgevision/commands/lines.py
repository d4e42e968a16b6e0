"""What commands that take texts read: those that are given, else the lines of the standard input."""

import sys
from collections.abc import Sequence

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


__all__ = ["given_or_lines"]
