"""ViT beside Hugging Face's: the same parameters, the same numbers; checkpoints go both ways."""

import json
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from edgevision import pretrained_vit
from edgevision.errors import UsageError, UserError
from edgevision.models import vit

CONFIG = vit.Config(32, 8, classes=7, layers=3, heads=4, width=32, hidden=48, norm_epsilon=1e-12)
# As the paper's table 1 and transformers count them, with 1,000 classes.
PARAMETERS = {"Ti": 5_717_416, "S": 22_050_664, "B": 86_567_656, "B/32": 88_224_232}
LARGE = {"L": 304_326_632, "H": 632_045_800}


def parameters(model) -> dict[str, mx.array]:
    return dict(tree_flatten(model.parameters()))


def randomized(config=CONFIG, seed=3):
    mx.random.seed(seed)
    model = vit.Model(config)
    weights = [(name, mx.random.normal(w.shape, scale=0.2)) for name, w in parameters(model).items()]
    model.load_weights(weights)
    model.eval()
    return model


def pictures(size=32, channels=3, count=2):
    return np.random.default_rng(0).uniform(0, 1, (count, size, size, channels)).astype(np.float32)


def theirs(folder):
    transformers = pytest.importorskip("transformers")
    model, report = transformers.ViTForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def called(model, images, **options):
    import torch

    values = torch.tensor((images - 0.5) / 0.5).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model(pixel_values=values, **options).logits.numpy()


def count(config):
    """Parameters, without making them."""
    width, hidden = config.width, config.hidden or 4 * config.width
    block = 4 * width * (width + 1) + 2 * width * hidden + hidden + width + 4 * width
    embedding = width * (config.patch_size**2 * config.channels + 1) + width * (config.grid**2 + 2)
    return embedding + config.layers * block + 2 * width + config.classes * (width + 1)


@pytest.mark.parametrize("name", PARAMETERS)
def test_variants_have_the_papers_parameters(name):
    model = vit.Model(vit.VARIANTS[name])
    assert sum(array.size for array in parameters(model).values()) == PARAMETERS[name]
    assert count(vit.VARIANTS[name]) == PARAMETERS[name]


@pytest.mark.parametrize("name", LARGE)
def test_large_variants_have_the_papers_parameters(name):
    assert count(vit.VARIANTS[name]) == LARGE[name]


def test_transformers_loads_what_we_save_and_gives_the_same(tmp_path):
    model = randomized()
    model.save_pretrained(tmp_path, [f"kind {index}" for index in range(7)])
    other = theirs(tmp_path)
    assert other.num_parameters() == sum(array.size for array in parameters(model).values())
    assert other.config.id2label[3] == "kind 3"
    images = pictures()
    np.testing.assert_allclose(np.array(model(mx.array(images))), called(other, images), rtol=1e-5, atol=1e-5)


def test_we_load_what_transformers_saves_and_give_the_same(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    settings = transformers.ViTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=24,
        patch_size=8,
        num_labels=5,
        initializer_range=0.3,
    )
    other = transformers.ViTForImageClassification(settings).eval()
    other.save_pretrained(tmp_path)
    model = vit.Model.from_pretrained(tmp_path)
    images = pictures(24)
    np.testing.assert_allclose(np.array(model(mx.array(images))), called(other, images), rtol=1e-5, atol=1e-5)


def test_a_backbone_alone_gets_a_new_head(tmp_path):
    transformers = pytest.importorskip("transformers")
    settings = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=16,
        patch_size=8,
    )
    transformers.ViTModel(settings).save_pretrained(tmp_path)
    found = pretrained_vit.load(tmp_path)
    assert not found.has_head
    assert not mx.any(found.model.head.weight).item()


def timm_folder(folder, model, **changes):
    """The weights of a model as timm names them, made by their definition."""
    weights = parameters(model)
    named = {"pos_embed": weights["positions"]}
    named |= {"cls_token": weights["token"]} if "token" in weights else {}
    named["patch_embed.proj.weight"] = weights["patches.weight"].transpose(0, 3, 1, 2)
    named["patch_embed.proj.bias"] = weights["patches.bias"]
    for part in ("weight", "bias"):
        for index in range(model.config.layers):
            ours, block = f"layers.{index}", f"blocks.{index}"
            three = [weights[f"{ours}.attention.{kind}.{part}"] for kind in ("query", "key", "value")]
            named[f"{block}.attn.qkv.{part}"] = mx.concatenate(three)
            named[f"{block}.attn.proj.{part}"] = weights[f"{ours}.attention.out.{part}"]
            for theirs, own in (("norm1",) * 2, ("norm2",) * 2, ("mlp.fc1", "up"), ("mlp.fc2", "down")):
                named[f"{block}.{theirs}.{part}"] = weights[f"{ours}.{own}.{part}"]
        named[f"norm.{part}"], named[f"head.{part}"] = weights[f"norm.{part}"], weights[f"head.{part}"]
    named |= changes.pop("weights", {})
    mx.save_safetensors(str(folder / "model.safetensors"), {k: mx.contiguous(v) for k, v in named.items()})
    settings = {
        "architecture": "vit_tiny_patch8_32",
        "num_classes": model.config.classes,
        "model_args": {"num_heads": model.config.heads},
        "pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }
    (folder / "config.json").write_text(json.dumps(settings | changes))


def test_timm_folders_are_read(tmp_path):
    given = vit.Config(
        32,
        8,
        classes=7,
        layers=3,
        heads=4,
        width=32,
        hidden=48,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    model = randomized(given)
    timm_folder(tmp_path, model)
    read = vit.Model.from_pretrained(tmp_path)
    assert read.config == given
    images = mx.array(pictures())
    np.testing.assert_array_equal(np.array(read(images)), np.array(model(images)))


@pytest.mark.parametrize(
    ("pool", "norm", "global_pool", "told"),
    [
        ("mean", "norm", "avg", "classifies the mean of normalized patches"),
        ("token", "fc_norm", "avg", "classifies the mean of the patches beside a class token"),
        ("token", "norm", "avg", "its global_pool is 'avg', beside a class token"),
        ("mean", "fc_norm", "avg", None),
        ("token", "norm", "token", None),
    ],
)
def test_what_timm_classifies_is_what_we_do_or_refused(tmp_path, pool, norm, global_pool, told):
    model = randomized(replace(CONFIG, pool=pool, mean=(0.5,), std=(0.5,)))
    timm_folder(tmp_path, model, global_pool=global_pool)
    path = tmp_path / "model.safetensors"
    weights: Any = mx.load(str(path))
    named = {
        name.replace("norm.", f"{norm}.") if name.startswith("norm.") else name: weights[name]
        for name in weights
    }
    mx.save_safetensors(str(path), named)
    if told is None:
        assert pretrained_vit.load(tmp_path).model.config.pool == pool
        return
    with pytest.raises(UserError, match=told):
        pretrained_vit.load(tmp_path)


def test_another_architecture_lists_the_names(tmp_path):
    model = randomized()
    registers = {f"blocks.{i}.attn.{kind}_norm.weight": mx.ones(8) for i in range(3) for kind in "qkvxy"}
    timm_folder(tmp_path, model, weights=registers)
    with pytest.raises(UserError, match=r"unexpected blocks\.0\.attn\.k_norm\.weight, .* and 5 more"):
        pretrained_vit.load(tmp_path)


def test_a_checkpoint_of_a_cnn_lists_the_names(tmp_path):
    transformers = pytest.importorskip("transformers")
    settings = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=3)
    transformers.ResNetForImageClassification(settings).save_pretrained(tmp_path)
    with pytest.raises(UserError) as caught:
        pretrained_vit.load(tmp_path)
    told = caught.value.message
    assert "its model_type is 'resnet', not 'vit'; missing layers.0.attention.key.bias, " in told
    assert "unexpected classifier.1.bias, classifier.1.weight, resnet.embedder." in told
    assert " more" in told


def test_missing_names_are_listed(tmp_path):
    model = randomized()
    model.save_pretrained(tmp_path)
    weights: Any = mx.load(str(tmp_path / "model.safetensors"))
    del weights["vit.layernorm.bias"], weights["vit.encoder.layer.2.output.dense.weight"]
    mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    with pytest.raises(UserError, match=r"missing layers\.2\.down\.weight, norm\.bias"):
        pretrained_vit.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "swin"}, "its model_type is 'swin'"),
        ({"hidden_act": "quick_gelu"}, "only gelu"),
        ({"num_attention_heads": 5}, "cannot be shared by 5 heads"),
        ({"hidden_size": "wide"}, "invalid literal"),
    ],
)
def test_checkpoints_of_other_kinds_are_refused(tmp_path, changes, told):
    randomized().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=told):
        pretrained_vit.load(tmp_path)


def test_places_without_a_checkpoint_say_so(tmp_path):
    with pytest.raises(UserError, match="nowhere is not there"):
        pretrained_vit.load("nowhere")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"only pytorch_model\.bin"):
        pretrained_vit.load(tmp_path)


def test_means_of_patches_are_not_hugging_faces(tmp_path):
    model = vit.Model(vit.VARIANTS["tiny"])
    with pytest.raises(UserError, match="class token"):
        model.save_pretrained(tmp_path)


@pytest.mark.parametrize("size", [16, 40, 64])
def test_positions_for_another_size_are_hugging_faces(tmp_path, size):
    from dataclasses import replace

    model = randomized()
    model.save_pretrained(tmp_path)
    other, images = theirs(tmp_path), pictures(size)
    after = replace(CONFIG, image_size=size)
    larger = vit.Model(after)
    weights = vit.refitted(parameters(model), CONFIG, after)
    larger.load_weights(list(weights.items()))
    larger.eval()
    expected = called(other, images, interpolate_pos_encoding=True)
    np.testing.assert_allclose(np.array(larger(mx.array(images))), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grid", [2, 3, 5, 7, 16])
def test_positions_for_another_size_are_timms(grid):
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(1).normal(size=(1, 17, 6)).astype(np.float32)
    new = np.array(vit.resampled_positions(mx.array(table), grid, 1, "timm"))
    square = torch.tensor(table[:, 1:].reshape(1, 4, 4, 6)).permute(0, 3, 1, 2)
    # what timm.layers.resample_abs_pos_embed does
    expected = torch.nn.functional.interpolate(square, size=(grid, grid), mode="bicubic", antialias=True)
    expected = expected.permute(0, 2, 3, 1).reshape(1, -1, 6).numpy()
    np.testing.assert_allclose(new[:, 1:], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(new[:, :1], table[:, :1])


def test_grey_pictures_give_what_they_gave_in_colour():
    from dataclasses import replace

    model, images = randomized(), pictures(channels=1)
    after = replace(CONFIG, channels=1)
    grey = vit.Model(after)
    grey.load_weights(list(vit.refitted(parameters(model), CONFIG, after).items()))
    expected = np.array(model(mx.array(np.repeat(images, 3, axis=-1))))
    np.testing.assert_allclose(np.array(grey(mx.array(images))), expected, rtol=1e-4, atol=1e-4)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="30 pixels are not a whole number of patches of 4"):
        vit.Config(30, 4)
