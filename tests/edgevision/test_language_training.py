"""Training a language model by the command: to the bit after an interruption, and what it refuses."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from edgevision import pretrained
from edgevision.cli import main
from edgevision.errors import UserError
from edgevision.models import decoder_lm
from edgevision.text.corpus import Windows, held_out, open_corpus
from edgevision.text.tokenizer import train_tokenizer
from edgevision.training import loop, memory
from edgevision.training.language import Language, TextRecipe, measure
from edgevision.training.optimizer import build_optimizer

TEXT = "the cat sat on the mat. the dog sat on the log. " * 60
RECIPE = TextRecipe(steps=30, batch_size=4, evaluate_every=10, blas_threads=1)
SMALL = decoder_lm.Config("llama", context=16, layers=2, heads=2, width=32)


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    corpus = open_corpus(tmp_path / "text.txt")
    tokenizer = train_tokenizer("characters", [TEXT])
    cut = corpus.size * 9 // 10
    windows = Windows(corpus, tokenizer, 0, cut, 16, 4, seed=0)
    return tokenizer, windows, held_out(corpus, tokenizer, cut, corpus.size, 16)


def new_model(tokenizer, **changes):
    mx.random.seed(0)
    return decoder_lm.Model(replace(SMALL, vocabulary=tokenizer.size, **changes))


def weights(model):
    return {name: np.array(array) for name, array in dict(tree_flatten(model.parameters())).items()}


def train(model, windows, test, recipe, out, resume=False):
    return loop.train(model, Language(windows, test, recipe), recipe, out, resume)


@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon"}], ids=["adamw", "muon"])
def test_a_resumed_training_ends_the_same_to_the_bit(parts, changes, tmp_path, monkeypatch):
    tokenizer, windows, test = parts
    recipe = replace(RECIPE, **changes)
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)
    whole = new_model(tokenizer, dropout=0.1)
    result = train(whole, windows, test, recipe, tmp_path)
    assert result["test_loss"] < 2.8  # of 3.0 for a guess
    stopped = tmp_path / "stopped"
    stopped.mkdir()

    class Stop(Exception):
        pass

    class UntilTwenty(Windows):
        def at(self, step):
            if step == 23:
                raise Stop
            return super().at(step)

    halting = UntilTwenty(windows.corpus, tokenizer, windows.start, windows.end, 16, 4, seed=0)
    with pytest.raises(Stop):
        train(new_model(tokenizer, dropout=0.1), halting, test, recipe, stopped)
    resumed = new_model(tokenizer, dropout=0.1)
    mx.random.seed(99)
    train(resumed, windows, test, recipe, stopped, resume=True)
    for name, array in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], array, err_msg=name)


def test_only_matrices_decay(parts):
    model = new_model(parts[0])
    optimizer = build_optimizer(replace(RECIPE, weight_decay=1.0), 30)
    optimizer.init(model.trainable_parameters())
    before = weights(model)
    for _ in range(3):
        optimizer.update(model, tree_map(mx.zeros_like, model.trainable_parameters()))
    for name, array in weights(model).items():
        assert np.array_equal(array, before[name]) == (array.ndim == 1), name


def test_perplexity_of_a_guess(parts):
    tokenizer, _, test = parts
    model = new_model(tokenizer)
    model.update({"tokens": {"weight": mx.zeros((tokenizer.size, 32))}})
    found = measure(model, test)
    assert found["perplexity"] == pytest.approx(tokenizer.size, rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(np.log2(tokenizer.size), rel=1e-5)
    assert found["tokens"] == int(test.counted.sum())


def test_a_loss_that_is_no_number_stops(parts, tmp_path):
    tokenizer, windows, test = parts
    with pytest.raises(UserError, match="at step"):
        train(new_model(tokenizer), windows, test, replace(RECIPE, learning_rate=1e30), tmp_path)


def test_the_command_makes_a_folder_that_others_load(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT * 3)
    out = tmp_path / "run"
    command = [
        "train",
        "decoder_lm",
        "--variant",
        "llama",
        "--data",
        str(tmp_path / "text.txt"),
        "--steps",
        "3",
    ]
    command += ["--batch-size", "2", "--context", "16", "--tokenizer", "bpe", "--vocabulary", "300"]
    assert main([*command, "--out", str(out)]) == 0
    assert "bits per byte" in capsys.readouterr().out
    loaded = pretrained.load(out)
    assert (loaded.kind, loaded.context, loaded.vocabulary) == ("run", 16, loaded.tokenizer.size)
    theirs, _ = pytest.importorskip("mlx_lm.utils").load_model(out)
    ids = mx.array([loaded.tokenizer.encode("the cat sat")])
    np.testing.assert_allclose(np.array(theirs(ids)), np.array(loaded.model(ids)), rtol=0, atol=1e-5)
    assert main(["evaluate", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["loss"] == pytest.approx(
        json.loads((out / "config.json").read_text())["result"]["test_loss"], rel=1e-4
    )
    assert main([*command, "--out", str(out), "--resume"]) == 0
    assert "is finished already" in " ".join(capsys.readouterr().err.split())
    assert main([*command[:6], "--steps", "4", "--out", str(out), "--resume"]) == 1
    assert "steps was 3, is 4" in " ".join(capsys.readouterr().err.split())


def test_it_has_what_every_training_has(tmp_path, capsys):
    """A batch that is found, bfloat16, accumulation, averaged and best weights, recomputed blocks,
    TensorBoard, a page; and the limit of memory stops it."""
    (tmp_path / "text.txt").write_text(TEXT * 3)
    command = ["train", "decoder_lm", "--data", str(tmp_path / "text.txt"), "--context", "16", "--steps", "4"]
    settings = ("precision=bfloat16", "accumulate=2", "average=0.9", "keep=best", "recompute=true")
    more = [part for setting in settings for part in ("--set", setting)]
    out = tmp_path / "run"
    more += ["--batch", "auto", "--memory-limit", "8G", "--tensorboard"]
    assert main([*command, *more, "--out", str(out)]) == 0
    assert "of it waiting for data" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    assert config["training"]["batch_size"] in memory.SIZES
    assert config["training"]["precision"] == "bfloat16"
    assert (out / "report.html").is_file()
    assert list(out.glob("tensorboard/*tfevents*"))
    assert main([*command, "--memory-limit", "1M", "--out", str(tmp_path / "limited")]) == 1
    assert "--memory-limit is 1 MiB" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "told", "code"),
    [
        (["decoder_lm", "--data", "nowhere.txt"], "'nowhere.txt' is not there", 1),
        (["decoder_lm", "--variant", "huge"], "no variant 'huge'", 2),
        (["decoder_lm", "--epochs", "3"], "counts steps", 2),
        (["decoder_lm", "--tokenizer", "words"], "tokenizer 'words' is unknown", 2),
        (["decoder_lm", "--vocabulary", "300"], "as many tokens as the text has characters", 2),
        (["lenet", "--context", "64"], "--context is for decoder_lm", 2),
        (["decoder_lm", "--set", "crop=4"], "names no setting", 2),
        (["captioner", "--set", "mixup=1"], "names no setting", 2),
        (["decoder_lm", "--set", "precision=int8"], "choose from float32, bfloat16", 2),
        (["decoder_lm", "--image-size", "64"], "--image-size is for networks of pictures", 2),
        (["captioner", "--memory-limit", "much"], "is no size", 2),
    ],
)
def test_bad_options_are_one_line(options, told, code, tmp_path, capsys):
    assert main(["train", *options, "--out", str(tmp_path / "run")]) == code
    shown = capsys.readouterr().err.strip()
    assert told in shown
    assert shown.count("\n") == 0


def test_a_tokenizer_that_does_not_fit_is_refused(parts, tmp_path):
    tokenizer = parts[0]
    pretrained.save(tmp_path, new_model(tokenizer), tokenizer, {})
    train_tokenizer("bpe", [TEXT], 300).save(tmp_path)
    with pytest.raises(UserError, match="the tokenizer has 274 tokens, the model 15"):
        pretrained.load(tmp_path)
