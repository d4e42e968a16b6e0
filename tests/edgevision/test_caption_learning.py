"""Captioners that begin with a trained encoder, and self-critical training."""

import json

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from PIL import Image

from edgevision import cli, pretrained_captioner
from edgevision.data import scenes
from edgevision.data.captions import CaptionSet
from edgevision.errors import UserError
from edgevision.inference.consensus import Consensus
from edgevision.models import captioner, decoder_lm, vit
from edgevision.text.tokenizer import train_tokenizer
from edgevision.training.captioning import CaptionRecipe
from edgevision.training.critical import DRAWN, Learner
from edgevision.training.frozen import DecoderAlone, encoder_of, train_decoder_alone

EYES = vit.Config(image_size=32, patch_size=8, layers=1, heads=2, width=16, classes=3)
WIDTHS = (8, 16)


@pytest.fixture(scope="module")
def pictures():
    """(training set, held-out set, tokenizer) of a few scenes of 32 pixels."""
    train, test = (scenes.draw(split, 24, side=32).caption_set() for split in ("train", "test"))
    sentences = [sentence for known in train.captions for sentence in known]
    return train, test, train_tokenizer("bpe", sentences, 300, 32)


def small(tokenizer):
    decoder = decoder_lm.Config(
        vocabulary=tokenizer.size, context=32, layers=1, heads=2, width=16, dropout=0.0
    )
    mx.random.seed(4)
    return captioner.Model(captioner.Config(32, widths=WIDTHS, decoder=decoder, dropout=0.0))


def arrays(module):
    return {name: np.array(array) for name, array in tree_flatten(module.parameters())}


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """A ViT with random weights, as Hugging Face has it: in the place of one that learnt ImageNet."""
    mx.random.seed(3)
    folder = tmp_path_factory.mktemp("vit")
    model = vit.Model(EYES)
    model.save_pretrained(folder, ["a", "b", "c"])
    return folder, model


def test_consensus_is_cider_of_pycocoevalcap():
    scorer = pytest.importorskip("pycocoevalcap.cider.cider_scorer")
    drawn = scenes.draw("test", 40).captions
    references = [[drawn[i], drawn[(i + 7) % 40], drawn[(i + 20) % 40]] for i in range(40)]
    written = [*drawn[1:], "a large"]
    theirs = scorer.CiderScorer(n=4, sigma=6.0)
    for sentence, known in zip(written, references, strict=True):
        theirs += (sentence, known)
    _, expected = theirs.compute_score()
    consensus = Consensus(references)
    found = [consensus.score(sentence, known) for sentence, known in zip(written, references, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert max(found) > 1


def test_the_encoder_stays_while_the_decoder_learns(pictures):
    train, test, tokenizer = pictures
    model = small(tokenizer)
    before = arrays(model)
    recipe = CaptionRecipe(frozen=2, epochs=1, batch_size=8, longest=12, captions=1, side_by_side=1)
    kept = []

    def task(own):
        kept.append(DecoderAlone(model, train, test, tokenizer, own))
        return kept[-1]

    train_decoder_alone(model, task, recipe)
    for name, array in arrays(model).items():
        assert name.startswith("encoder.") == np.array_equal(array, before[name]), name
    features, tokens = kept[0].at(0)
    chosen, _ = kept[0].chosen(0)
    model.eval()
    expected = np.array(model.encode(mx.array(train.images[chosen].astype(np.float32) / 255)))
    np.testing.assert_allclose(
        features.astype(np.float32), expected, rtol=0, atol=2e-3 * np.abs(expected).max()
    )
    assert tokens.shape == (8, 1, 14)
    assert "encoder" in dict(model.trainable_parameters())


def test_what_gained_becomes_more_probable_and_what_lost_less(pictures):
    train, _, tokenizer = pictures
    model = small(tokenizer)
    recipe = CaptionRecipe(batch_size=2, longest=8, critical=1)
    learner = Learner(model, train, tokenizer, recipe)
    rows = np.random.default_rng(0).integers(0, 200, (2 * DRAWN, 9))
    rows[:, 0] = tokenizer.end
    gains = np.tile([1.0, -1.0], DRAWN).astype(np.float32)
    images = mx.array(train.images[:2])

    def known():
        features = mx.repeat(model.encode(images.astype(mx.float32) / 255), DRAWN, axis=0)
        logits = model.decode(mx.array(rows[:, :-1]), model.remember(features))
        logits = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        return np.array(mx.take_along_axis(logits, mx.array(rows[:, 1:, None]), -1)).sum(axis=(1, 2))

    before = known()
    for _ in range(20):
        learner.learn(images, mx.array(rows.astype(np.int32)), mx.array(gains))
    moved = known() - before
    assert (np.sign(moved) == gains).all(), moved


def test_self_critical_steps_raise_the_reward(pictures):
    """What is drawn from a model that knows words comes to be the sentences of the pictures."""
    train, _, tokenizer = pictures
    told = ("a large red circle", "a small blue square")
    data = CaptionSet(train.images[:8], tuple((told[i // 7],) for i in range(8)), train.names[:8])
    other = CaptionSet(data.images, tuple((told[i % 2],) for i in range(8)), data.names)
    model = small(tokenizer)
    recipe = CaptionRecipe(
        frozen=60, batch_size=8, longest=12, captions=1, side_by_side=1, average=None, learning_rate=5e-3
    )
    train_decoder_alone(model, lambda own: DecoderAlone(model, other, other, tokenizer, own), recipe)
    learner = Learner(model, data, tokenizer, CaptionRecipe(longest=12), rate=2e-3)
    gained = [learner.step(np.arange(8)) for _ in range(60)]
    assert np.mean(gained[-10:]) > 5 * np.mean(gained[:10])


def folder_of_scenes(root, count=40):
    drawn = scenes.draw("train", count)
    with (root / "captions.jsonl").open("w") as file:
        for index, (image, sentence) in enumerate(zip(drawn.images, drawn.captions, strict=True)):
            Image.fromarray(image).save(root / f"{index}.png")
            file.write(json.dumps({"image": f"{index}.png", "caption": sentence}) + "\n")
    return root


def test_a_captioner_begins_with_a_vit_stays_frozen_and_criticises_itself(vision, tmp_path, capfd):
    pytest.importorskip("pycocoevalcap")
    folder, _ = vision
    data = folder_of_scenes(tmp_path)
    command = ["train", "captioner", "--variant", "scenes", "--data", str(data), "--from", str(folder)]
    command += ["--out", str(tmp_path / "run"), "--steps", "2", "--batch-size", "16", "--vocabulary", "300"]
    assert cli.main([*command, "--set", "frozen=1", "--set", "critical=1"]) == 0
    told = capfd.readouterr().err
    assert "1 epochs with the encoder as it is" in told
    assert "self-critical epoch 1" in told
    loaded = pretrained_captioner.load(tmp_path / "run")
    assert loaded.model.config.vit.width == loaded.model.config.decoder.width == EYES.width
    assert loaded.model.config.image_size == EYES.image_size
    assert (tmp_path / "run" / "model.safetensors").is_file(), "as VisionEncoderDecoderModel has it"
    assert cli.main(["caption", str(tmp_path / "run"), str(tmp_path / "0.png")]) == 0
    capfd.readouterr()
    again = ["train", "captioner", "--data", str(data), "--from", str(tmp_path / "run"), "--steps", "1"]
    again += ["--batch-size", "16", "--vocabulary", "300", "--out", str(tmp_path / "second")]
    assert cli.main(again) == 0, "a captioner's own encoder serves too"


def test_the_weights_of_the_encoder_are_those_of_the_checkpoint(vision):
    folder, model = vision
    settings, weights = encoder_of(str(folder), captioner.VARIANTS["scenes"])
    mx.random.seed(9)
    built = captioner.Model(settings)
    built.encoder.load_weights(list(weights.items()))
    built.eval()
    model.eval()
    picture = mx.array(np.random.default_rng(1).random((1, 32, 32, 3), np.float32))
    x = model.embed(picture)
    for layer in model.layers:
        x = layer(x)
    expected = np.array(model.norm(x))
    np.testing.assert_allclose(np.array(built.encode(picture)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--set", "frozen=1"], "--from"), (["--from", "nowhere/at-all", "--set", "frozen=1"], "nowhere")],
)
def test_an_encoder_that_is_not_there_is_refused(options, message, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    command = ["train", "captioner", "--data", "scenes", "--out", str(tmp_path / "run"), "--steps", "1"]
    assert cli.main([*command, *options]) in (1, 2)
    assert message in capfd.readouterr().err


def test_runs_of_other_models_are_no_encoder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError):
        encoder_of(str(tmp_path), captioner.VARIANTS["scenes"])
