"""Exported captioners in transformers.js: the same sentences as MLX."""

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map
from PIL import Image

from edgevision import pretrained_captioner
from edgevision.data import scenes
from edgevision.errors import UserError
from edgevision.export_captioner import export_captioner
from edgevision.inference.captioner import Style, captions, described, open_captioner, picture_array
from edgevision.models import captioner, decoder_lm
from edgevision.text.tokenizer import train_tokenizer

COUNT = 50


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """(run, export, pictures): an untrained captioner, whose weights are large so that its sentences vary."""
    return made(tmp_path_factory.mktemp("captioner"), prefix=False)


def made(root, prefix):
    drawn = scenes.draw("test", COUNT)
    tokenizer = train_tokenizer("bpe", drawn.captions, 380, 32)
    decoder = decoder_lm.Config(
        vocabulary=tokenizer.size, context=16 + 64 * prefix, layers=2, heads=4, width=32
    )
    mx.random.seed(1)
    model = captioner.Model(captioner.Config(64, widths=(8, 32), decoder=decoder, prefix=prefix))
    model.decoder.update(tree_map(lambda w: w * 6 if w.ndim == 2 else w, model.decoder.parameters()))
    model.eval()
    (root / "run").mkdir()
    pretrained_captioner.save(root / "run", model, tokenizer, {"longest": 12})
    paths = []
    for index, image in enumerate(drawn.images):
        paths.append(root / f"{index:02}.png")
        Image.fromarray(image).save(paths[-1])
    export_captioner(root / "run", ["onnx"], root / "export")
    return root / "run", root / "export", paths


def by(path, pictures):
    writer = open_captioner(path)
    found = [captions(writer, picture_array(picture, writer.side)[0], Style())[0] for picture in pictures]
    return [described(writer, sentence)["text"] for sentence in found]


def test_transformers_js_writes_the_same(folders, transformers_js):
    run, export, pictures = folders
    expected = by(run, pictures)
    assert len(set(expected)) > COUNT // 3, "the sentences must differ to mean something"
    assert by(export, pictures) == expected
    assert [text.strip() for text in transformers_js("caption.mjs", export, "default", *pictures)] == expected


@pytest.mark.parametrize(
    ("options", "dtype"),
    [({"precision": "float16"}, "fp16"), ({"quantize": "int8"}, "q8"), ({"quantize": "int4"}, "q4")],
)
def test_smaller_files_run_too(folders, options, dtype, transformers_js):
    run, export, pictures = folders
    export_captioner(run, ["onnx"], export, **options)
    texts = transformers_js("caption.mjs", export, dtype, *pictures[:4])
    assert all(text.strip() for text in texts)
    if dtype == "fp16":
        assert [text.strip() for text in texts] == by(run, pictures[:4])


def test_onnx_and_mlx_search_alike(folders):
    run, export, pictures = folders
    style = Style(beams=4, count=3, distinct=2)
    for picture in pictures[:5]:
        found = []
        for path in (run, export):
            writer = open_captioner(path)
            found.append(captions(writer, picture_array(picture, writer.side)[0], style))
        assert [sentence.tokens for sentence in found[0]] == [sentence.tokens for sentence in found[1]]
        assert np.allclose([s.score for s in found[0]], [s.score for s in found[1]], atol=1e-4)


def test_the_prefix_form_writes_the_same_in_every_runtime(tmp_path, transformers_js):
    run, export, pictures = made(tmp_path, prefix=True)
    expected = by(run, pictures[:12])
    assert len(set(expected)) > 4, "the sentences must differ to mean something"
    assert by(export, pictures[:12]) == expected
    found = transformers_js("caption.mjs", export, "default", *pictures[:12])
    assert [text.strip() for text in found] == expected
    export_captioner(run, ["onnx"], export, quantize="int8")
    assert all(text.strip() for text in transformers_js("caption.mjs", export, "q8", *pictures[:2]))
    with pytest.raises(UserError, match="ONNX only"):
        export_captioner(run, ["onnx", "coreml"], export)
