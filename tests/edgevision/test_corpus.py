"""Text of any size as batches: the right tokens from the right places, in little memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgevision.errors import UserError
from edgevision.text.corpus import Windows, held_out, open_corpus, sample
from edgevision.text.tokenizer import END, train_tokenizer

LINES = "".join(f"{i} Bücher, {i * i} Sätze; 漢字 {i}.\n" for i in range(3000))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(params=["characters", "bpe"])
def tokenizer(request):
    return train_tokenizer(request.param, [LINES], 300 if request.param == "bpe" else None)


def test_rows_are_text_of_their_part(tokenizer, tmp_path):
    corpus = open_corpus(write(tmp_path / "a.txt", LINES))
    middle = corpus.size // 2
    windows = Windows(corpus, tokenizer, 0, middle, 32, 8, seed=1)
    part = LINES.encode()[:middle].decode(errors="ignore")
    for step in range(20):
        rows = windows.at(step)
        assert rows.shape == (8, 33)
        assert rows.dtype == np.int32
        for row in rows:
            for text in tokenizer.decode(row.tolist(), special=True).strip("\ufffd").split(END):
                assert text in part
    again, other = (Windows(corpus, tokenizer, 0, middle, 32, 8, seed=seed).at(3) for seed in (1, 2))
    np.testing.assert_array_equal(windows.at(3), again)
    assert not np.array_equal(again, other)


def test_all_places_are_used(tmp_path):
    corpus = open_corpus(write(tmp_path / "a.txt", "0123456789"))
    tokenizer = train_tokenizer("characters", ["0123456789"])
    windows = Windows(corpus, tokenizer, 0, 10, 3, 200, seed=0)
    assert set(windows.at(0)[:, 0]) == set(range(7))


def test_held_out_text_is_read_once_and_whole(tokenizer, tmp_path):
    corpus = open_corpus(write(tmp_path / "a.txt", LINES))
    found = held_out(corpus, tokenizer, 0, corpus.size, 50)
    ids = [found.rows[0, 0], *found.rows[:, 1:][found.counted]]
    assert tokenizer.decode([int(i) for i in ids]) == LINES
    assert found.bytes_per_token == pytest.approx(corpus.size / len(ids))


def test_files_of_a_folder_are_documents(tokenizer, tmp_path):
    (tmp_path / "inside").mkdir()
    for name, text in (
        ("b.txt", "Bücher"),
        ("a.md", LINES[:100]),
        ("inside/c", "漢字"),
        (".hidden", "x"),
        ("e", ""),
    ):
        write(tmp_path / name, text)
    corpus = open_corpus(tmp_path)
    assert [path.name for path in corpus.files] == ["a.md", "b.txt", "e", "c"]
    found = held_out(corpus, tokenizer, 0, corpus.size, 40)
    ids = [found.rows[0, 0], *found.rows[:, 1:][found.counted]]
    expected = END.join([LINES[:100], "Bücher", "漢字"])
    assert tokenizer.decode([int(i) for i in ids], special=True) == expected
    packed = Windows(corpus, tokenizer, 0, corpus.size, 40, 20, seed=0).at(0)
    assert (packed == tokenizer.end).any()


def test_pieces_join_to_the_text(tmp_path):
    text = LINES * 12  # several chunks
    corpus = open_corpus(write(tmp_path / "a.txt", text))
    assert "".join(piece or "" for piece in corpus.read(0, corpus.size)) == text
    assert "".join(corpus.texts(0, 9) + corpus.texts(9, corpus.size)) == text
    assert "".join(sample(corpus, corpus.size)) == text


def test_bad_files_are_named(tmp_path):
    for name, content, reason in (("a", b"good\xff bad" * 9, "not UTF-8 at byte 4"), ("b", b"", "no text")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            list(sample(open_corpus(path), 20))
    with pytest.raises(UserError, match="not there"):
        open_corpus(tmp_path / "none")
    corpus = open_corpus(write(tmp_path / "short", "short"))
    tokenizer = train_tokenizer("characters", ["short"])
    with pytest.raises(UserError, match="too short"):
        Windows(corpus, tokenizer, 0, 5, 32, 2, 0)
    with pytest.raises(UserError, match="too short"):
        held_out(corpus, tokenizer, 0, 1, 32)


SPARSE = """
import sys
from pathlib import Path
from edgevision.text.corpus import Windows, held_out, open_corpus, sample
from edgevision.text.tokenizer import train_tokenizer
from edgevision.training.watch import peak_memory

corpus = open_corpus(Path(sys.argv[1]))
end = corpus.size * 9 // 10
tokenizer = train_tokenizer("characters", sample(corpus, corpus.size))
windows = Windows(corpus, tokenizer, 0, end, 256, 32, seed=0)
for step in range(300):
    assert windows.at(step).shape == (32, 257)
held_out(corpus, tokenizer, end, corpus.size, 256)
print(peak_memory())
"""


def test_ten_gigabytes_take_little_memory(tmp_path):
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.write(LINES.encode())
        file.truncate(10 * 10**9)
        file.seek(-len(LINES.encode()), 2)
        file.write(LINES.encode())
    done = subprocess.run(
        [sys.executable, "-c", SPARSE, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    assert int(done.stdout) < 1e9
