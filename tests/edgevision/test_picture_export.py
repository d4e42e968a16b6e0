"""Classifiers of colour pictures, exported: the numbers of MLX in both formats, and the right colours."""

import json
from dataclasses import asdict, replace
from importlib.util import find_spec

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map
from PIL import Image

import converters as cv
from edgevision import runs
from edgevision.cli import main
from edgevision.export import export_run, to_plain
from edgevision.inference import open_classifier
from edgevision.models import cnn, vit

CONFIGS = {
    "vit": vit.Config(
        16, 4, classes=3, layers=2, heads=2, width=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)
    ),
    "cnn": replace(cnn.VARIANTS["tiny"], classes=3, widths=(8, 8, 8)),
}
LABELS = ("red", "green", "blue")
TOLERANCE = {"onnx": 1e-5, "coreml": 2e-2, "coreai": 1e-5}  # float32, float16, float32
CORE_AI = pytest.mark.skipif(find_spec("coreai") is None, reason="coreai-core has no wheel for this system")


@pytest.fixture(scope="module", params=CONFIGS)
def run(request, tmp_path_factory):
    name, config = request.param, CONFIGS[request.param]
    mx.random.seed(0)
    model = {"vit": vit, "cnn": cnn}[name].Model(config)
    model.update(tree_map(lambda w: w + 0.1 * mx.random.normal(w.shape), model.trainable_parameters()))
    facts = {"model": name, "variant": "tiny", "config": asdict(config), "data": "cifar10"}
    facts |= {"input": {"shape": [16, 16, 3], "scale": 1 / 255}}
    folder = tmp_path_factory.mktemp(name)
    runs.save(folder, model, facts, LABELS)
    return runs.load(folder)


def pictures(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize("target", ["onnx", "coreml", pytest.param("coreai", marks=CORE_AI)])
def test_every_format_gives_the_same(run, target, tmp_path):
    (path,) = export_run(run, [target], tmp_path, None, False)
    one, other = open_classifier(run.path), open_classifier(path)
    assert one.shape == other.shape == (16, 16, 3)
    assert other.labels == LABELS
    images = pictures().astype(np.float32) / 255
    expected = one.logits(images)
    limit = TOLERANCE[target] * np.abs(expected).max()
    np.testing.assert_allclose(other.logits(images), expected, atol=limit)


def test_the_models_own_signature(run, tmp_path):
    path = to_plain(run, tmp_path / "model.onnx")
    images = mx.array(pictures().astype(np.float32) / 255)
    assert cv.compare(run.model, path, {"image": images}).ok


def test_files_beside_the_graph(run, tmp_path):
    export_run(run, ["onnx"], tmp_path, None, False)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "red", "1": "green", "2": "blue"}
    assert config["model_type"] == ("vit" if run.config["model"] == "vit" else "resnet")
    preprocessing = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert preprocessing["size"] == {"height": 16, "width": 16}


def test_classify_takes_photographs(run, tmp_path, capsys):
    Image.fromarray(pictures()[0]).resize((40, 30)).save(tmp_path / "photo.png")
    assert main(["classify", str(run.path), str(tmp_path / "photo.png"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["pictures"]
    assert found["note"] == "scaled and cut to 16 x 16"
    assert sum(entry["probability"] for entry in found["top"]) == pytest.approx(1)


@CORE_AI
def test_core_ai_asset_from_the_command_line(run, tmp_path, capsys):
    out = tmp_path / "exported"
    assert main(["export", str(run.path), "--to", "coreai", "--out", str(out)]) == 0
    assert "agrees with MLX" in capsys.readouterr().out
    asset = out / f"{run.config['model']}.aimodel"
    assert main(["inspect", str(asset), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["functions"]["main"]["inputs"] == {"image": "float32 (batch, 16, 16, 3)"}
    assert shown["metadata"]["labels"] == list(LABELS)
    Image.fromarray(pictures()[0]).save(tmp_path / "photo.png")
    assert main(["classify", str(asset), str(tmp_path / "photo.png"), "--json"]) == 0
    assert "Core AI" in json.loads(capsys.readouterr().out)["runtime"]


def test_without_the_data_noise_is_compared(run, tmp_path, capsys):
    """As at the end of `edgevision export`; the pictures of the data set are of another size here."""
    out = tmp_path / "exported"
    assert main(["export", str(run.path), "--to", "onnx", "--out", str(out)]) == 0
    assert "agrees with MLX" in capsys.readouterr().out
