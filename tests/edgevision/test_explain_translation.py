"""What a translator looks at: three kinds of attention, each with its mask, in a picture and on a page."""

import json
import re

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map
from PIL import Image

from edgevision import cli, pretrained_encoder, pretrained_translator
from edgevision.inference.attention_maps import strongest
from edgevision.inference.three_attentions import furthest_looks, three_attentions, three_masks
from edgevision.models import encoder_lm, translator
from edgevision.text.tokenizer import train_tokenizer, train_wordpiece

TEXT = "ein mann läuft"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run with random weights, more layers in the decoder than in the encoder."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer("characters", [TEXT, "a man runs</script>"])
    end = tokenizer.size - 1
    mx.random.seed(1)
    model = translator.Model(translator.Config(tokenizer.size, 64, 2, 1, 2, 16, 40, start=end, end=end))
    model.update(tree_map(lambda w: w + mx.random.normal(w.shape, scale=0.3), model.parameters()))
    pretrained_translator.save(folder, model, tokenizer, {})
    return folder


def test_maps_are_those_of_the_model_and_obey_the_masks(run):
    model = pretrained_translator.load(run).model
    source, target = [3, 1, 4, 1, 5], [2, 7, 1, 8]
    before = np.array(model(mx.array([source]), mx.array([target])))
    kinds = three_attentions(model, source, target, ("abcde", "wxyz", "xyz."))
    encoder, decoder, cross = kinds
    assert [[m.shape for m in kind.maps] for kind in kinds] == [[(2, 5, 5)], [(2, 4, 4)] * 2, [(2, 4, 5)] * 2]
    for kind in kinds:
        mask = kind.mask[: len(kind.rows), : len(kind.columns)]
        for one in kind.maps:
            np.testing.assert_allclose(one.sum(-1), 1, rtol=1e-5)
            assert ((one > 0) == mask).all()
    assert (encoder.rows, decoder.columns, cross.rows) == (list("abcde"), list("wxyz"), list("xyz."))
    assert cross.padded_columns == [*"abcde", "[pad]", "[pad]", "[pad]"]
    looked: list[mx.array] = []
    memory = model.remember(model.encode(mx.array([source]), looked=looked))
    model.decode(mx.array([target]), memory, looked=looked)
    for found, expected in zip(encoder.maps + cross.maps, looked, strict=True):
        np.testing.assert_allclose(found, np.array(expected)[0], atol=1e-5)
    for row, look in enumerate(furthest_looks(cross)):
        weights = cross.maps[look["layer"] - 1][look["head"] - 1, row]
        assert (
            look["weight"] == max(m[:, row].max() for m in cross.maps) == weights["abcde".index(look["at"])]
        )
    np.testing.assert_array_equal(np.array(model(mx.array([source]), mx.array([target]))), before)


def test_masks_hide_padding_and_the_future(run):
    """The masks drawn are those with which padding changes nothing."""
    encoder, decoder, cross = three_masks(5, 4, padding=2)
    np.testing.assert_array_equal(encoder, [[True] * 5 + [False] * 2] * 7)
    np.testing.assert_array_equal(decoder, np.tri(4, dtype=bool))
    np.testing.assert_array_equal(cross, [[True] * 5 + [False] * 2] * 4)
    model = pretrained_translator.load(run).model
    source, target = mx.array([[3, 1, 4, 1, 5]]), mx.array([[2, 7, 1, 8]])
    padded = mx.concatenate([source, mx.array([[9, 9]])], axis=1)
    found = model(padded, target, mx.array(cross[:1]))
    np.testing.assert_allclose(np.array(found), np.array(model(source, target)), atol=1e-5)


@pytest.mark.parametrize("translation", [None, "a man</script>"])
def test_the_command_draws_three_columns(run, tmp_path, capsys, translation):
    given = [] if translation is None else ["--translation", translation]
    assert not cli.main(["explain", str(run), "--text", TEXT, "--out", str(tmp_path), "--json", *given])
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == list(TEXT)
    assert [look["token"] for look in found["looks"]] == [*found["translated"], "[end]"]
    assert translation in (None, found["translation"])
    with Image.open(tmp_path / "attention.png") as picture:
        assert min(picture.size) > 300
    page = (tmp_path / "attention.html").read_text()
    assert page.count("</script>") == 1
    content = re.search(r"^const kinds = (.*);$", page, re.MULTILINE)
    assert content
    kinds = json.loads(content[1])
    assert [kind["title"].split(":")[0] for kind in kinds] == ["encoder", "decoder", "cross"]
    assert kinds[1]["columns"] == ["[start]", *found["translated"]]
    assert np.array(kinds[2]["maps"]).shape == (2, 2, len(found["looks"]), len(TEXT))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--text", " "], "the sentence is empty"),
        (["--text", "a" * 49], "49 tokens, 48 can be shown"),
        (["--text", "a", "--translation", ""], "the translation is empty"),
        (["--text", "a", "--translation", "a" * 49], "49 tokens, 48 can be shown"),
        (["--translation", "a"], "looks at a sentence"),
        (["--text", "a", "--picture", "a.png"], "looks at a sentence"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, options, reason):
    assert cli.main(["explain", str(run), "--out", str(tmp_path / "out"), *options])
    told = capsys.readouterr().err.strip()
    assert reason in told
    assert "\n" not in told
    assert not (tmp_path / "out").exists()


def test_an_encoder_sees_all(tmp_path, capsys):
    weights = np.array([[[0.1, 0.2, 0.7], [0.2, 0.5, 0.3], [0.3, 0.1, 0.6]]])
    assert strongest([weights], full=True) == [(0, 0, 2, 0.3), (0, 0, 0, 0.3)]
    assert strongest([weights]) == [(0, 0, 0, 0.2), (0, 0, 0, 0.3)]
    tokenizer = train_wordpiece([TEXT], 60, 64)
    config = encoder_lm.Config(tokenizer.size, 64, 2, 2, 16, head="features")
    run = tmp_path / "run"
    run.mkdir()
    pretrained_encoder.save(run, encoder_lm.Model(config), tokenizer, {})
    assert not cli.main(["explain", str(run), "--text", TEXT, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["tokens"][0], found["tokens"][-1]) == ("[CLS]", "[SEP]")
    with Image.open(run / "explained" / "mask.png") as mask:
        shown = np.asarray(mask.convert("RGB"))
    assert not (shown == (247, 251, 255)).all(-1).any()  # the colour of what is not seen
    assert cli.main(["explain", str(run), "--text", TEXT, "--translation", "a"])
    assert "is for translators" in capsys.readouterr().err
