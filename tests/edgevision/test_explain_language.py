"""What a language model looks at: the maps are those with which it computes, and show nothing to come."""

import json

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from edgevision import cli, pretrained
from edgevision.inference.attention_maps import attention_maps, causal, strongest
from edgevision.models import decoder_lm
from edgevision.text.tokenizer import train_tokenizer

TEXT = "to be, or not to be"


@pytest.mark.parametrize("style", ["gpt2", "llama"])
def test_maps_are_probabilities_of_the_past(style):
    config = decoder_lm.Config(style, 20, 16, 2, 4, key_value_heads=2 if style == "llama" else None, width=32)
    model = decoder_lm.Model(config).eval()
    ids = [3, 1, 4, 1, 5, 9]
    before = np.array(model(mx.array([ids])))
    maps = attention_maps(model, ids)
    assert [one.shape for one in maps] == [(4, 6, 6)] * 2
    for one in maps:
        np.testing.assert_allclose(one.sum(-1), 1, rtol=1e-5)
        assert (np.triu(one, 1) == 0).all()
    np.testing.assert_array_equal(np.array(model(mx.array([ids]))), before)
    for row, (layer, head, column, weight) in enumerate(strongest(maps)):
        assert (
            weight == maps[layer][head, row + 1, column] == max(m[:, row + 1, : row + 1].max() for m in maps)
        )


def test_a_map_is_the_formula():
    """softmax(Q K^T / sqrt(D) + M), computed apart from the model's own attention."""
    config = decoder_lm.Config("gpt2", 20, 16, 1, 2, width=16)
    model, ids = decoder_lm.Model(config).eval(), [7, 0, 3, 11]
    (found,) = attention_maps(model, ids)
    layer = model.layers[0]
    x = layer.attention_norm(model.tokens(mx.array(ids)) + model.positions(mx.arange(4)))
    q, k = (np.array(part(x)).reshape(4, 2, 8) for part in (layer.attention.query, layer.attention.key))
    scores = np.einsum("lhd,mhd->hlm", q, k) / np.sqrt(8) + np.where(np.array(causal(4)), 0, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(found, weights / weights.sum(-1, keepdims=True), rtol=1e-4)


def test_the_command_draws_both_pictures(tmp_path, capsys):
    tokenizer = train_tokenizer("characters", [TEXT])
    model = decoder_lm.Model(decoder_lm.Config("llama", tokenizer.size, 32, 2, 2, width=16))
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    pretrained.save(run, model, tokenizer, {"model": "decoder_lm"})
    assert cli.main(["explain", str(run), "--text", "to be", "--out", str(out), "--json"]) in (
        0,
        None,
    )
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == list("to be")
    assert len(found["looks"]) == 4
    for path in found["pictures"]:
        with Image.open(path) as picture:
            assert min(picture.size) > 100
    for text, reason in (("t", "1 tokens"), ("to be " * 20, "120 tokens")):
        assert cli.main(["explain", str(run), "--text", text, "--out", str(out)]) == 1
        assert reason in capsys.readouterr().err


def test_a_model_of_mlx_lm_is_listened_to():
    pytest.importorskip("mlx_lm", reason="mlx-lm is a development dependency")
    from mlx_lm_configs import build  # pyright: ignore[reportMissingImports]

    maps = attention_maps(build("qwen3"), [1, 2, 3, 4])
    assert maps
    assert all((np.triu(one, 1) == 0).all() for one in maps)
