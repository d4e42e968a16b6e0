"""Quantising after training for ONNX: arithmetic in integers, weights in blocks, ranges, the report."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from quantized_models import (
    EXPERTS,
    IDS,
    MLP,
    PHOTOS,
    PICTURES,
    RNG,
    ROWS,
    TEXT,
    mlp_graph,
    off,
    picture_graph,
    ready,
    text_graph,
    told,
)

import converters as cv
from converters.quantization import Quantization


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def weight_bytes(path):
    return sum(len(tensor.raw_data) for tensor in onnx.load(path).graph.initializer)


def fused(path, folder):
    """What onnxruntime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(folder / "fused.onnx"), 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return kinds(folder / "fused.onnx")


def test_int8_text_is_computed_in_integers(tmp_path):
    path = cv.convert(text_graph(), tmp_path / "text.onnx", quantize="int8")
    assert "MatMul" not in kinds(path)
    assert fused(path, tmp_path).count("DynamicQuantizeMatMul") == 3
    report = cv.compare(TEXT, path, {"ids": IDS})
    assert report.ok
    assert 1e-4 < report.max_rel < 0.03
    shapes = [tuple(t.dims) for t in onnx.load(path).graph.initializer]
    assert [shape for shape in shapes if 300 in shape and 64 in shape] == [(300, 64)]  # tied: once


def test_meaning_is_what_onnxruntime_computes(tmp_path):
    """The NumPy meaning of the quantised graph and the file agree far closer than either does with MLX."""
    from converters.convert import Options
    from converters.passes import optimize
    from converters.quantization import quantized
    from converters.targets import onnx as target

    changed, _ = quantized(
        {"main": optimize(text_graph())}, "int8", target.schemes(Options()), {"main": None}
    )
    changed["main"].verify()
    path = cv.convert(text_graph(), tmp_path / "text.onnx", quantize="int8")
    wanted = changed["main"].evaluate(IDS)["logits"]
    assert off(cv.load(path)(ids=IDS)["logits"], wanted) < 2e-3


def test_int8_pictures_stay_in_integers(tmp_path):
    path = cv.convert(picture_graph(), tmp_path / "p.onnx", quantize="int8", calibration=[PHOTOS])
    found = fused(path, tmp_path)
    assert found.count("QLinearConv") == 3
    assert "QGemm" in found
    assert "QLinearAdd" in found
    assert not {"Conv", "Relu", "Gemm", "DequantizeLinear"} & set(found)
    report = cv.compare(PICTURES, path, {"photo": PHOTOS})
    assert report.ok
    assert 1e-4 < report.max_rel < 0.03
    assert weight_bytes(path) < 0.3 * weight_bytes(cv.convert(picture_graph(), tmp_path / "f.onnx"))


@pytest.mark.parametrize(
    "calibration",
    [
        [{"photo": PHOTOS}],
        [PHOTOS[:1], PHOTOS[1:]],
        ((p[None],) for p in PHOTOS),
        {"photo": PHOTOS},
        PHOTOS[:, None],
    ],
    ids=["dicts", "arrays", "tuples", "one-dict", "one-array"],
)
def test_calibration_takes(calibration, tmp_path):
    path = cv.convert(picture_graph(), tmp_path / "p.onnx", quantize="int8", calibration=calibration)
    assert cv.compare(PICTURES, path, {"photo": PHOTOS}).max_rel < 0.03
    assert told(path).inputs == "calibration"


REFUSED = {
    "a CNN without pictures": ({"quantize": "int8"}, "needs calibration=: convolutions are"),
    "no pictures at all": ({"quantize": "int8", "calibration": []}, "calibration= is empty"),
    "another input": ({"quantize": "int8", "calibration": [{"image": PHOTOS}]}, "must give photo"),
    "two arrays": ({"quantize": "int8", "calibration": [(PHOTOS, PHOTOS)]}, "gives 2 arrays"),
    "values that overflow": ({"quantize": "int8", "calibration": [PHOTOS * np.inf]}, "not finite"),
    "nothing to calibrate": ({"calibration": [PHOTOS]}, "is for quantize="),
    "another scheme": ({"quantize": "int3"}, "int3' is not supported here"),
    "palettes": ({"quantize": "palette4"}, "palette4' is not supported here"),
    "blocks before opset 21": ({"quantize": "int4", "opset": 20}, "use opset 21"),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    options, message = REFUSED[name]
    graph = mlp_graph() if "opset" in options else picture_graph()
    with pytest.raises(cv.ConversionError, match=message):
        cv.convert(graph, tmp_path / "p.onnx", **options)
    assert list(tmp_path.iterdir()) == []


SECOND_OPINIONS = {
    "layers": (mlp_graph, {"x": ROWS}, {"quantize": "int8"}),
    "blocks": (mlp_graph, {"x": ROWS}, {"quantize": "int4"}),
    "text": (text_graph, {"ids": IDS}, {"quantize": "int8", "opset": 22}),
    "pictures": (picture_graph, {"photo": PHOTOS[:2]}, {"quantize": "int8", "calibration": [PHOTOS]}),
}


@pytest.mark.parametrize("name", SECOND_OPINIONS)
def test_onnx_reference_computes_the_same(name, tmp_path):
    graph, feed, options = SECOND_OPINIONS[name]
    path = cv.convert(graph(), tmp_path / "m.onnx", **options)
    (got,) = cv.load(path)(**feed).values()
    (second,) = ReferenceEvaluator(str(path)).run(list(cv.load(path).outputs), feed)
    assert off(second, got) < 1e-6


@pytest.mark.parametrize("runtime", [None, "onnxruntime"])
def test_int4_weights(runtime, tmp_path):
    path = cv.convert(mlp_graph(), tmp_path / "m.onnx", quantize="int4", runtime=runtime)
    products = [node for node in onnx.load(path).graph.node if node.op_type == "MatMulNBits"]
    assert len(products) == (2 if runtime == "onnxruntime" else 0)
    assert all(a.i == 4 for node in products for a in node.attribute if a.name == "accuracy_level")
    whole = cv.convert(mlp_graph(), tmp_path / "f.onnx").stat().st_size
    assert path.stat().st_size < 0.2 * whole
    wanted = np.array(MLP(mx.array(ROWS)))
    assert 0.01 < off(cv.load(path)(x=ROWS)["y"], wanted) < 0.15


def test_codes_of_mlx_are_computed_exactly(tmp_path):
    model = ready(nn.Sequential(nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 40)))
    nn.quantize(model, group_size=32, bits=4)
    graph = cv.capture(ready(model), {"x": cv.Spec(("batch", 128))})
    path = cv.convert(graph, tmp_path / "m.onnx", runtime="onnxruntime")
    attributes = {a.name for node in onnx.load(path).graph.node for a in node.attribute}
    assert "block_size" in attributes
    assert "accuracy_level" not in attributes
    assert cv.compare(model, path, {"x": ROWS}, rtol=1e-4).ok


def test_int4_embedding(tmp_path):
    path = cv.convert(text_graph(), tmp_path / "t.onnx", quantize="int4")
    wanted = np.array(TEXT(mx.array(IDS)))
    assert off(cv.load(path)(ids=IDS)["logits"], wanted) < 0.15


@pytest.mark.parametrize(
    ("target", "scheme", "share", "error"),
    [("onnx", "int8", 0.35, 0.02), ("onnx", "int4", 0.3, 0.15), ("mlpackage", "int8", 0.4, 0.02)],
)
def test_experts_of_a_mixture(target, scheme, share, error, tmp_path):
    specs = {"x": cv.Spec(("batch", 64)), "chosen": cv.Spec(("batch",), "int32")}
    feed = {"x": ROWS[:, :64], "chosen": np.array([3, 0, 0, 2, 1], np.int32)}
    graph = cv.capture(EXPERTS, specs, ["y"])
    path = cv.convert(graph, tmp_path / f"e.{target}", quantize=scheme, precision="float32")
    wanted = np.array(EXPERTS(*map(mx.array, feed.values())))
    assert 1e-4 < off(cv.load(path)(**feed)["y"], wanted) < error
    found = told(path)
    assert found.bytes_after < share * found.bytes_before
    assert not found.kept


@pytest.mark.parametrize("token", [False, True])
def test_patches_become_a_linear_layer(token, tmp_path):
    def tokens(x):
        x = x.reshape(x.shape[0], -1, 64)
        return mx.concatenate([mx.ones((2, 1, 64)), x], axis=1) if token else x

    model = ready(nn.Sequential(nn.Conv2d(3, 64, 8, 8), tokens, nn.LayerNorm(64), nn.Linear(64, 64)))
    spec = {"photo": cv.Spec((2, 16, 24, 3))}
    photos = RNG.uniform(size=(2, 16, 24, 3)).astype(np.float32)
    path = cv.convert(cv.capture(model, spec, ["y"]), tmp_path / "p.onnx", quantize="int8")
    assert kinds(path).count("MatMulInteger") == 2
    assert cv.compare(model, path, {"photo": photos}).max_rel < 0.05


def test_half_precision_and_low_opset(tmp_path):
    path = cv.convert(mlp_graph(), tmp_path / "m.onnx", quantize="int8", precision="float16", opset=17)
    assert cv.compare(MLP, path, {"x": ROWS}).max_rel < 0.05


def test_small_weights_stay(tmp_path):
    model = ready(nn.Linear(8, 8))
    graph = cv.capture(model, {"x": cv.Spec((1, 8))}, ["y"])
    path = cv.convert(graph, tmp_path / "m.onnx", quantize="int8")
    assert kinds(path) == kinds(cv.convert(graph, tmp_path / "f.onnx"))


def test_report(tmp_path):
    path = cv.convert(picture_graph(), tmp_path / "p.onnx", quantize="int8", calibration=[PHOTOS] * 3)
    whole = cv.convert(picture_graph(), tmp_path / "f.onnx")
    found = told(path)
    assert cv.load(whole).quantization is None
    assert found == Quantization.from_json(found.to_json())
    assert (found.scheme, found.inputs, found.samples) == ("int8", "calibration", 3)
    assert found.bytes_before == whole.stat().st_size
    assert abs(found.bytes_after - path.stat().st_size) < 1000  # the report itself is in the file
    assert 0 < found.error < 0.05
    assert 0.8 < found.agreement <= 1
    assert found.seconds_before > 0 < found.seconds_after
    assert "int8: " in str(found)
    assert "3 calibration inputs" in str(found)


def test_report_names_what_stays(tmp_path):
    table = mx.random.normal((1, 64, 128))
    mx.eval(table)
    graph = cv.capture(lambda x: MLP(x + table), {"x": cv.Spec(("batch", 64, 128))}, ["y"])
    found = told(cv.convert(graph, tmp_path / "m.onnx", quantize="int8"))
    assert list(found.kept.values()) == [64 * 128 * 4]
    assert "floating-point: " in str(found)


def test_functions_with_shared_weights(tmp_path):
    graphs = {"long": mlp_graph(), "short": cv.capture(MLP, {"x": cv.Spec((1, 128))}, ["y"])}
    folder = cv.convert(graphs, tmp_path / "both", target="onnx", quantize="int8")
    loaded = cv.load(folder)
    assert told(folder).scheme == "int8"
    np.testing.assert_array_equal(loaded["long"](x=ROWS[:1])["y"], loaded["short"](x=ROWS[:1])["y"])


def test_model_is_left_alone(tmp_path):
    before = np.array(MLP(mx.array(ROWS)))
    cv.convert(mlp_graph(), tmp_path / "m.onnx", quantize="int4")
    np.testing.assert_array_equal(np.array(MLP(mx.array(ROWS))), before)
