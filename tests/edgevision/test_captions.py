"""Captions files with all that goes wrong in them, and the scores of sentences."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from edgevision.data import caption_files
from edgevision.data.captions import is_held_out, load_captions, plain
from edgevision.errors import UserError
from edgevision.inference.caption_metrics import meteor, scores

SENTENCES = {"a.png": ["A dog .", "A brown dog runs ."], "b.png": ["Two girls , laughing ."]}
FORMS = {
    "captions.csv": "image,caption\na.png,A dog .\na.png,A brown dog runs .\n"
    'b.png,"Two girls , laughing ."\n',
    "captions.tsv": "a.png\tA dog .\na.png\tA brown dog runs .\nb.png\tTwo girls , laughing .\n",
    "captions.jsonl": '{"image": "a.png", "captions": ["A dog .", "A brown dog runs ."]}\n\n'
    '{"file_name": "b.png", "text": "Two girls , laughing ."}\n',
    "captions.json": json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
            "annotations": [
                {"image_id": 1, "caption": "A dog ."},
                {"image_id": 1, "caption": "A brown dog runs ."},
                {"image_id": 2, "caption": "Two girls , laughing ."},
            ],
        }
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(name, tmp_path):
    (tmp_path / name).write_text(FORMS[name])
    assert caption_files.read_file(caption_files.find_file(tmp_path)) == SENTENCES


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("cp1252", "Windows-1252")]
)
def test_encodings_are_recognised(encoding, said, tmp_path, capfd):
    (tmp_path / "captions.csv").write_bytes("image,caption\né.png,Ein Mädchen läuft\n".encode(encoding))
    assert caption_files.read_file(tmp_path / "captions.csv") == {"é.png": ["Ein Mädchen läuft"]}
    assert said in capfd.readouterr().err


def test_empty_and_repeated_captions_are_left_out_and_counted(tmp_path, capfd):
    (tmp_path / "captions.csv").write_text("a.png,A dog\na.png,A dog\nb.png, .\nc.png,A cat\nd.png,\n")
    assert caption_files.read_file(tmp_path / "captions.csv") == {"a.png": ["A dog"], "c.png": ["A cat"]}
    told = capfd.readouterr().err
    assert "2 empty captions left out: b.png, d.png" in told
    assert "1 captions that are there twice left out: a.png" in told


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions.csv", "image,caption\nalone\n", "line 2: 1 columns"),
        ("captions.json", "{", "damaged"),
        ("captions.json", '{"annotations": [{"image_id": 3, "caption": "x"}], "images": []}', "damaged"),
        ("captions.jsonl", '{"image": "a.png"}\n', "line 1"),
        ("captions.jsonl", "nonsense\n", "line 1"),
    ],
)
def test_damaged_files_are_refused_with_their_line(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        caption_files.read_file(tmp_path / name)


def test_a_folder_is_split_by_names_and_misses_are_told(tmp_path, capfd):
    names = [f"{index}.png" for index in range(40)]
    lines = []
    for index, name in enumerate([*names, *(f"gone{i}.png" for i in range(7)), "../outside.png"]):
        lines.append(f"{name},Picture {index} of a thing")
    (tmp_path / "images").mkdir()
    for index, name in enumerate(names):
        Image.new("RGB", (10 + index, 400 if index == 3 else 12), (index, 0, 0)).save(
            tmp_path / "images" / name
        )
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    train, test = (load_captions(str(tmp_path), split, 16) for split in ("train", "test"))
    told = " ".join(capfd.readouterr().err.split())
    assert (
        "8 pictures are not there: gone0.png, gone1.png, gone2.png, gone3.png, gone4.png and 3 more" in told
    )
    assert set(train.names) | set(test.names) == set(names)
    assert set(test.names) == {name for name in names if is_held_out(name)}
    assert train.images.shape == (len(train), 16, 16, 3)
    for image, name, captions in zip(train.images, train.names, train.captions, strict=True):
        assert image[8, 8, 0] == int(name.removesuffix(".png"))
        assert captions == (f"picture {name.removesuffix('.png')} of a thing",)


@pytest.mark.parametrize("files", [(), ("captions.csv", "captions.json")])
def test_none_or_two_captions_files_are_refused(files, tmp_path):
    for name in files:
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=r"captions\.json"):
        caption_files.find_file(tmp_path)


def test_plain_words():
    assert plain("A dog 's tail , wagging !") == "a dog's tail wagging"
    assert plain("Two well-known girls & 3 boys don 't") == "two well-known girls 3 boys don t"


def drawn_sentences(count=60):
    """Sentences that share words with their references, by seed."""
    random = np.random.default_rng(0)
    words = [
        "a",
        "the",
        "dog",
        "man",
        "girl",
        "red",
        "ball",
        "runs",
        "jumps",
        "over",
        "on",
        "grass",
        "water",
        "with",
        "black",
        "white",
    ]
    references, written = [], []
    for _ in range(count):
        base = list(random.choice(words, random.integers(6, 12)))
        references.append([" ".join(random.permutation(base)) if n else " ".join(base) for n in range(3)])
        written.append(" ".join(base[: random.integers(4, len(base) + 1)]))
    return references, written


def test_bleu_of_two_libraries_is_the_same():
    pytest.importorskip("pycocoevalcap")
    sacrebleu = pytest.importorskip("sacrebleu")
    references, written = drawn_sentences()
    found = scores(references, written)
    for order in range(1, 5):
        measure = sacrebleu.BLEU(max_ngram_order=order, tokenize="none", smooth_method="none")
        second = measure.corpus_score(written, list(zip(*references, strict=True)))
        assert abs(found[f"bleu{order}"] - second.score) < 0.1


def test_scores_are_highest_for_the_references_themselves():
    pytest.importorskip("pycocoevalcap")
    references, written = drawn_sentences()
    found, best = scores(references, written), scores(references, [known[0] for known in references])
    assert best["bleu4"] == pytest.approx(100, abs=0.01)
    assert best["rouge_l"] == pytest.approx(100, abs=0.01)
    assert found["cider"] < best["cider"]
    assert found["rouge_l"] < 100


def test_scores_are_those_of_pycocoevalcap():
    """Its own classes, as COCOEvalCap calls them."""
    pytest.importorskip("pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    references, written = drawn_sentences()
    known = dict(enumerate(references))
    said = {index: [sentence] for index, sentence in enumerate(written)}
    bleu = Bleu(4).compute_score(known, said, verbose=0)[0]
    expected = {f"bleu{order}": value for order, value in enumerate(bleu, 1)}
    expected["rouge_l"] = Rouge().compute_score(known, said)[0]
    expected["cider"] = Cider().compute_score(known, said)[0]
    found = scores(references, written)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert abs(found[name] - 100 * value) < 0.1, name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR is a Java program")
def test_meteor_knows_words_of_one_meaning():
    pytest.importorskip("pycocoevalcap")
    same = meteor([["a dog runs on the grass"]], ["a dog runs on the grass"])
    akin, other = (
        meteor([["a dog runs on the grass"]], [text]) for text in ("a dog running on grass", "two men eat")
    )
    assert same == pytest.approx(100, abs=0.5)
    assert same > akin > 40 > other
