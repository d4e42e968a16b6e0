"""`edgevision explain` on networks of pictures: the arrays, the files, and the report."""

import json
from dataclasses import asdict, replace

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from edgevision import runs
from edgevision.cli import main
from edgevision.inference import picture_maps
from edgevision.models import cnn, find, lenet, vit
from edgevision.report.explained import sheet

CONFIGS = {
    "vit": vit.Config(16, 4, classes=10, layers=2, heads=2, width=16),
    "vit mean": vit.Config(16, 4, classes=10, layers=2, heads=2, width=16, pool="mean"),
    "lenet": lenet.Config("modern"),
    "lenet 1998": lenet.Config("1998"),
    "cnn": replace(cnn.VARIANTS["tiny"], widths=(8, 8)),
}
FILES = {
    "vit": {"positions.png", "filters.png", "rollout.png"},
    "lenet": {"filters.png", "picture.png", "conv1.png", "conv2.png"},
    "lenet 1998": {"filters.png", "picture.png", "c1.png", "s2.png", "c3.png", "s4.png"},
    "cnn": {"filters.png", "picture.png", "stage-1.png", "stage-2.png"},
}


def made(name):
    mx.random.seed(0)
    model = find(name.partition(" ")[0]).Model(CONFIGS[name])
    if isinstance(model, vit.Model):
        for layer in model.layers:  # weights that attend to something
            layer.attention.query.weight = mx.random.normal((16, 16))
            layer.attention.key.weight = mx.random.normal((16, 16))
    model.eval()
    return model


@pytest.fixture(params=[name for name in CONFIGS if name != "vit mean"])
def run(request, tmp_path):
    name = request.param
    shape = [28, 28, 1] if name.startswith("lenet") else [16, 16, 3]
    model, _, variant = name.partition(" ")
    facts = {"model": model, "variant": variant or "x", "config": asdict(CONFIGS[name]), "data": "digits"}
    folder = tmp_path / "run"
    folder.mkdir()
    facts["input"] = {"shape": shape, "scale": 1 / 255}
    runs.save(folder, made(name), facts, tuple("0123456789"))
    pixels = np.random.default_rng(0).integers(0, 20, (40, 30, 3)).astype(np.uint8)
    pixels[8:30, 12:18] += 200  # a one
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return name, folder, tmp_path / "photo.png"


def test_files_and_report(run, capsys):
    name, folder, picture = run
    command = ["explain", str(folder), "--picture", str(picture), "--json"]
    for _ in range(2):  # the second time replaces what the first one wrote
        assert main(command) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {path.rpartition("/")[2] for path in found["pictures"]} == FILES[name]
    for path in found["pictures"]:
        with Image.open(path) as drawn:
            assert max(drawn.size) <= 1200
            assert np.asarray(drawn).std() > 1, f"{path} shows nothing"
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png") == len(FILES[name])
    assert page.count("What was learnt") == 1


def test_a_report_that_is_there_keeps_its_own(run, capsys):
    _, folder, picture = run
    (folder / "report.html").write_text("<html><body><p>before</p></body></html>")
    assert main(["explain", str(folder), "--picture", str(picture)]) == 0
    assert (folder / "explained" / "filters.png").is_file()
    page = (folder / "report.html").read_text()
    assert page.index("before") < page.index("What was learnt") < page.index("</body>")


@pytest.mark.parametrize("name", ["vit", "vit mean"])
def test_rollout_of_identical_tokens_is_even(name):
    """A picture of one colour, without positions: no patch counts more than another."""
    model = made(name)
    model.positions = mx.zeros(model.positions.shape)
    even = np.full((1, 16, 16, 3), 0.7, np.float32)
    np.testing.assert_allclose(picture_maps.rollout(model, even), 1 / 16, atol=1e-6)
    images = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype(np.float32)
    shares = picture_maps.rollout(model, images)
    np.testing.assert_allclose(shares.sum(axis=(1, 2)), 1, rtol=1e-5)
    assert shares.std() > 1e-3


def test_rollout_is_the_product_of_the_layers():
    """Of one layer it is half of what the class token attends to, by the definition of attention."""
    model = made("vit")
    model.layers = model.layers[:1]
    image = np.random.default_rng(0).uniform(size=(1, 16, 16, 3)).astype(np.float32)
    layer = model.layers[0]
    x = layer.norm1(model.embed(mx.array(image)))
    q, k = (
        part(x).reshape(1, 17, 2, 8).transpose(0, 2, 1, 3)
        for part in (layer.attention.query, layer.attention.key)
    )
    weights = np.array(mx.softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(8), axis=-1)).mean(axis=1)[0, 0, 1:]
    np.testing.assert_allclose(picture_maps.rollout(model, image).ravel(), weights / weights.sum(), rtol=1e-4)


def test_positions_are_alike_with_themselves():
    similar = picture_maps.position_similarity(made("vit"))
    assert similar.shape == (4, 4, 4, 4)
    np.testing.assert_allclose(np.einsum("ijij->ij", similar), 1, rtol=1e-5)


def test_filters_are_the_strongest_directions():
    model = made("vit")
    direction = np.random.default_rng(1).normal(size=(1, 4, 4, 3)).astype(np.float32)
    model.patches.weight = mx.array(np.random.default_rng(0).normal(size=(16, 1, 1, 1)) * direction)
    first = picture_maps.patch_filters(model)[0].ravel()
    assert abs(first @ direction.ravel()) == pytest.approx(np.linalg.norm(direction), rel=1e-4)


def test_sheets_have_gaps():
    drawn = sheet(np.zeros((3, 2, 2, 3), np.uint8), 2, 2)
    assert drawn.shape == (10, 10, 3)
    assert (drawn[4:6] == 255).all()
    assert (drawn[6:, 6:] == 255).all()


def test_wrong_questions(run, capsys, tmp_path):
    _, folder, _ = run
    assert main(["explain", str(folder), "--text", "hello"]) == 2
    assert "looks at pictures" in capsys.readouterr().err
    assert main(["explain", str(folder), "--picture", "nowhere.png"]) == 1
    assert main(["explain", str(tmp_path)]) == 1
    assert "holds no trained model" in capsys.readouterr().err


def test_a_training_may_replace_what_was_explained(tmp_path, tiny):
    """The pictures are on the run's list of files."""
    from converters.storage import claim, foreign_files

    folder = tmp_path / "run"
    claim(folder, ["config.json", "weights.safetensors", "labels.json"])
    facts = {"model": "lenet", "variant": "modern", "config": asdict(CONFIGS["lenet"]), "data": "digits"}
    facts["input"] = {"shape": [28, 28, 1], "scale": 1 / 255}
    runs.save(folder, made("lenet"), facts, tuple("0123456789"))
    assert main(["explain", str(folder)]) == 0  # the first drawn digit
    assert foreign_files(folder) == []
    assert "the first test picture of digits" in (folder / "report.html").read_text()
