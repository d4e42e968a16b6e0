"""Export, compare, inspect, evaluate, classify and the demo, through the command line, on drawn digits."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgevision.cli import main
from edgevision.data import load
from edgevision.demo import ARTIFACTS
from edgevision.inference import open_classifier
from edgevision.inference.evaluation import unit_range


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("product") / "run"
    assert main(["train", "lenet", "--data", "digits", "--steps", "60", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def exported(run) -> Path:
    folder = run.parent / "exported"
    arguments = ["export", str(run), "--to", "onnx", "--to", "coreml", "--out", str(folder)]
    assert main(arguments) == 0
    assert main([*arguments, "--precision", "float16", "--force"]) == 0
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    assert main(["demo", "--no-captioner", "--data", "digits", "--epochs", "1", "--out", str(folder)]) == 0
    return folder


def test_an_export_folder_has_the_layout_that_clients_load(exported):
    files = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()}
    assert {"onnx/model.onnx", "onnx/model_fp16.onnx", "config.json", "preprocessor_config.json"} <= files
    assert "lenet.mlpackage/Manifest.json" in files
    config = json.loads((exported / "config.json").read_text())
    assert config["id2label"]["7"] == "7"


def test_the_graph_for_clients_takes_pixel_values(exported):
    import converters as cv

    model = cv.load(exported / "onnx" / "model.onnx")
    assert model.inputs["pixel_values"] == cv.Spec(("batch_size", 3, 28, 28), "float32")
    assert list(model.outputs) == ["logits"]


@pytest.mark.parametrize("form", ["onnx/model.onnx", "onnx/model_fp16.onnx", "lenet.mlpackage", ""])
def test_every_form_agrees_with_the_run(run, exported, form, capsys):
    assert main(["compare", str(run), str(exported / form), "--count", "200", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"]
    assert result["pictures"] == 200
    assert result["same_class"] >= (199 if result["precision"] == "float16" else 200)


def test_compare_ends_with_1_where_they_differ(run, exported, tmp_path, capsys):
    other = tmp_path / "other"
    assert (
        main(["train", "lenet", "--data", "digits", "--steps", "5", "--seed", "9", "--out", str(other)]) == 0
    )
    assert main(["compare", str(other), str(exported / "lenet.mlpackage"), "--count", "50"]) == 1
    assert "DIFFERS" in capsys.readouterr().out
    assert main(["compare", str(run)]) == 2


def test_evaluate_gives_the_same_errors_for_run_and_artefact(run, exported, capsys):
    results = []
    for path in (run, exported / "onnx" / "model.onnx"):
        assert main(["evaluate", str(path), "--data", "digits", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["confusion"] == results[1]["confusion"]
    assert results[0]["count"] == 2000
    assert np.sum(results[0]["confusion"]) == 2000


@pytest.mark.parametrize("form", ["onnx/model.onnx", "lenet.mlpackage"])
def test_inspect_counts_operations_and_weights(exported, form, capsys):
    assert main(["inspect", str(exported / form), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    operations = found["functions"]["main"]["operations"]
    assert sum(count for kind, count in operations.items() if kind.lower().startswith("conv")) == 2
    assert 100_000 < found["weight_bytes"] < 300_000
    assert found["metadata"]["labels"] == [str(digit) for digit in range(10)]
    assert main(["inspect", str(exported / form)]) == 0
    assert "conv" in capsys.readouterr().out.lower()


def save_digit(path: Path, index: int) -> int:
    from PIL import Image

    test = load("digits", "test", index + 1)
    Image.fromarray(test.images[index, :, :, 0]).save(path)
    return int(test.labels[index])


def test_classify_says_the_same_for_all_three_forms(run, exported, tmp_path, capsys):
    pictures = [tmp_path / f"{index}.png" for index in range(6)]
    for index, path in enumerate(pictures):
        save_digit(path, index)
    said = []
    for model in (run, exported / "onnx" / "model.onnx", exported / "lenet.mlpackage"):
        assert main(["classify", str(model), *map(str, pictures), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        said.append([entry["top"][0]["label"] for entry in result["pictures"]])
        assert [len(entry["top"]) for entry in result["pictures"]] == [5] * 6
        assert all("white on black" in entry["note"] for entry in result["pictures"])
    assert said[0] == said[1] == said[2]


def test_classify_shows_a_table_and_goes_on_after_a_bad_picture(run, tmp_path, capsys):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    save_digit(good, 0)
    bad.write_text("no picture")
    assert main(["classify", str(run), str(bad), str(good)]) == 1
    captured = capsys.readouterr()
    assert "good.png" in captured.out
    assert "bad.png" in captured.err
    assert "Traceback" not in captured.err


def test_quantized_exports_beside_the_others(run, tmp_path, capsys):
    arguments = ["export", str(run), "--to", "onnx", "--to", "coreml", "--out", str(tmp_path)]
    for scheme in ("int8", "int4"):
        assert main([*arguments, "--quantize", scheme]) == 0
        told = capsys.readouterr().out
        assert f"{scheme}: " in told
        assert "same largest element in" in told
    for name in ("onnx/model_quantized.onnx", "onnx/model_q4.onnx", "lenet_int8.mlpackage"):
        assert main(["compare", str(run), str(tmp_path / name), "--count", "200", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["same_class"] >= 196
    assert main([*arguments[:4], "--quantize", "int8", "--out", str(tmp_path)]) == 1  # it is there


def test_pictures_as_files_give_what_arrays_give(run, tmp_path):
    from edgevision.pictures import digit_array, open_picture

    classifier = open_classifier(run)
    test = load("digits", "test", 40)
    for index in range(40):
        save_digit(tmp_path / "one.png", index)
        array, _ = digit_array(open_picture(tmp_path / "one.png"))
        np.testing.assert_array_equal(array, unit_range(test.images[index : index + 1]))
    assert classifier.predict(unit_range(test.images)).shape == (40,)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["classify", "{run}/none", "x.png"], 1, "is not there"),
        (["classify", "{exported}/config.json", "x.png"], 1, "is no .onnx"),
        (["export", "{run}", "--to", "tflite", "--out", "{tmp}/e"], 2, "--to tflite"),
        (
            ["export", "{run}", "--to", "onnx", "--precision", "int3", "--out", "{tmp}/e"],
            2,
            "precision 'int3'",
        ),
        (
            ["export", "{run}", "--to", "onnx", "--quantize", "palette4", "--out", "{tmp}/e"],
            2,
            "--quantize palette4 is unknown for onnx",
        ),
        (["export", "{run}", "--to", "onnx", "--out", "{exported}"], 1, "exists"),
        (["export", "{exported}", "--to", "onnx", "--out", "{tmp}/e"], 1, "edgevision:"),
        (["inspect", "{tmp}/none.onnx"], 1, "is not there"),
        (["inspect", "{run}"], 1, "neither"),
        (["evaluate", "{run}", "--data", "imagenet"], 2, "imagenet"),
        (["demo", "--data", "imagenet", "--out", "{tmp}/d"], 2, "imagenet"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, exported, tmp_path, capsys, arguments, code, message):
    filled = [a.format(run=run, exported=exported, tmp=tmp_path) for a in arguments]
    assert main(filled) == code
    err = capsys.readouterr().err.strip()
    assert message in err
    assert len(err.splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".onnx", ".mlmodel", ".safetensors")]


@pytest.mark.parametrize("file", ["onnx/model.onnx", "lenet.mlpackage/Data/com.apple.CoreML/model.mlmodel"])
def test_damaged_artefacts_are_one_line(exported, tmp_path, capsys, file):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    data = (copy / file).read_bytes()
    (copy / file).write_bytes(data[: len(data) // 3])
    save_digit(tmp_path / "digit.png", 0)
    artefact = copy / file.split("/Data")[0]
    assert main(["classify", str(artefact), str(tmp_path / "digit.png")]) == 1
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1
    assert "copy" in err


def test_the_demo_leaves_everything_that_it_names(demo):
    for name in (*ARTIFACTS, "report.html", "results.json", "picture.png", "curve.png"):
        assert (demo / name).exists(), name
    results = json.loads((demo / "results.json").read_text())
    for name, form in results["forms"].items():
        assert form["ok"], name
        if form["precision"] == "float32":
            assert form["same_class"] == form["pictures"] == 2000


def test_the_demo_takes_and_gives_what_is_documented(demo):
    import converters as cv

    model = cv.load(demo / "lenet.onnx")
    assert model.inputs["image"] == cv.Spec(("batch", 28, 28, 1), "float32")
    assert list(model.outputs) == ["logits"]
    package = cv.load(demo / "lenet.mlpackage")
    assert isinstance(package.inputs["image"], cv.Image)
    assert package.metadata["labels"] == [str(digit) for digit in range(10)]


def test_a_second_demo_says_what_is_there(demo, capsys):
    before = (demo / "results.json").stat().st_mtime_ns
    assert main(["demo", "--no-captioner", "--out", str(demo)]) == 0
    assert "--force" in capsys.readouterr().err
    assert (demo / "results.json").stat().st_mtime_ns == before


def test_the_report_needs_nothing_from_elsewhere(demo):
    page = (demo / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "http" not in page.replace("http-equiv", "")
    for heading in (
        "One network, every form",
        "Training loss",
        "What is taken for what",
        "Wrongly classified",
    ):
        assert heading in page


def test_the_report_escapes_what_it_did_not_write(demo, tmp_path):
    from dataclasses import replace

    from edgevision import runs
    from edgevision.data import ImageSet
    from edgevision.report import write_report

    hostile = ('<script>alert("x")</script>', "\x1b[31mred", "$\\frac{1}{2}$", *"3456789")
    run, test = runs.load(demo), load("digits", "test", 200)
    results = json.loads((demo / "results.json").read_text())
    results["title"] = results["machine"] = hostile[0]
    results["forms"]["MLX"]["runtime"] = hostile[1]
    shuffled = ImageSet(test.images, np.roll(test.labels, 1), hostile)
    logits = np.eye(10, dtype=np.float32)[test.labels]
    write_report(replace(run, labels=hostile), shuffled, logits, results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page


@pytest.mark.skipif(sys.platform == "darwin", reason="there Core ML answers")
def test_a_compute_plan_needs_a_mac(exported, capsys):
    assert main(["inspect", str(exported / "lenet.mlpackage"), "--plan"]) == 1
    assert "macOS" in capsys.readouterr().err
    assert main(["inspect", str(exported / "onnx" / "model.onnx"), "--plan"]) == 2
