"""The language model: the same logits as Hugging Face's and mlx-lm's from the same folder, and its cache."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from edgevision import pretrained, runs
from edgevision.models import decoder_lm
from edgevision.text.tokenizer import train_tokenizer

STYLES = ("gpt2", "llama")
IDS = np.random.default_rng(0).integers(0, 70, (2, 20))


def small(style, **changes):
    sizes = {"vocabulary": 70, "context": 32, "layers": 2, "heads": 4, "width": 32, "hidden": 48}
    groups = {"key_value_heads": 2} if style == "llama" else {}
    return decoder_lm.Config(**{"style": style, **sizes, **groups, **changes})


def built(config):
    mx.random.seed(3)
    model = decoder_lm.Model(config)
    model.eval()
    return model


def saved(model, folder):
    """A folder as `edgevision train` leaves it, as far as the model goes."""
    weights = dict(tree_flatten(model.parameters()))
    named = decoder_lm.hugging_face_weights(weights, model.config.style)
    mx.save_safetensors(str(folder / "model.safetensors"), named, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(decoder_lm.to_hugging_face(model.config)))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_transformers_loads_what_we_save(style, tied, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = built(small(style, tied=tied))
    saved(model, tmp_path)
    kind = {"gpt2": transformers.GPT2LMHeadModel, "llama": transformers.LlamaForCausalLM}[style]
    theirs, found = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(found.values()), found
    expected = theirs.eval()(torch.tensor(IDS)).logits.detach().numpy()
    np.testing.assert_allclose(
        np.array(model(mx.array(IDS))), expected, rtol=0, atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_we_load_what_transformers_saves(style, tied, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    known = {k: v for k, v in decoder_lm.to_hugging_face(small(style, tied=tied)).items() if k != "dtype"}
    settings = transformers.AutoConfig.for_model(**known, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(settings).eval()
    theirs.save_pretrained(tmp_path)
    config = decoder_lm.from_hugging_face(json.loads((tmp_path / "config.json").read_text()))
    assert replace(config, dropout=0.0) == replace(
        small(style, tied=tied), key_value_heads=config.key_value_heads, head_size=config.head_size
    )
    weights = decoder_lm.sanitize(runs.read_weights(tmp_path / "model.safetensors"))
    model = built(config)
    model.load_weights(list(weights.items()))
    expected = theirs(torch.tensor(IDS)).logits.detach().numpy()
    np.testing.assert_allclose(
        np.array(model(mx.array(IDS))), expected, rtol=0, atol=1e-4 * np.abs(expected).max()
    )


SCALED = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "another base": {"rope_type": "default"},
}


@pytest.mark.parametrize("kind", SCALED)
def test_scaled_rotary_positions_are_those_of_transformers(kind, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("mlx_lm")
    known = decoder_lm.to_hugging_face(small("llama", context=64))
    known = {k: v for k, v in known.items() if k not in ("dtype", "rope_theta", "model_type")}
    rope = {**SCALED[kind], "rope_theta": 5000.0}
    settings = transformers.LlamaConfig(**known, rope_parameters=rope, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(settings).eval()
    theirs.save_pretrained(tmp_path)
    train_tokenizer("characters", ["abc"]).save(tmp_path)
    ids = np.random.default_rng(1).integers(0, 70, (1, 50))
    expected = theirs(torch.tensor(ids)).logits.detach().numpy()
    got = np.array(pretrained.load(tmp_path).model(mx.array(ids)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_mlx_lm_loads_the_llama_folder(tmp_path):
    loading = pytest.importorskip("mlx_lm.utils")
    model = built(small("llama"))
    saved(model, tmp_path)
    theirs, _ = loading.load_model(tmp_path)
    np.testing.assert_allclose(
        np.array(theirs(mx.array(IDS))), np.array(model(mx.array(IDS))), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("style", STYLES)
def test_a_cache_changes_nothing(style):
    model = built(small(style))
    whole, cache = model(mx.array(IDS)), model.make_cache()
    parts = [model(mx.array(IDS[:, start:end]), cache) for start, end in ((0, 7), (7, 8), (8, 9), (9, 20))]
    np.testing.assert_allclose(np.array(mx.concatenate(parts, axis=1)), np.array(whole), rtol=0, atol=1e-5)


@pytest.mark.parametrize("style", STYLES)
def test_no_token_sees_a_later_one(style):
    model = built(small(style))
    changed = IDS.copy()
    changed[:, 12] = (changed[:, 12] + 1) % 70
    one, other = np.array(model(mx.array(IDS))), np.array(model(mx.array(changed)))
    np.testing.assert_array_equal(one[:, :12], other[:, :12])
    assert not np.array_equal(one[:, 12:], other[:, 12:])


@pytest.mark.parametrize("style", STYLES)
def test_padding_before_a_text_changes_nothing(style):
    model = built(small(style))
    padded = np.concatenate([np.zeros((2, 3), int), IDS], axis=1)
    real = np.arange(23) >= 3
    mask = mx.array((np.tril(np.ones((23, 23), bool)) & (real[None] | np.eye(23, dtype=bool))).tolist())
    positions = mx.array(np.maximum(np.arange(23) - 3, 0))[None]
    got = model(mx.array(padded), mask=mask, positions=positions)[:, 3:]
    np.testing.assert_allclose(np.array(got), np.array(model(mx.array(IDS))), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "mistral"}, "'mistral' is neither"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
        ({"attention_bias": True}, "attention_bias"),
    ],
)
def test_other_architectures_are_refused_by_name(change, reason):
    found = decoder_lm.to_hugging_face(small("llama")) | change
    with pytest.raises(ValueError, match=reason):
        decoder_lm.from_hugging_face(found)


def test_our_own_names_come_back():
    for style in STYLES:
        weights = dict(tree_flatten(built(small(style)).parameters()))
        back = decoder_lm.sanitize(decoder_lm.hugging_face_weights(weights, style))
        assert set(back) == set(weights)
        assert all(mx.array_equal(back[name], weights[name]).item() for name in weights)


def test_cross_attention_is_that_of_transformers(tmp_path):
    """A GPT-2 that looks at another sequence, both ways: as loaded from theirs, and saved to theirs."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = replace(small("gpt2"), memory=32)
    settings = {k: v for k, v in decoder_lm.to_hugging_face(config).items() if k != "dtype"}
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**settings, is_decoder=True)).eval()
    theirs.save_pretrained(tmp_path)
    weights = runs.read_weights(tmp_path / "model.safetensors")
    ours = decoder_lm.sanitize(weights)
    model = built(config)
    model.load_weights(list(ours.items()))
    memory = np.random.default_rng(1).normal(size=(2, 5, 32)).astype(np.float32)
    expected = theirs(torch.tensor(IDS), encoder_hidden_states=torch.tensor(memory)).logits.detach().numpy()
    got = model(mx.array(IDS), memory=model.remember(mx.array(memory)))
    np.testing.assert_allclose(np.array(got), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert np.abs(np.array(model(mx.array(IDS))) - expected).max() > 1e-2 * np.abs(expected).max()
    again = decoder_lm.hugging_face_weights(ours, "gpt2")
    assert again.keys() == {name for name in weights if name != "lm_head.weight"}
    assert all(mx.array_equal(array, weights[name]) for name, array in again.items())
