"""The translator: Hugging Face's Marian both ways, pairs of sentences, a short training, greedy and beams."""

import gzip
import io
import json
import shutil

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from edgevision import pretrained_translator
from edgevision.cli import main
from edgevision.errors import UserError
from edgevision.inference.translation import open_translator, translate
from edgevision.models import translator
from edgevision.text.pairs import load_pairs, read_pairs
from edgevision.text.tokenizer import train_tokenizer
from edgevision.training import loop
from edgevision.training.translating import PairRecipe, Translating

WORDS = {"ein": "a", "mann": "man", "hund": "dog", "rot": "red", "blau": "blue", "läuft": "runs"}


def sentences(count):
    random = np.random.default_rng(0)
    rows = [random.choice(list(WORDS), random.integers(1, 7)) for _ in range(count)]
    return [" ".join(row) for row in rows], [" ".join(WORDS[word] for word in row) for row in rows]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder of pairs in which each word has one translation."""
    folder = tmp_path_factory.mktemp("pairs")
    german, english = sentences(600)
    for part, rows in {"train": slice(0, 500), "val": slice(500, 550), "test": slice(550, 600)}.items():
        (folder / f"{part}.de").write_text("\n".join(german[rows]) + "\n")
        with gzip.open(folder / f"{part}.en.gz", "wt") as file:
            file.write("\n".join(english[rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A small run with random weights, large so that its sentences vary."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer("bpe", [" ".join(WORDS)], 270, 24)
    config = translator.Config(
        tokenizer.size, 24, 2, 1, 2, 16, 40, dropout=0.0, start=tokenizer.size - 1, end=tokenizer.size - 1
    )
    mx.random.seed(1)
    model = translator.Model(config)
    model.update(tree_map(lambda w: w + mx.random.normal(w.shape, scale=0.3), model.parameters()))
    pretrained_translator.save(folder, model, tokenizer, {})
    return folder


@pytest.mark.parametrize(("activation", "scaled"), [("relu", True), ("swish", False), ("gelu", True)])
def test_marian_gives_the_same_logits_both_ways(tmp_path, activation, scaled):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    sizes = {"encoder_layers": 1, "decoder_layers": 2}
    for part in ("encoder", "decoder"):
        sizes |= {f"{part}_attention_heads": 2, f"{part}_ffn_dim": 40}
    settings = transformers.MarianConfig(
        vocab_size=60, decoder_vocab_size=60, d_model=16, max_position_embeddings=24, pad_token_id=59,
        activation_function=activation, decoder_start_token_id=59, eos_token_id=0, forced_eos_token_id=None,
        scale_embedding=scaled, **sizes,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.MarianMTModel(settings).eval()
    with torch.no_grad():
        theirs.final_logits_bias.normal_()
        for weight in theirs.parameters():
            if weight.requires_grad and weight.ndim == 1:
                weight.normal_(std=0.1)
    theirs.save_pretrained(tmp_path / "theirs")
    train_tokenizer("characters", ["abc "]).save(tmp_path / "theirs")
    ours = pretrained_translator.load(tmp_path / "theirs")
    pretrained_translator.save(tmp_path / "ours", ours.model, ours.tokenizer, {})
    again, told = transformers.MarianMTModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    random = np.random.default_rng(0)
    source, target = random.integers(0, 59, (3, 9)), random.integers(0, 59, (3, 7))
    mask = np.arange(9) < np.array([9, 4, 6])[:, None]
    found = np.array(ours.model(mx.array(source), mx.array(target), mx.array(mask.astype(np.int32))))
    given = {"input_ids": source, "attention_mask": mask.astype(int), "decoder_input_ids": target}
    for model in (theirs, again.eval()):
        with torch.no_grad():
            logits = model(**{name: torch.tensor(array) for name, array in given.items()}).logits.numpy()
        np.testing.assert_allclose(found, logits, atol=1e-4)


def test_token_by_token_and_padded_is_the_same(untrained):
    model = pretrained_translator.load(untrained).model
    random = np.random.default_rng(1)
    source, ids = (mx.array(random.integers(0, 200, (2, length))) for length in (6, 5))
    whole = np.array(model(source, ids))
    memory, cache = model.remember(model.encode(source)), model.make_cache()
    steps = [np.array(model.decode(ids[:, i : i + 1], memory, None, cache)) for i in range(5)]
    np.testing.assert_allclose(np.concatenate(steps, axis=1), whole, atol=1e-5)
    padded = mx.concatenate([source, mx.full((2, 3), 7)], axis=1)
    mask = mx.array([[1] * 6 + [0] * 3] * 2)
    np.testing.assert_allclose(np.array(model(padded, ids, mask)), whole, atol=1e-5)


def test_a_translator_learns(pairs, tmp_path):
    data, test = (load_pairs(str(pairs), part, "de", "en") for part in ("train", "val"))
    tokenizer = train_tokenizer("bpe", [*data.source, *data.target], 300)
    recipe = PairRecipe(epochs=24, batch_size=50, learning_rate=5e-3, label_smoothing=0.0, average=0.98)
    end = tokenizer.size - 1
    mx.random.seed(0)
    model = translator.Model(
        translator.Config(tokenizer.size, 48, 1, 1, 2, 32, 64, dropout=0.0, start=end, end=end)
    )
    found = loop.train(model, Translating(data, test, tokenizer, recipe), recipe, tmp_path)
    assert found["test_bleu"] > 90, "each word has one translation"


def test_train_writes_a_run(pairs, tmp_path, capsys):
    command = ["train", "translator", "--data", str(pairs), "--out", str(tmp_path / "run")]
    options = ["--steps", "2", "--batch-size", "8", "--vocabulary", "300", "--set", "quick=5"]
    assert main([*command, *options]) == 0
    assert "BLEU" in capsys.readouterr().out
    loaded = pretrained_translator.load(tmp_path / "run")
    assert loaded.config["model_type"] == "marian"
    assert loaded.config["variant"] == "de-en"
    assert main([*command, "--resume"]) == 0
    assert "finished already" in capsys.readouterr().err


def test_pairs_that_do_not_fit_are_named(tmp_path):
    (tmp_path / "train.de").write_text("eins\nzwei\ndrei\n")
    (tmp_path / "train.en").write_text("one\ntwo\n")
    with pytest.raises(UserError, match=r"train\.de, line 3: .*train\.en ends before it, 2 lines to 3"):
        load_pairs(str(tmp_path), "train", "de", "en")
    (tmp_path / "train.en").write_bytes(b"one\ntwo\n\xff\n")
    with pytest.raises(UserError, match="line 3: this is no UTF-8"):
        load_pairs(str(tmp_path), "train", "de", "en")
    (tmp_path / "train.en").write_text("one\n\nthree\n")
    assert load_pairs(str(tmp_path), "train", "de", "en").target == ("one", "three")
    (tmp_path / "train.de").write_text("\n")
    (tmp_path / "train.en").write_text("\n")
    with pytest.raises(UserError, match="no pair"):
        read_pairs(tmp_path / "train.de", tmp_path / "train.en")
    with pytest.raises(UserError, match=r"val\.de is not there"):
        load_pairs(str(tmp_path), "val", "de", "en")


def test_multi30k_is_aligned():
    try:
        found = load_pairs("multi30k", "test", "de", "en")
    except UserError as missing:
        pytest.skip(str(missing))
    assert len(found) == 1000
    assert found.target[0] == "A man in an orange hat starring at something."
    with pytest.raises(UserError, match="has no test_2016_flickr"):
        load_pairs("multi30k", "test", "de", "cs")


def test_a_tokenizer_of_another_model_is_refused(untrained, tmp_path):
    folder = shutil.copytree(untrained, tmp_path / "run")
    train_tokenizer("bpe", ["other words, more of them than before"] * 3, 290).save(folder)
    with pytest.raises(UserError, match=r"the tokenizer has 2\d\d tokens, the model 270"):
        pretrained_translator.load(folder)


def test_translate_streams_beams_and_json(untrained, capsys, monkeypatch):
    sentence = "ein mann läuft"
    assert main(["translate", str(untrained), sentence]) == 0
    streamed = capsys.readouterr().out
    loaded = pretrained_translator.load(untrained)
    ids = loaded.tokenizer.encode(sentence)
    (expected,) = loaded.model.write(mx.array([ids]), None, loaded.limit)
    assert streamed.strip() == loaded.tokenizer.decode(expected).strip()
    assert main(["translate", str(untrained), sentence, "hund", "--beams", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["sentence"] for entry in found["translations"]] == [sentence, "hund"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ein hund\n\nrot\n")))
    assert main(["translate", str(untrained)]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 2


@pytest.mark.parametrize(
    ("sentence", "expected"), [("  ", "is empty"), ("ein mann " * 30, "the model takes 24")]
)
def test_sentences_that_cannot_be_translated(untrained, capsys, sentence, expected):
    assert main(["translate", str(untrained), sentence]) == 1
    assert expected in capsys.readouterr().err


def test_beams_are_those_of_hugging_face(untrained):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    theirs = transformers.MarianMTModel.from_pretrained(untrained).eval()
    writer = open_translator(untrained)
    for sentence in ("ein mann", "rot", "hund läuft blau"):
        ids = writer.tokenizer.encode(sentence)
        for beams in (1, 3):
            with torch.no_grad():
                found = theirs.generate(
                    torch.tensor([ids]),
                    num_beams=beams,
                    max_length=writer.limit + 1,
                    do_sample=False,
                    early_stopping=False,
                )[0].tolist()
            text = writer.tokenizer.decode(found).strip()
            assert translate(writer, sentence, beams) == text


def test_evaluate_gives_bleu(pairs, tmp_path, capsys):
    command = ["train", "translator", "--data", str(pairs), "--out", str(tmp_path / "run"), "--steps", "1"]
    assert main([*command, "--batch-size", "4", "--vocabulary", "300", "--set", "quick=2"]) == 0
    few = tmp_path / "few"
    few.mkdir()
    for language in ("de", "en"):
        (few / f"test.{language}").write_text("ein mann\nhund\n")
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(few), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["pairs"], found["beams"]) == (2, 1)
    assert found["bleu"] >= 0
    assert main(["evaluate", str(tmp_path / "run"), "--meteor"]) == 2


def test_what_is_no_translator_is_refused(tmp_path, capsys):
    assert main(["translate", str(tmp_path), "ein mann"]) == 1
    assert "is no translator" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "package"), [("coreml", "translator.mlpackage"), ("coreai", "translator.aimodel")]
)
def test_packages_translate_the_same(untrained, tmp_path, capsys, target, package):
    if target == "coreai":
        pytest.importorskip("coreai", reason="coreai-core has no wheel for this system")
    assert main(["export", str(untrained), "--to", target, "--out", str(tmp_path)]) == 0
    assert "of 12 translations as MLX's" in capsys.readouterr().out
    ours, theirs = open_translator(untrained), open_translator(tmp_path / package)
    for sentence in ("ein mann", "rot", "hund läuft blau rot"):
        assert translate(theirs, sentence) == translate(ours, sentence)
    assert translate(theirs, "ein hund", beams=2) == translate(ours, "ein hund", beams=2)
