"""The encoder of text: BERT both ways, hidden tokens, labelled texts, short trainings, bad input."""

import json
import shutil

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from edgevision import pretrained_encoder
from edgevision.cli import main
from edgevision.errors import UserError
from edgevision.experiments import pre_training
from edgevision.inference.encoding import embed, open_encoder
from edgevision.models import encoder_lm
from edgevision.text.labelled import load_labelled, read_labelled
from edgevision.text.texts import find_texts
from edgevision.text.tokenizer import train_tokenizer, train_wordpiece
from edgevision.training.by_length import padded
from edgevision.training.encoding import framed, hidden, pieces

GOOD, BAD, PLAIN = ["lovely", "great", "fine"], ["dull", "awful", "weak"], ["film", "story", "cast", "scene"]


def reviews(count, seed):
    """Texts whose one telling word decides their label."""
    random, rows = np.random.default_rng(seed), []
    for _ in range(count):
        label = int(random.integers(2))
        words = list(random.choice(PLAIN, random.integers(2, 6)))
        words.insert(int(random.integers(len(words))), str(random.choice([BAD, GOOD][label])))
        rows.append(f"{' '.join(words)}\t{label}")
    return "sentence\tlabel\n" + "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviews")
    (folder / "train.tsv").write_text(reviews(600, 0))
    (folder / "test.tsv").write_text(reviews(100, 1))
    (folder / "labels.txt").write_text("bad\ngood\n")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained encoder that guesses tokens."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_wordpiece([" ".join(GOOD + BAD + PLAIN)], 90, 20)
    mx.random.seed(0)
    model = encoder_lm.Model(encoder_lm.Config(tokenizer.size, 20, 1, 2, 16))
    model.update(tree_map(lambda w: w + mx.random.normal(w.shape, scale=0.2), model.parameters()))
    pretrained_encoder.save(folder, model, tokenizer, {})
    return folder


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertForSequenceClassification", "BertModel"])
def test_bert_gives_the_same_both_ways(tmp_path, kind):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    tokenizer = train_wordpiece([" ".join(GOOD + BAD + PLAIN)], 90, 20)
    settings = transformers.BertConfig(
        vocab_size=tokenizer.size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=40, max_position_embeddings=20, num_labels=3, hidden_act="gelu",
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = getattr(transformers, kind)(settings).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs")
    ours = pretrained_encoder.load(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    pretrained_encoder.save(tmp_path / "ours", ours.model, ours.tokenizer, {}, ours.labels)
    again = getattr(transformers, kind).from_pretrained(tmp_path / "ours").eval()
    ids = np.random.default_rng(0).integers(0, tokenizer.size, (2, 9))
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    kinds = np.broadcast_to(np.arange(9) > 3, ids.shape).astype(int)
    fed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
    with torch.no_grad():
        expected, back = (
            m(**{k: torch.tensor(v) for k, v in fed.items()})[0].numpy() for m in (theirs, again)
        )
    found = np.array(ours.model(*map(mx.array, fed.values())))
    there = mask > 0 if found.ndim == 3 else slice(None)
    np.testing.assert_allclose(found[there], expected[there], atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(back, expected)


def test_tokens_are_hidden_as_in_bert(run):
    tokenizer = open_encoder(run).tokenizer
    random = np.random.default_rng(0)
    rows = padded(
        [[2, *random.integers(5, tokenizer.size, n), 3] for n in (1, 6, 20, 62) for _ in range(500)]
    )
    texts, places, tokens = hidden(rows, tokenizer, random)
    there = tokens >= 0
    each = np.nonzero(there)[0]
    assert (rows[each, places[there]] == tokens[there]).all(), "what was hidden is what is asked for"
    lengths = (rows >= 0).sum(1) - 2
    assert (there.sum(1) >= 1).all()
    assert abs(there[lengths == 62].sum() / (500 * 62) - 0.15) < 0.01
    assert (places[there] >= 1).all()
    assert (places[there] <= lengths[each]).all(), "neither [CLS] nor [SEP] is hidden"
    became = texts[each, places[there]]
    assert abs((became == tokenizer.special("mask_token")).mean() - 0.8) < 0.02
    assert abs((became == tokens[there]).mean() - 0.1) < 0.02
    untouched = np.ones_like(rows, bool)
    untouched[each, places[there]] = False
    np.testing.assert_array_equal(texts[untouched], rows[untouched])


def test_long_texts_are_cut_between_their_frame(run):
    tokenizer = open_encoder(run).tokenizer
    text = " ".join(PLAIN * 5)
    (whole,) = framed(tokenizer, [text], 100)
    parts = pieces(tokenizer, [text], 8)
    assert [token for part in parts for token in part[1:-1]] == whole[1:-1]
    assert {(part[0], part[-1]) for part in parts} == {(whole[0], whole[-1])}
    assert framed(tokenizer, [text], 8) == [parts[0]]


def test_a_pre_training_and_a_fine_tuning(labelled, tmp_path, capsys):
    quick = ["--set", "longest=16", "--set", "batch_size=32", "--vocabulary", "200"]
    assert main(["train", "encoder_lm", "--data", str(labelled / "train.tsv"), "--out", str(tmp_path / "e"),
                 "--epochs", "2", *quick]) == 0  # fmt: skip
    start = ["--from", str(tmp_path / "e"), "--variant", "classifier", "--data", str(labelled)]
    faster = [*quick[:4], "--learning-rate", "3e-3", "--epochs", "4"]
    assert main(["train", "encoder_lm", *start, "--out", str(tmp_path / "c"), *faster]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "c"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.95
    assert main(["classify-text", str(tmp_path / "c"), "a lovely film", "awful story", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["texts"]
    assert [next(iter(text["probabilities"])) for text in told] == ["good", "bad"]
    assert main(["fill-mask", str(tmp_path / "e"), "lovely [MASK]", "--top", "3", "--json"]) == 0
    (mask,) = json.loads(capsys.readouterr().out)["texts"][0]["masks"]
    assert len(mask) == 3
    assert mask[0]["probability"] >= mask[1]["probability"]
    table = pre_training.run(tmp_path / "e", tmp_path / "c", tmp_path / "c", tmp_path / "docs", steps=100)
    assert table["bag of words"]["test_accuracy"] > 0.9
    page = (tmp_path / "docs" / "pre-training.md").read_text()
    assert f"| bag of words | {table['bag of words']['test_accuracy']:.1%} |" in page
    assert "+0.0 points" in page
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "c")
    assert theirs("A lovely film")["input_ids"] == open_encoder(tmp_path / "c").tokenizer.encode(
        "A lovely film", framed=True
    )
    assert transformers.BertForSequenceClassification.from_pretrained(tmp_path / "c").config.id2label == {
        0: "bad", 1: "good",
    }  # fmt: skip


def test_texts_of_several_places_and_held_out_ones(labelled, tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"line {i}\n\n" for i in range(100)))
    texts, held_out = find_texts(f"{tmp_path / 'a.txt'}, {labelled / 'labels.txt'}")
    assert sorted([*texts, *held_out]) == sorted([f"line {i}" for i in range(100)] + ["bad", "good"])
    assert len(held_out) == 3
    assert not set(texts) & set(held_out)


def test_core_ml_of_any_length_and_of_one(run, tmp_path):
    for extra in ([], ["--context", "12"]):
        out = tmp_path / ("fixed" if extra else "free")
        command = ["export", str(run), "--to", "coreml", "--precision", "float32", "--out", str(out), *extra]
        assert main(command) == 0
        assert main(["compare", str(run), str(out / "encoder_lm.mlpackage")]) == 0


def test_labels_by_name_and_by_number(tmp_path, labelled):
    assert load_labelled(str(labelled), "test").labels == ("bad", "good")
    (tmp_path / "train.tsv").write_text("text\tlabel\nx\tten\ny\ttwo\n")
    (tmp_path / "test.tsv").write_text("text\tlabel\na tab\there\ttwo\n")
    test = load_labelled(str(tmp_path), "test")
    assert (test.labels, test.numbers, test.texts) == (("ten", "two"), (1,), ("a tab\there",))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"text\tlabel\nfine\t1\nodd\t2\n", "line 3: the label '2' is not among 0 to 1"),
        (b"text\tlabel\nfine\tgreat\n", "line 2: the label 'great' is not among bad, good"),
        (b"text\tlabel\nfine 1\n", "line 2: there is no label"),
        (b"text\tlabel\nfine\t1\n\xff\t0\n", "line 3: this is no UTF-8"),
        (b"text\tlabel\n", "holds no text with a label"),
    ],
)
def test_bad_labels_are_named_by_their_line(tmp_path, content, told):
    (tmp_path / "test.tsv").write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_labelled(tmp_path / "test.tsv", ("bad", "good"))


def test_bad_input_is_one_line(run, tmp_path, capsys):
    def told(*command):
        assert main(list(command)) in (1, 2)
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    assert "the text is empty" in told("fill-mask", str(run), " ")
    assert "nothing to fill" in told("fill-mask", str(run), "film")
    assert "knows no part of" in told("fill-mask", str(run), "你好")
    assert main(["fill-mask", str(run), "[MASK] 你"]) == 0
    assert "the model does not know '\\u4f60'" in capsys.readouterr().err
    assert "the model takes 20 (--truncate" in told("fill-mask", str(run), "[MASK] " + "film " * 40)
    assert main(["fill-mask", str(run), "[MASK] " + "film " * 40, "--truncate"]) == 0
    capsys.readouterr()
    assert "for fill-mask, not for text-classification" in told("classify-text", str(run), "film")
    assert "is no encoder of text" in told("fill-mask", str(tmp_path), "a [MASK]")
    other = shutil.copytree(run, tmp_path / "other")
    train_tokenizer("bpe", ["film story"], 300).save(other)
    assert "the tokenizer has" in told("fill-mask", str(other), "a [MASK]")
    assert "takes 2 to 20 tokens" in told("export", str(run), "--to", "onnx", "--context", "64", "--out", "x")
    assert "are not there" in told("train", "encoder_lm", "--variant", "classifier", "--data", "none",
                                   "--out", str(tmp_path / "n"))  # fmt: skip
    assert "brings its tokenizer" in told("train", "encoder_lm", "--from", str(run), "--vocabulary", "500",
                                          "--out", str(tmp_path / "n"))  # fmt: skip
    with pytest.raises(UserError, match="not for feature-extraction"):
        embed(open_encoder(run), "film")
