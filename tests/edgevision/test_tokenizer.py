"""Tokenizers: any text comes back exactly, here and in the programs that read tokenizer.json."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.errors import UserError
from edgevision.text.tokenizer import END, load_tokenizer, train_tokenizer

TEXT = "Was ist das? To be, or not to be:\n\tthat is the question. 漢字 é é 😀\r\n" * 20


@pytest.fixture(scope="module", params=["bpe", "bytes", "saved"])
def any_text(request, tmp_path_factory):
    tokenizer = train_tokenizer("bpe", [TEXT], 257 if request.param == "bytes" else 400)
    if request.param != "saved":
        return tokenizer
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    return load_tokenizer(folder)


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_any_text_comes_back(any_text, text):
    for special in (True, False):
        ids = any_text.encode(text, special)
        assert any_text.decode(ids, special=True) == text
        assert all(0 <= i < any_text.size for i in ids)


@pytest.fixture(scope="module")
def characters():
    return train_tokenizer("characters", [TEXT])


@given(st.text(sorted(set(TEXT))))
@settings(deadline=None)
def test_a_token_is_a_character(characters, text):
    ids = characters.encode(text)
    assert len(ids) == len(text)
    assert characters.decode(ids) == text


def test_an_unknown_character_is_named(characters):
    with pytest.raises(UserError, match=r"knows no character 'Z', '\\u20ac'"):
        characters.encode("Z€")


def test_the_end_is_a_token_or_text(characters, any_text):
    for tokenizer in (characters, any_text):
        assert tokenizer.encode(f"be{END}")[-1] == tokenizer.end
        assert tokenizer.decode([tokenizer.end]) == ""
        assert tokenizer.decode([tokenizer.end], special=True) == END
    assert any_text.end not in any_text.encode(END, special=False)


def test_halves_of_characters_and_tokens_out_of_range_are_refused(any_text):
    with pytest.raises(UserError, match="surrogate"):
        any_text.encode("\ud800")
    for wrong in (-1, any_text.size):
        with pytest.raises(UserError, match="out of range"):
            any_text.decode([wrong])


def test_the_size_is_what_was_asked_for():
    assert train_tokenizer("bpe", [TEXT], 300).size == 300
    for kind, size, reason in (
        ("bpe", 256, "too small"),
        ("words", None, "unknown"),
        ("characters", 9, "as many"),
    ):
        with pytest.raises(UserError, match=reason):
            train_tokenizer(kind, [TEXT], size)
    for kind in ("bpe", "characters"):
        with pytest.raises(UserError, match="no text"):
            train_tokenizer(kind, [""])


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_transformers_reads_it_alike(kind, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = train_tokenizer(kind, [TEXT], 400 if kind == "bpe" else None)
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "not to  be \n\n is 漢 "
    assert theirs(text).input_ids == tokenizer.encode(text)
    assert theirs.decode(tokenizer.encode(text)) == text


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    train_tokenizer("characters", [TEXT]).save(tmp_path)
    good = json.loads((tmp_path / "tokenizer.json").read_text())
    for content in ("", "{}", json.dumps({**good, "model": {"type": "Unheard"}})):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(UserError, match="damaged"):
            load_tokenizer(tmp_path)
