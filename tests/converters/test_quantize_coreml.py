"""Quantised weights in Core ML packages."""

import re

import mlx.core as mx
import numpy as np
import pytest
from coreml_programs import tools, verify
from quantized_models import MLP, PHOTOS, PICTURES, ROWS, mlp_graph, off, picture_graph

import converters as cv
from converters.targets.coreml.interpreter import Interpreter

BITS = {"int8": 8, "int4": 4.6, "palette4": 4, "palette6": 6, "palette8": 8}
LOOSE = {"int8": 0.02, "int4": 0.15, "palette4": 0.15, "palette6": 0.05, "palette8": 0.02}


@pytest.mark.parametrize("scheme", BITS)
@pytest.mark.parametrize(("ios", "precision"), [(16, "float32"), (18, "float32"), (18, "float16")])
def test_package_with_codes(scheme, ios, precision, tmp_path):
    path = tmp_path / "m.mlpackage"
    if scheme == "int4" and ios < 18:
        with pytest.raises(cv.ConversionError, match="int4' is not supported here"):
            cv.convert(mlp_graph(), path, quantize=scheme, minimum_ios=ios)
        return
    cv.convert(mlp_graph(), path, quantize=scheme, minimum_ios=ios, precision=precision)
    wanted = np.array(MLP(mx.array(ROWS)))
    assert off(cv.load(path)(x=ROWS)["y"], wanted) < LOOSE[scheme]
    weights = (path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").stat().st_size
    side = {"palette8": 2000, "int8": 1500}.get(scheme, 1000) + 2500
    assert weights < (128 * 128 + 128 * 40) * (BITS[scheme] + (1 if scheme == "int4" else 0)) / 8 + side


def test_coremltools_reads_the_codes(tmp_path):
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil.frontend.milproto.load import load as to_mil

    for scheme, kind in {
        "int8": "blockwise_shift_scale",
        "int4": "blockwise_shift_scale",
        "palette6": "lut_to_dense",
    }.items():
        path = cv.convert(mlp_graph(), tmp_path / f"{scheme}.mlpackage", quantize=scheme)
        model = ct.models.MLModel(str(path), skip_model_load=True)
        spec = model.get_spec()
        program = to_mil(spec, spec.specificationVersion, file_weights_dir=model.weights_dir)
        found = [op.op_type for op in program.functions["main"].operations]
        assert found.count(f"constexpr_{kind}") == 2
        assert found.count("linear") == 2


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_codes_are_as_good_as_those_of_coremltools(scheme, tmp_path):
    """Its palettes need scikit-learn, which is not installed here."""
    ct = tools()
    optimize = ct.optimize.coreml
    plain = cv.convert(mlp_graph(), tmp_path / "plain.mlpackage", precision="float32")
    granularity = {"granularity": "per_block", "block_size": 32} if scheme == "int4" else {}
    options = optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype=scheme, weight_threshold=0, **granularity
    )
    whole = ct.models.MLModel(str(plain), skip_model_load=True)
    made = optimize.linear_quantize_weights(whole, optimize.OptimizationConfig(global_config=options))
    made.save(str(tmp_path / "theirs.mlpackage"))
    theirs = Interpreter(tmp_path / "theirs.mlpackage").run({"x": ROWS})["y"]

    path = cv.convert(mlp_graph(), tmp_path / "ours.mlpackage", quantize=scheme, precision="float32")
    ours = cv.load(path)(x=ROWS)["y"]
    wanted = np.array(MLP(mx.array(ROWS)))
    assert off(ours, wanted) < 1.01 * off(theirs, wanted)


@pytest.mark.parametrize(
    ("scheme", "ios"),
    [(scheme, ios) for scheme in BITS for ios in (16, 17, 18) if scheme != "int4" or ios == 18],
)
def test_the_report_tells_size_and_error(scheme, ios, tmp_path):
    path = tmp_path / "m.mlpackage"
    cv.convert(mlp_graph(), path, quantize=scheme, minimum_ios=ios, precision="float32")
    verify(path)
    report = cv.load(path).quantization
    assert report is not None
    files = [file for file in path.rglob("*") if file.is_file()]
    assert abs(report.bytes_after - sum(file.stat().st_size for file in files)) < 0.1 * report.bytes_after
    assert report.bytes_after < 0.35 * report.bytes_before
    found = cv.load(path)(x=ROWS)["y"]
    assert report.error == pytest.approx(off(found, np.array(MLP(mx.array(ROWS)))), rel=0.3)
    assert re.match(rf"{scheme}: [\d,]+ -> [\d,]+ bytes \(0\.[123]\dx\)\n", str(report))
    assert "error " in str(report)


def test_convolutions_are_coded_before_ios_15_refused(tmp_path):
    path = cv.convert(picture_graph(), tmp_path / "p.mlpackage", quantize="int8")
    assert cv.compare(PICTURES, path, {"photo": PHOTOS}).ok
    with pytest.raises(cv.ConversionError, match="compressed weights came with iOS 16"):
        cv.convert(picture_graph(), path, quantize="int8", minimum_ios=15)
