"""Fine-tuning: what learns and what does not, from runs and checkpoints, and that LoRA leaves no trace."""

from dataclasses import asdict, replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from edgevision import runs
from edgevision.data import ImageSet
from edgevision.errors import UsageError, UserError
from edgevision.models import cnn, vit
from edgevision.training import finetuning
from edgevision.training.classification import train
from edgevision.training.optimizer import build_optimizer
from edgevision.training.recipe import Recipe

SMALL = vit.Config(16, 4, 3, 4, layers=3, heads=2, width=32)
RECIPE = Recipe(steps=6, batch_size=16, evaluate_every=6, label_smoothing=0.0)


def weights_of(model) -> dict[str, np.ndarray]:
    flat: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    return {name: np.array(array) for name, array in flat.items()}


def coloured(count=48, size=16, channels=3):
    """Pictures of two kinds: bright above, or bright below."""
    random = np.random.default_rng(0)
    images = random.integers(0, 100, (count, size, size, channels)).astype(np.uint8)
    labels = (np.arange(count) % 2).astype(np.int32)
    images[labels == 0, : size // 2] += 100
    images[labels == 1, size // 2 :] += 100
    return ImageSet(images, labels, ("above", "below"))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A run of a ViT, whose weights are random."""
    folder = tmp_path_factory.mktemp("start")
    mx.random.seed(0)
    model = vit.Model(SMALL)
    facts = {"model": "vit", "variant": "small", "config": asdict(SMALL), "data": "x"}
    runs.save(folder, model, facts, ("a", "b", "c", "d"))
    return folder


def tuned(start, tmp_path, tune, shape=(16, 16, 3), **changes):
    recipe = replace(RECIPE, start=str(start), tune=tune, **changes)
    mx.random.seed(1)
    model, config = finetuning.begun_with("vit", "small", 2, shape, recipe)
    data = coloured(size=shape[0], channels=shape[2])
    before = weights_of(model)
    result = train(model, data, data, recipe, tmp_path)
    return before, model, config, result


LEARNS = {
    "all": ("patches", "positions", "token", "layers.0", "layers.1", "layers.2", "norm", "head"),
    "head": ("head",),
    "last:1": ("layers.2", "norm", "head"),
    "last:3": ("layers.0", "layers.1", "layers.2", "norm", "head"),
}


@pytest.mark.parametrize("tune", LEARNS)
def test_only_what_shall_learn_changes(start, tmp_path, tune):
    before, model, config, _ = tuned(start, tmp_path, tune)
    after = weights_of(model)
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed == {name for name in after if name.startswith(LEARNS[tune])} - _still(changed, after)
    assert config["classes"] == 2


def _still(changed, names):
    """The bias of keys has no gradient: softmax does not see it."""
    return {name for name in names if name.endswith("attention.key.bias")} - changed


def test_the_head_is_new_and_the_rest_is_not(start):
    model, _ = finetuning.begun_with("vit", "small", 2, (16, 16, 3), replace(RECIPE, start=str(start)))
    old, new = weights_of(runs.load(start).model), weights_of(model)
    assert new["head.weight"].shape == (2, 32)
    assert all(np.array_equal(old[name], new[name]) for name in new if not name.startswith("head"))
    same, _ = finetuning.begun_with("vit", "small", 4, (16, 16, 3), replace(RECIPE, start=str(start)))
    np.testing.assert_array_equal(weights_of(same)["head.weight"], old["head.weight"])


def test_lora_merges_into_the_same_function(start, tmp_path):
    before, model, config, _ = tuned(start, tmp_path, "lora:2", learning_rate=0.02)
    learnt = {name for name, _ in tree_flatten(model.trainable_parameters())}
    assert learnt == {name for name in before if name.startswith("head") or name.endswith((".a", ".b"))}
    assert len(learnt) == 2 + 2 * 6 * 3  # six linear layers in each of three blocks
    model.eval()
    images = mx.random.uniform(shape=(3, 16, 16, 3))
    expected, held = np.array(model(images)), weights_of(model)
    plain = finetuning.merged(model)
    np.testing.assert_allclose(np.array(plain(images)), expected, rtol=1e-4, atol=1e-5)
    after = weights_of(plain)
    assert set(after) == set(weights_of(vit.Model(vit.Config(**config))))
    assert not np.array_equal(after["layers.0.up.weight"], held["layers.0.up.linear.weight"])
    np.testing.assert_array_equal(held["layers.0.up.linear.weight"], before["layers.0.up.linear.weight"])


def test_pictures_of_another_size_and_in_grey(start, tmp_path):
    before, _, config, _ = tuned(start, tmp_path, "head", shape=(24, 24, 1))
    assert (config["image_size"], config["channels"]) == (24, 1)
    assert before["positions"].shape == (1, 37, 32)
    assert before["patches.weight"].shape == (32, 4, 4, 1)


def test_a_folder_of_transformers_is_a_start(tmp_path):
    given = vit.Config(16, 4, classes=3, layers=2, heads=2, width=16)
    vit.Model(given).save_pretrained(tmp_path / "checkpoint")
    recipe = replace(RECIPE, start=str(tmp_path / "checkpoint"))
    _, config = finetuning.begun_with("vit", "small", 2, (16, 16, 3), recipe)
    assert (config["width"], config["layers"]) == (16, 2)
    assert finetuning.kind_of_start("vit", str(tmp_path / "checkpoint")) == ("small", 16)


def test_layer_decay_slows_the_first_layers():
    model = vit.Model(SMALL)
    recipe = Recipe(
        steps=2, layer_decay=0.5, learning_rate=0.1, warmup=0.01, weight_decay=0.0, optimizer="sgd"
    )
    optimizer = build_optimizer(recipe, 2, model)
    optimizer.init(model.trainable_parameters())
    before = weights_of(model)
    gradients = tree_map_ones(model)
    optimizer.update(model, gradients)
    moved = {name: np.abs(array - before[name]).mean() for name, array in weights_of(model).items()}
    shares = {
        "head.bias": 1,
        "norm.bias": 1,
        "layers.2.up.weight": 2,
        "layers.0.norm1.bias": 8,
        "positions": 16,
    }
    for name, share in shares.items():
        assert moved[name] * share == pytest.approx(moved["head.weight"], rel=1e-3), name


def tree_map_ones(model):
    from mlx.utils import tree_map

    return tree_map(mx.ones_like, model.trainable_parameters())


def test_frozen_batch_norms_keep_their_means(tmp_path):
    mx.random.seed(0)
    model, config = cnn.Model(cnn.VARIANTS["tiny"]), asdict(cnn.VARIANTS["tiny"])
    facts = {"model": "cnn", "variant": "tiny", "config": config, "data": "x"}
    runs.save(tmp_path / "start", model, facts, tuple("abcdefghij"))
    recipe = replace(RECIPE, start=str(tmp_path / "start"), tune="last:1")
    model, _ = finetuning.begun_with("cnn", "tiny", 2, (16, 16, 3), recipe)
    before, data = weights_of(model), coloured()
    train(model, data, data, recipe, tmp_path / "out")
    after = weights_of(model)
    mean = "norm.running_mean"
    np.testing.assert_array_equal(after[f"stages.0.first.{mean}"], before[f"stages.0.first.{mean}"])
    assert not np.array_equal(after[f"stages.2.first.{mean}"], before[f"stages.2.first.{mean}"])


@pytest.mark.parametrize("text", ["some", "last", "last:0", "lora:x", "head:2", "all:1", "lora:-1"])
def test_tunings_that_are_none(text):
    with pytest.raises(UsageError, match="choose all, head, last:N or lora:R"):
        finetuning.parse(text)


def test_what_cannot_be_tuned_says_so(start):
    def begin(model="vit", **changes):
        return finetuning.begun_with(model, "small", 2, (16, 16, 3), replace(RECIPE, **changes))

    with pytest.raises(UsageError, match="--from"):
        begin(tune="head")
    with pytest.raises(UsageError, match="has 3 blocks, not 4"):
        begin(start=str(start), tune="last:4")
    with pytest.raises(UsageError, match="lenet cannot begin with a trained model"):
        begin("lenet", start=str(start))
    with pytest.raises(UserError, match="is a run of vit, not of cnn"):
        begin("cnn", start=str(start))
    with pytest.raises(UserError, match="nowhere is not there"):
        begin(start="nowhere")
