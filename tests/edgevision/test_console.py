"""Foreign text reaches the terminal without its escapes, and tables without markup."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edgevision.console import strip_escapes, table

STRIPPED = {
    "plain text, ünïcode, 漢字 🙂\tand\nlines": "plain text, ünïcode, 漢字 🙂\tand\nlines",
    "\x1b[1;31mred\x1b[0m": "red",
    "\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1b]0;title\x07rest": "rest",
    "\x1b]52;c;never ends": "",
    "\x1bPdevice control\x1b\\rest": "rest",
    "\x1bcreset": "reset",
    "\x9b31mred": "red",
    "a\rb\x08c\x00\x7f": "abc",
    "\u202egnp.exe": "gnp.exe",
    "\x1b": "",
}


@pytest.mark.parametrize(("text", "expected"), STRIPPED.items())
def test_escapes_are_stripped(text: str, expected: str) -> None:
    assert strip_escapes(text) == expected


@pytest.mark.fuzz
@given(st.text(alphabet=st.one_of(st.sampled_from("\x1b[]();?0139mKPX^_\\\x07\x9b\u202e"), st.characters())))
def test_nothing_that_a_terminal_obeys_remains(text: str) -> None:
    stripped = strip_escapes(text)
    assert all(ch in "\t\n" or (ord(ch) >= 32 and not 127 <= ord(ch) < 160) for ch in stripped)
    assert strip_escapes(stripped) == stripped


def printed(*arguments, **options) -> str:
    out = io.StringIO()
    Console(file=out, width=60).print(table(*arguments, **options))
    return out.getvalue()


def test_table_shows_markup_as_it_is() -> None:
    text = printed(["label", "probability"], [["[bold]x[/bold]", 0.5], ["\x1b[31m\\[y]", 12]], title="top 2")
    assert "[bold]x[/bold]" in text
    assert "[y]" in text
    assert "\x1b" not in text
    assert text.splitlines()[0].strip() == "top 2"
    assert any(line.rstrip(" │").endswith("12") for line in text.splitlines())
