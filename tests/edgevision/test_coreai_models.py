"""Classifiers as Core AI assets in Apple's own runtime: the same classes, and the commands that take them."""

import json
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

import converters as cv
from edgevision.cli import main
from edgevision.data import load
from edgevision.errors import UserError
from edgevision.inference.agreement import agreement
from edgevision.models import vit

pytest.importorskip("coreai", reason="coreai-core has no wheel for this system")


@pytest.fixture(scope="module")
def asset(tmp_path_factory):
    """A LeNet of some steps on drawn digits, exported: the run and its asset."""
    root = tmp_path_factory.mktemp("lenet")
    train = ["train", "lenet", "--data", "digits", "--steps", "40", "--out", str(root / "run")]
    assert main(train) == 0
    assert main(["export", str(root / "run"), "--to", "coreai", "--out", str(root / "out")]) == 0
    return root / "run", root / "out" / "lenet.aimodel"


def printed(capsys, *arguments: object):
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_commands_take_an_asset(asset, tmp_path, capsys):
    run, path = asset
    shown = printed(capsys, "inspect", path)
    assert shown["functions"]["main"]["outputs"] == {"logits": "float32 (batch, 10)"}
    compared = printed(capsys, "compare", run, path)
    assert (compared["ok"], compared["same_class"]) == (True, compared["pictures"])
    assert "Core AI" in compared["runtime"]
    own, its = (printed(capsys, "evaluate", model, "--data", "digits") for model in asset)
    assert its["accuracy"] == own["accuracy"]
    Image.fromarray(load("digits", "test", 1).images[0].squeeze()).save(tmp_path / "digit.png")
    one, other = (printed(capsys, "classify", model, tmp_path / "digit.png") for model in asset)
    assert one["pictures"][0]["top"][0]["label"] == other["pictures"][0]["top"][0]["label"]


@pytest.mark.skipif(sys.platform == "darwin", reason="only Linux's interpreter adds up in float16")
def test_float16_asset_says_that_a_twin_was_computed(asset, tmp_path, capsys):
    run, _ = asset
    arguments = ["export", str(run), "--to", "coreai", "--precision", "float16", "--out", str(tmp_path)]
    assert main(arguments) == 0
    (path,) = tmp_path.glob("*.aimodel")
    capsys.readouterr()
    assert main(["compare", str(run), str(path)]) == 0
    assert "float32 twin" in capsys.readouterr().out
    assert "adds those up in float16" in printed(capsys, "compare", run, path)["note"]


@pytest.mark.slow
def test_all_digits_have_the_same_class(tmp_path):
    """Ten seconds on two cores."""
    try:
        load("mnist", "test", 1)
    except UserError as missing:
        pytest.skip(str(missing))
    run = tmp_path / "run"
    assert main(["train", "lenet", "--data", "mnist", "--steps", "400", "--out", str(run)]) == 0
    assert main(["export", str(run), "--to", "coreai", "--out", str(tmp_path / "out")]) == 0
    found = agreement(run, tmp_path / "out" / "lenet.aimodel", count=None)
    assert (found["data"], found["pictures"], found["same_class"]) == ("mnist", 10_000, 10_000)
    assert found["max_rel"] < 1e-5


@pytest.mark.parametrize("layout", [None, "neural-engine"])
def test_the_whole_vit_ti(layout, tmp_path):
    """Twelve layers at 224 pixels."""
    mx.random.seed(0)
    model = vit.Model(vit.VARIANTS["Ti"])
    mx.eval(model.parameters())
    model.eval()
    graph = cv.capture(model, {"image": cv.Spec((1, 224, 224, 3))}, ["logits"])
    options = {} if layout is None else {"layout": layout, "precision": "float32"}
    path = cv.convert(graph, tmp_path / "vit.aimodel", **options)
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert abs(stored / sum(array.nbytes for array in graph.constants.values()) - 1) < 0.02
    loaded = cv.load(path)
    for seed in range(3):
        image = np.random.default_rng(seed).uniform(size=(1, 224, 224, 3)).astype(np.float32)
        wanted, got = np.array(model(mx.array(image))), loaded(image=image)["logits"]
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
        assert got.argmax() == wanted.argmax()


WITHOUT = """
import importlib.util, sys
sys.modules["coreai"] = None
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "coreai" else found(name, *rest)
from edgevision.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["inspect", "evaluate", "export"])
def test_without_the_package_one_line_says_how_to_get_it(asset, command, tmp_path):
    """As on systems for which there is none."""
    run, path = asset
    given = ["export", str(run), "--to", "coreai", "--out", "out"]
    arguments = given if command == "export" else [command, str(path)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    said = " ".join(done.stderr.split())
    assert "Core AI needs the package coreai-core" in said
    assert "pip install 'edgevision[coreai]' (Linux on x86_64, macOS 26 or later on Apple silicon)" in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("*.aimodel"))
