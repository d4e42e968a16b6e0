"""The text of tokens that come one by one, each time decoded from its last tokens alone.

    text = (text up to the end of the lead) + decode(lead + new tokens)[len(decode(lead)):]

The lead is a few tokens before the new ones. It keeps what a decoder does at the very beginning (leaving a
blank out) away from the new tokens, and shows where they change what was there: bytes that turn out to be no
character are replaced together with those before them. Then the whole is decoded again.
"""

from __future__ import annotations

from edgevision.text.tokenizer import Tokenizer

LEAD = 16  # tokens; a character has 4 bytes at most
REPLACED = "\ufffd"  # what stands for bytes that are no character, or not yet


class GrowingText:
    """The text so far of `tokens`, always as `tokenizer.decode(tokens)` gives it."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokens: list[int] = []
        self._tokenizer = tokenizer
        self._first = 0  # of the lead
        self._lead = ""  # its text
        self._before = ""  # the text up to its end

    def add(self, token: int) -> str:
        """One more token; gives the text of all."""
        self.tokens.append(token)
        tail = self._tokenizer.decode(self.tokens[self._first :])
        if not tail.startswith(self._lead):
            self._first, self._lead, self._before = 0, "", ""
            tail = self._tokenizer.decode(self.tokens)
        text = self._before + tail[len(self._lead) :]
        if len(self.tokens) - self._first >= 2 * LEAD and not text.endswith(REPLACED):
            self._advance(text)
        return text

    def _advance(self, text: str) -> None:
        """The last tokens become the lead, where they begin with a character and say something."""
        first = len(self.tokens) - LEAD
        lead = self._tokenizer.decode(self.tokens[first:])
        if lead.strip() and text.endswith(lead):
            self._first, self._lead, self._before = first, lead, text


__all__ = ["GrowingText"]
