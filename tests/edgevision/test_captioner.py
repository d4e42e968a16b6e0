"""The captioner: Hugging Face's VisionEncoderDecoderModel both ways, its search, the prefix form, a run."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from edgevision import pretrained_captioner
from edgevision.errors import UsageError, UserError
from edgevision.inference.beam import draw, search
from edgevision.inference.captioner import MlxWriter, Style, captions
from edgevision.inference.sampling import Sampling
from edgevision.models import captioner, decoder_lm, vit
from edgevision.text.tokenizer import train_tokenizer

EYES = vit.Config(image_size=16, patch_size=8, layers=2, heads=2, width=32, classes=3)
TEXT = decoder_lm.Config(vocabulary=70, context=24, layers=2, heads=4, width=32)
RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.random((2, 16, 16, 3), np.float32)
IDS = RANDOM.integers(0, 70, (2, 7))


def built(config, scale=1.0):
    mx.random.seed(2)
    model = captioner.Model(config)
    for name, module in model.named_modules():
        if name.startswith("decoder.") and hasattr(module, "weight") and module.weight.ndim == 2:
            module.weight = module.weight * scale
    model.eval()
    return model


def tokenizer_of(size=70):
    words = " ".join(f"w{n}" for n in range(300))
    found = train_tokenizer("bpe", [words], 300, 24)
    assert found.size >= size
    return found


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """(their model, a folder as they save it): sentences of random weights that vary."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    tokenizer = tokenizer_of()
    content = pretrained_captioner.to_hugging_face(
        captioner.Config(vit=EYES, decoder=replace(TEXT, vocabulary=tokenizer.size)), tokenizer.end
    )
    known = content["config.json"]
    known["decoder"].pop("dtype")
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more wait for one another where the cores are busy
    theirs = transformers.VisionEncoderDecoderModel(transformers.VisionEncoderDecoderConfig(**known)).eval()
    with torch.no_grad():
        for name, weight in theirs.decoder.named_parameters():
            if weight.ndim == 2:
                weight.mul_(9 if "wte" in name else 5)
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    tokenizer.save(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(content["preprocessor_config.json"]))
    return theirs, folder


def their_logits(theirs, pictures, ids):
    import torch

    pixels = torch.tensor((pictures.transpose(0, 3, 1, 2) - 0.5) / 0.5)
    return theirs(pixel_values=pixels, decoder_input_ids=torch.tensor(ids)).logits.detach().numpy()


def test_we_load_what_transformers_saves(hugging_face):
    theirs, folder = hugging_face
    expected = their_logits(theirs, PICTURES, IDS)
    model = pretrained_captioner.load(folder).model
    got = np.array(model(mx.array(PICTURES), mx.array(IDS)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    other = np.array(model(mx.array(1 - PICTURES), mx.array(IDS)))
    assert np.abs(other - expected).max() > 1e-2 * np.abs(expected).max(), "the picture counts"


def test_transformers_loads_what_we_save(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = tokenizer_of()
    model = built(captioner.Config(vit=EYES, decoder=replace(TEXT, vocabulary=tokenizer.size)), 5)
    pretrained_captioner.save(tmp_path, model, tokenizer, {})
    theirs, found = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    missing = {name for name in found["missing_keys"] if "pooler" not in name}
    assert not missing
    assert not found["unexpected_keys"]
    expected = their_logits(theirs.eval(), PICTURES, IDS)
    got = np.array(model(mx.array(PICTURES), mx.array(IDS)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    again = pretrained_captioner.load(tmp_path)
    assert np.array_equal(np.array(again.model(mx.array(PICTURES), mx.array(IDS))), got)


@pytest.mark.parametrize(
    ("beams", "penalty", "distinct"),
    [(1, 1.0, 0), (2, 1.0, 0), (4, 1.0, 0), (4, 0.0, 2), (3, 2.0, 3), (5, -1.0, 0)],
)
def test_beam_search_is_that_of_transformers(hugging_face, beams, penalty, distinct):
    import torch

    theirs, folder = hugging_face
    writer = MlxWriter(folder)
    pictures = np.random.default_rng(5).random((6, 16, 16, 3), np.float32)
    finished = 0
    for picture in pictures[:, None]:
        options = {} if beams == 1 else {"length_penalty": penalty, "num_return_sequences": beams}
        with torch.no_grad():
            found = theirs.generate(
                torch.tensor((picture.transpose(0, 3, 1, 2) - 0.5) / 0.5),
                num_beams=beams,
                do_sample=False,
                max_new_tokens=12,
                no_repeat_ngram_size=distinct,
                return_dict_in_generate=True,
                output_scores=True,
                **options,
            )
        expected = [[t for t in row if t != writer.end] for row in found.sequences[:, 1:].tolist()]
        rows = writer.rows(writer.look(picture), beams)
        if beams == 1:
            got = draw(rows, writer.start, writer.end, 12, Sampling())
        else:
            got = search(rows, writer.start, writer.end, beams, 12, penalty, distinct)
            scores = found.sequences_scores.numpy()
            np.testing.assert_allclose([sentence.score for sentence in got], scores, rtol=1e-4, atol=1e-4)
        assert [list(sentence.tokens) for sentence in got] == expected
        finished += sum(not sentence.cut for sentence in got)
    assert finished or beams == 1 or penalty > 1, "some sentences must end by themselves"


def test_the_prefix_form_sees_the_picture_and_keeps_it_in_its_cache():
    model = built(captioner.Config(32, widths=(8, 16), decoder=replace(TEXT, context=80), prefix=True), 5)
    pictures = mx.array(RANDOM.random((2, 32, 32, 3), np.float32))
    memory, cache = model.remember(model.encode(pictures)), model.decoder.make_cache()
    whole = np.array(model.decode(mx.array(IDS), memory))
    assert whole.shape == (2, 7, 70)
    steps = [np.array(model.decode(mx.array(IDS[:, i : i + 1]), memory, cache)) for i in range(7)]
    np.testing.assert_allclose(np.concatenate(steps, axis=1), whole, rtol=0, atol=1e-4 * np.abs(whole).max())
    other = np.array(model(1 - pictures, mx.array(IDS)))
    assert np.abs(other - whole).max() > 1e-2 * np.abs(whole).max()


def test_sentences_without_an_end_are_cut_and_say_so(tmp_path):
    tokenizer = tokenizer_of()
    model = built(captioner.Config(16, widths=(8, 16), decoder=replace(TEXT, vocabulary=tokenizer.size)))
    table = model.decoder.tokens.weight
    model.decoder.tokens.weight = mx.concatenate([table[:-1], mx.full(table[-1:].shape, -9.0)])
    model.decoder.norm.bias = mx.ones(model.decoder.norm.bias.shape)
    pretrained_captioner.save(tmp_path, model, tokenizer, {"longest": 6})
    writer = MlxWriter(tmp_path)
    picture = PICTURES[:1]
    for style in (Style(), Style(beams=3)):
        (found,) = captions(writer, picture, style)
        assert found.cut
        assert len(found.tokens) == 6
    assert len(captions(writer, picture, Style(limit=2))[0].tokens) == 2


def test_drawn_sentences_follow_the_seed(tmp_path):
    tokenizer = tokenizer_of()
    model = built(captioner.Config(16, widths=(8, 16), decoder=replace(TEXT, vocabulary=tokenizer.size)), 3)
    pretrained_captioner.save(tmp_path, model, tokenizer, {"longest": 8})
    writer = MlxWriter(tmp_path)
    first, again, other = (
        [f.tokens for f in captions(writer, PICTURES[:1], Style(sampling=Sampling(1.0, seed=seed), count=3))]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(set(first)) == 3


@pytest.mark.parametrize(
    "wrong",
    [{"beams": 3, "sampling": Sampling(1.0)}, {"count": 2}, {"beams": 2, "count": 3}, {"distinct": 2}],
)
def test_styles_that_exclude_each_other_are_refused(wrong):
    with pytest.raises(UsageError):
        Style(**wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": {"model_type": "bert"}}, "vit and bert"),
        ({"encoder": {"model_type": "swin"}}, "swin"),
        ({"model_type": "blip"}, "blip"),
        ({"decoder": {"model_type": "gpt2", "add_cross_attention": False}}, "cross-attention"),
    ],
)
def test_other_architectures_are_refused_by_name(hugging_face, change, message, tmp_path):
    _, folder = hugging_face
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=message):
        pretrained_captioner.load(tmp_path)
