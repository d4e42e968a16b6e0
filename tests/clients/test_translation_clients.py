"""Exported translators in transformers.js: the same sentences as MLX."""

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from edgevision import pretrained_translator
from edgevision.cli import main
from edgevision.inference.translation import open_translator, translate
from edgevision.models import translator
from edgevision.text.tokenizer import train_tokenizer

LIMIT = 24
WORDS = "ein mann hund rot blau läuft zwei kinder spielen im schnee"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """(run, export, sentences): an untrained translator, with large weights so that its sentences vary."""
    root = tmp_path_factory.mktemp("translator")
    tokenizer = train_tokenizer("bpe", [WORDS], 290, LIMIT)
    end = tokenizer.size - 1
    config = translator.Config(tokenizer.size, LIMIT, 2, 1, 2, 32, 48, dropout=0.0, start=end, end=end)
    mx.random.seed(0)
    model = translator.Model(config)
    model.update(tree_map(lambda w: w + mx.random.normal(w.shape, scale=0.3), model.parameters()))
    (root / "run").mkdir()
    pretrained_translator.save(root / "run", model, tokenizer, {"variant": "de-en"})
    random = np.random.default_rng(0)
    sentences = [" ".join(random.choice(WORDS.split(), n)) for n in (1, 2, 3, 4, 5, 3, 2, 4, 5, 1)]
    return root / "run", root / "export", sentences


def by(path, sentences, beams=1):
    writer = open_translator(path)
    return [translate(writer, sentence, beams) for sentence in sentences]


def test_transformers_js_translates_the_same(folders, transformers_js, capsys):
    run, export, sentences = folders
    assert main(["export", str(run), "--to", "onnx", "--out", str(export)]) == 0
    assert "12 of 12 translations as MLX's" in capsys.readouterr().out
    expected = by(run, sentences)
    assert len(set(expected)) > 6, "the sentences must differ to mean something"
    assert by(export, sentences) == expected
    assert by(export, sentences[:4], beams=3) == by(run, sentences[:4], beams=3)
    texts = transformers_js("translate.mjs", export, "default", LIMIT, *sentences)
    assert [text.strip() for text in texts] == expected


@pytest.mark.parametrize(
    ("options", "dtype"),
    [(["--precision", "float16"], "fp16"), (["--quantize", "int8"], "q8"), (["--quantize", "int4"], "q4")],
)
def test_smaller_files_run_too(folders, options, dtype, transformers_js):
    run, export, sentences = folders
    assert main(["export", str(run), "--to", "onnx", "--out", str(export), *options]) == 0
    texts = transformers_js("translate.mjs", export, dtype, LIMIT, *sentences[:4])
    if dtype == "fp16":
        assert [text.strip() for text in texts] == by(run, sentences[:4])
    assert len(set(texts)) > 1
