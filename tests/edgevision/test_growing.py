"""Text that grows token by token is what decoding all tokens gives, at a cost that does not grow with it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from edgevision.text.growing import LEAD, GrowingText
from edgevision.text.tokenizer import Tokenizer, train_tokenizer

TEXT = "Grüße, 漢字 und 😀! To be, or not to be:\n that is the question. "


def words_and_bytes(decoder):
    """A vocabulary as SentencePiece's: words with their blank, punctuation, every byte."""
    words = ["▁", "▁to", "▁be", "a", "é", ",", ".", "▁漢", "\n"]
    tokens = words + [f"<0x{byte:02X}>" for byte in range(256)]
    backend = Backend(models.BPE({token: index for index, token in enumerate(tokens)}, []))
    backend.decoder = decoder
    return Tokenizer(backend)


LLAMA = (decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0))
TOKENIZERS = {
    "byte-level": train_tokenizer("bpe", [TEXT], 257),
    "byte-level, merged": train_tokenizer("bpe", [TEXT * 9], 300),
    "llama": words_and_bytes(decoders.Sequence(list(LLAMA))),
    "metaspace": words_and_bytes(decoders.Metaspace()),
}


def draws(size):
    """Tokens: any at all, or mostly the first ones, so that words stand between the bytes."""
    some = st.one_of(st.integers(0, size - 1), st.integers(0, min(9, size) - 1))
    return st.lists(some, max_size=40).flatmap(lambda part: st.integers(1, 4).map(lambda times: part * times))


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_it_is_the_text_of_all_tokens(name, data):
    tokenizer = TOKENIZERS[name]
    growing = GrowingText(tokenizer)
    for token in data.draw(draws(tokenizer.size)):
        text = growing.add(token)
        assert text == tokenizer.decode(growing.tokens)


@pytest.mark.parametrize("name", ["byte-level", "byte-level, merged"])
def test_characters_of_several_bytes_come_whole(name):
    tokenizer = TOKENIZERS[name]
    growing = GrowingText(tokenizer)
    texts = [growing.add(token) for token in tokenizer.encode(TEXT * 5)]
    assert texts[-1] == TEXT * 5
    assert texts == [tokenizer.decode(growing.tokens[: end + 1]) for end in range(len(texts))]


def test_bytes_that_are_no_character_take_those_before_them_along():
    tokenizer = TOKENIZERS["llama"]
    growing = GrowingText(tokenizer)
    euro = [9 + byte for byte in "€".encode()]
    texts = [growing.add(token) for token in (*[1, 2] * LEAD, *euro * LEAD, 9 + 0xFF, 1)]
    assert texts[-3].endswith("be" + "€" * LEAD)
    assert texts[-1] == tokenizer.decode(growing.tokens)
    assert "€" not in texts[-1]


@pytest.mark.parametrize("name", ["byte-level", "llama"])
def test_only_the_tail_is_decoded(name, monkeypatch):
    tokenizer, lengths = TOKENIZERS[name], []
    whole = tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda ids: lengths.append(len(ids)) or whole(ids))
    growing = GrowingText(tokenizer)
    tokens = tokenizer.encode(TEXT * 20) if name != "llama" else [1, 2, *(9 + b for b in "€".encode())] * 200
    texts = [growing.add(token) for token in tokens]
    assert len(tokens) > 500
    assert max(lengths) < 3 * LEAD
    assert texts[-1] == whole(tokens)
