"""Exported classifiers in transformers.js: the same five best classes as MLX, with the same probabilities."""

from dataclasses import asdict

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map
from PIL import Image

from edgevision import runs
from edgevision.export import export_run
from edgevision.inference import open_classifier
from edgevision.models import find
from edgevision.pictures import open_picture, seen_as

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MODELS = {"vit": "tiny", "cnn": "tiny", "lenet": "modern"}


def folders(name, root):
    """(run, export, pictures) of an untrained model; its random weights are large, so that classes differ."""
    module = find(name)
    config = module.VARIANTS[MODELS[name]]
    mx.random.seed(2)
    model = module.Model(config)
    weights = tree_map(lambda w: mx.random.normal(w.shape) * 0.2, model.trainable_parameters())
    model.update(weights)
    shape = [28, 28, 1] if name == "lenet" else [32, 32, 3]
    facts = {"model": name, "variant": MODELS[name], "config": asdict(config), "data": "cifar10"}
    facts |= {"input": {"shape": shape, "scale": 1 / 255}}
    (root / "run").mkdir()
    runs.save(root / "run", model, facts, LABELS)
    export_run(runs.load(root / "run"), ["onnx"], root / "export", None, False)
    random, files = np.random.default_rng(0), []
    for number in range(3):
        pixels = random.integers(0, 256, [size for size in shape if size > 1]).astype(np.uint8)
        files.append(root / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    return root / "run", root / "export", files


@pytest.mark.parametrize("name", MODELS)
def test_transformers_js_finds_the_same_classes(name, tmp_path, transformers_js):
    run, export, files = folders(name, tmp_path)
    classifier = open_classifier(run)
    found = transformers_js("classify.mjs", export, "default", 5, *files)
    for path, answers in zip(files, found, strict=True):
        array, _ = seen_as(open_picture(path), classifier.shape)
        if name == "lenet":  # whose pictures `seen_as` may invert
            array = np.asarray(Image.open(path), np.float32)[None, :, :, None] / 255
        expected = classifier.top(array, 5)
        assert [one["label"] for one in answers] == [one["label"] for one in expected]
        shares = [one["score"] for one in answers]
        np.testing.assert_allclose(shares, [one["probability"] for one in expected], atol=1e-5)
