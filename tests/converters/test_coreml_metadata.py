"""What a package says about itself, as coremltools reads it; damaged descriptions."""

import json
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from coreml_programs import tools, verify

import converters as cv

ABOUT: dict[str, Any] = {
    "author": "Ada",
    "licence": "MIT",
    "version": "1.2",
    "description": "Tells three things apart.",
    "task": "image-classification",
    "source": "drawn by hand",
    "tokenizer": {"type": "BPE", "vocabulary": ["a", "b"]},
    "preprocessing": {"size": [4, 6], "resample": "bilinear"},
    "user_defined": {"com.apple.coreml.model.preview.type": "imageClassifier"},
    "descriptions": {
        "photo": "Any picture.",
        "scores.0": "One number per class.",
        "total": "Kept between calls.",
    },
}


def reader(path: Path) -> Any:
    return tools().models.MLModel(str(path), skip_model_load=True)


def counting(photo: mx.array, total: mx.array) -> tuple[mx.array, mx.array]:
    scores = photo.mean((1, 2)) + total
    return scores, scores


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    graph = cv.capture(
        counting,
        {"photo": cv.Image(size=(4, 6)), "total": cv.Spec((1, 3))},
        ["scores.0", "after"],
        states={"total": "after"},
    )
    path = tmp_path_factory.mktemp("package") / "m.mlpackage"
    cv.convert(graph, path, labels=["red", "green", "blue"], metadata=ABOUT)
    verify(path)
    return path


def test_coremltools_finds_every_entry(package):
    model = reader(package)
    assert (model.author, model.license, model.version) == ("Ada", "MIT", "1.2")
    assert model.short_description == "Tells three things apart."
    assert model.input_description["photo"] == "Any picture."
    assert model.output_description["scores_0"] == "One number per class."
    described = model.get_spec().description
    assert {state.name: state.shortDescription for state in described.state} == {
        "total": "Kept between calls."
    }
    assert (described.predictedFeatureName, described.predictedProbabilitiesName) == (
        "classLabel",
        "classLabel_probs",
    )
    assert model.user_defined_metadata["com.apple.coreml.model.preview.type"] == "imageClassifier"
    stored = json.loads(model.user_defined_metadata["edgevision"])
    assert stored["labels"] == ["red", "green", "blue"]
    for name in ("task", "source", "tokenizer", "preprocessing"):
        assert stored[name] == ABOUT[name]
    assert stored["inputs"]["photo"]["image"] == {"size": [4, 6], "color": "rgb", "scale": 1 / 255}
    assert stored["states"] == {"total": "after"}
    assert len(stored["sha256"]) == 64
    assert cv.load(package).metadata == stored


def test_functions_are_described_apart(tmp_path):
    graphs = {name: cv.capture(lambda x: mx.sin(x), {"x": cv.Spec((3,))}, ["y"]) for name in ("one", "two")}
    path = cv.convert(graphs, tmp_path / "m.mlpackage", metadata={"descriptions": {"y": "Its sine."}})
    described = tools().utils.load_spec(str(path)).description
    assert [function.output[0].shortDescription for function in described.functions] == ["Its sine."] * 2


def test_coremltools_is_imported_without_noise_and_heard_afterwards():
    code = """
import logging, warnings
from converters.targets.coreml.schema import coremltools
found = coremltools()
assert found.models.compute_plan.MLComputePlan and found.models.utils.compile_model
assert found.ComputeUnit.CPU_AND_NE
logging.getLogger("coremltools").warning("a real one")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if "a real one" not in line] == []
    assert "a real one" in done.stderr


def rewrite(package: Path, text: str) -> None:
    file = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    model = tools().proto.Model_pb2.Model.FromString(file.read_bytes())
    model.description.metadata.userDefined["edgevision"] = text
    file.write_bytes(model.SerializeToString())


def damaged(value: Any, draw: random.Random) -> Any:
    """JSON with one entry, somewhere, removed or exchanged."""
    junk = [None, 0, -1, 2**70, 1e308, "", "x", [], {}, [[]], True]
    if not isinstance(value, dict | list) or not value or draw.random() < 0.2:
        return draw.choice(junk)
    if isinstance(value, list):
        at = draw.randrange(len(value))
        return [*value[:at], damaged(value[at], draw), *value[at + 1 :]]
    key = draw.choice(sorted(value))
    if draw.random() < 0.3:
        return {name: entry for name, entry in value.items() if name != key}
    return {**value, key: damaged(value[key], draw)}


@pytest.mark.fuzz
def test_damaged_descriptions_are_one_clear_error(package, tmp_path):
    """300 of them: refused by `load`, or at the call where the picture or state does not fit, or unharmed."""
    stored = json.loads(reader(package).user_defined_metadata["edgevision"])
    photo = np.zeros((1, 4, 6, 3), np.float32)
    refused = 0
    for seed in range(300):
        draw = random.Random(seed)
        copy = Path(shutil.copytree(package, tmp_path / "m.mlpackage", dirs_exist_ok=True))
        text = json.dumps(damaged(stored, draw))
        rewrite(copy, text[: draw.randrange(len(text))] if draw.random() < 0.1 else text)
        try:
            model = cv.load(copy)
            model(state=model.new_state(), photo=photo)
        except cv.ConversionError as error:
            refused += "\n" not in error.message
        except Exception as error:
            raise AssertionError(f"seed {seed} escapes as {type(error).__name__}: {error}") from error
        with suppress(cv.ConversionError):
            cv.inspect(copy)
    assert refused > 100
