"""Quantising after training: codes, what each target makes of them, ranges from calibration, the report."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

import converters as cv
from converters.graph import Builder, Graph, Value
from converters.ops import OPS
from converters.ops.quantized import unpacked
from converters.quantization import Quantization
from converters.quantization.codes import block_codes, channel_codes, palette

RNG = np.random.default_rng(0)


def ready(module):
    mx.eval(module.parameters())
    module.eval()
    return module


class Text(nn.Module):
    """Tokens (B, L) to logits through attention; the embedding is the last layer as well."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(300, 64)
        self.norm, self.qkv, self.out = nn.LayerNorm(64), nn.Linear(64, 192), nn.Linear(64, 64)

    def __call__(self, ids):
        x = self.token(ids)
        q, k, v = (
            p.reshape(*ids.shape, 2, 32).transpose(0, 2, 1, 3) for p in self.qkv(self.norm(x)).split(3, -1)
        )
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=32**-0.5, mask="causal")
        x = x + self.out(y.transpose(0, 2, 1, 3).reshape(*ids.shape, 64))
        return self.token.as_linear(x)


class Pictures(nn.Module):
    """Pictures (B, 16, 16, 3) through convolutions with a shortcut to ten classes."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(i, 24, 3, padding=1) for i in (3, 24, 24))
        self.norm, self.head = nn.BatchNorm(24), nn.Linear(24 * 16, 10)

    def __call__(self, x):
        x = POOL(nn.relu(self.norm(self.a(x))))
        x = nn.relu(x + self.c(nn.relu(self.b(x))))
        return self.head(POOL(x).flatten(1))


class Experts(nn.Module):
    """Rows (B, 64) through one of four matrices each."""

    def __init__(self):
        super().__init__()
        self.weight = mx.random.normal((4, 96, 64))

    def __call__(self, x, chosen):
        return mx.gather_mm(x[:, None], self.weight.swapaxes(-1, -2), rhs_indices=chosen)[:, 0]


POOL = nn.MaxPool2d(2, 2)
mx.random.seed(0)
TEXT, PICTURES, EXPERTS = ready(Text()), ready(Pictures()), ready(Experts())
MLP = ready(nn.Sequential(nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 40)))
IDS = RNG.integers(0, 300, (2, 12)).astype(np.int32)
PHOTOS = RNG.uniform(size=(8, 16, 16, 3)).astype(np.float32)
ROWS = RNG.normal(size=(5, 128)).astype(np.float32)


def text_graph():
    return cv.capture(TEXT, {"ids": cv.Spec(("batch", "length"), "int32")}, ["logits"])


def picture_graph():
    return cv.capture(PICTURES, {"photo": cv.Spec(("batch", 16, 16, 3))}, ["scores"])


def mlp_graph():
    return cv.capture(MLP, {"x": cv.Spec(("batch", 128))}, ["y"])


def off(got, wanted):
    """Root mean square of the difference, relative to the wanted result's."""
    return float(np.sqrt(np.mean((got - wanted) ** 2) / np.mean(wanted**2)))


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def weight_bytes(path):
    return sum(len(tensor.raw_data) for tensor in onnx.load(path).graph.initializer)


def told(path) -> Quantization:
    """The report in an artefact."""
    found = cv.load(path).quantization
    assert found is not None
    return found


def fused(path, folder):
    """What onnxruntime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(folder / "fused.onnx"), 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return kinds(folder / "fused.onnx")


# --- codes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 7, 64])
def test_channel_codes_are_near_and_never_saturate(columns):
    weight = RNG.normal(size=(33, columns)).astype(np.float32)
    weight[3] = 0
    codes, scales = channel_codes(weight)
    assert codes.dtype == np.int8
    assert np.abs(codes * scales[:, None] - weight).max() <= 0.5 * scales.max() + 1e-6
    even = np.pad(codes.astype(np.int32), ((0, 0), (0, columns % 2)))
    for x in (
        np.full(even.shape[1], 255),
        RNG.integers(0, 256, even.shape[1]),
    ):  # vpmaddubsw: int16, saturating
        pairs = (even * x).reshape(33, -1, 2).sum(-1)
        np.testing.assert_array_equal(np.clip(pairs, -32768, 32767), pairs)


@pytest.mark.parametrize("group", [16, 32])
def test_block_codes_round_trip(group):
    weight = RNG.normal(size=(8, 64)).astype(np.float32)
    weight[0, :group] = 0
    weight[1, :group] = np.abs(weight[1, :group]) + 1  # 0 must be a code all the same
    words, scales, biases = block_codes(weight, group)
    codes = unpacked(words, 4).reshape(8, -1, group)
    back = (codes * scales[..., None] + biases[..., None]).reshape(8, 64)
    zeros = -biases / scales
    np.testing.assert_allclose(zeros, np.rint(zeros), atol=1e-4)
    assert off(back, weight) < 0.09
    plain = weight.reshape(8, -1, group)
    step = (np.maximum(plain.max(-1), 0) - np.minimum(plain.min(-1), 0)) / 15
    assert np.mean((back - weight) ** 2) <= np.mean(step**2) / 12 * 1.1


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_palette_is_better_than_even_steps(bits):
    weight = RNG.normal(size=(64, 64)).astype(np.float32)
    codes, table = palette(weight, bits)
    assert codes.shape == weight.shape
    assert table.shape == (2**bits,)
    step = (weight.max() - weight.min()) / (2**bits - 1)
    assert np.mean((table[codes] - weight) ** 2) < 0.8 * step**2 / 12


def test_palette_of_few_values_is_exact():
    weight = RNG.choice(np.array([-1.5, 0, 0.25, 7], np.float32), (32, 32))
    codes, table = palette(weight, 4)
    assert np.abs(table[codes] - weight).max() < 1e-3
    codes, table = palette(np.full((4, 4), 3, np.float32), 4)
    assert np.abs(table[codes] - 3).max() < 1e-3


# --- ops ----------------------------------------------------------------------------------------------------


def constant_case(op, inputs, constants, **attrs):
    """A graph of one op over a float input (where `inputs`) and constants."""
    b = Builder()
    given = tuple(Value(f"x{index}", array.shape, "float32") for index, array in enumerate(inputs))
    values = [*given, *(b.constant(array) for array in constants)]
    return Graph(given, {"y": b(op, *values, **attrs)}, tuple(b.nodes), b.constants)


CODES = RNG.integers(-127, 128, (6, 10)).astype(np.int8)
SCALES = RNG.uniform(0.01, 0.02, 6).astype(np.float32)
X = RNG.normal(size=(3, 4, 10)).astype(np.float32)
INTEGER_OPS = {
    "linear": ("DynamicLinear", [X], [CODES, SCALES], {}),
    "linear-bias": ("DynamicLinear", [X], [CODES, SCALES, SCALES], {}),
    "linear-of-zeros": ("DynamicLinear", [np.zeros_like(X)], [CODES, SCALES], {}),
    "linear-of-positive": ("DynamicLinear", [np.abs(X) + 3], [CODES, SCALES], {}),
    "scale": ("ScaleCodes", [], [CODES, SCALES[:, None]], {}),
    "look-up": ("LookUp", [], [CODES.view(np.uint8) % 16, RNG.normal(size=16).astype(np.float32)], {}),
    "in-steps": ("InSteps", [3 * X], [], {"scale": 0.02, "zero": 100}),
}


@pytest.mark.parametrize("name", INTEGER_OPS)
def test_expansion_is_the_meaning(name):
    op, inputs, constants, attrs = INTEGER_OPS[name]
    graph = constant_case(op, inputs, constants, **attrs)
    graph.verify()
    b = Builder()
    b.constants = dict(graph.constants)
    node = graph.nodes[0]
    expand = OPS[op].expand
    assert expand is not None
    result = expand(b, *node.inputs, **node.attrs)
    assert isinstance(result, Value)
    expanded = Graph(graph.inputs, {"y": result}, tuple(b.nodes), b.constants)
    expanded.verify()
    wanted, got = graph.evaluate(*inputs)["y"], expanded.evaluate(*inputs)["y"]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max() + 1e-7)


# --- ONNX ---------------------------------------------------------------------------------------------------


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
    assert ("MatMulNBits" in kinds(path)) == (runtime == "onnxruntime")
    whole = cv.convert(mlp_graph(), tmp_path / "f.onnx").stat().st_size
    assert path.stat().st_size < 0.2 * whole
    wanted = np.array(MLP(mx.array(ROWS)))
    assert 0.01 < off(cv.load(path)(x=ROWS)["y"], wanted) < 0.15


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


def test_patches_become_a_linear_layer(tmp_path):
    model = ready(
        nn.Sequential(nn.Conv2d(3, 64, 8, 8), lambda x: x.reshape(x.shape[0], -1, 64), nn.Linear(64, 64))
    )
    spec = {"photo": cv.Spec((2, 16, 24, 3))}
    photos = RNG.uniform(size=(2, 16, 24, 3)).astype(np.float32)
    path = cv.convert(cv.capture(model, spec, ["y"]), tmp_path / "p.onnx", quantize="int8")
    assert kinds(path).count("MatMulInteger") == 2
    assert cv.compare(model, path, {"photo": photos}).max_rel < 0.03


def test_half_precision_and_low_opset(tmp_path):
    path = cv.convert(mlp_graph(), tmp_path / "m.onnx", quantize="int8", precision="float16", opset=17)
    assert cv.compare(MLP, path, {"x": ROWS}).max_rel < 0.05


def test_small_weights_stay(tmp_path):
    model = ready(nn.Linear(8, 8))
    graph = cv.capture(model, {"x": cv.Spec((1, 8))}, ["y"])
    path = cv.convert(graph, tmp_path / "m.onnx", quantize="int8")
    assert kinds(path) == kinds(cv.convert(graph, tmp_path / "f.onnx"))


# --- Core ML ------------------------------------------------------------------------------------------------

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


def test_convolutions_are_coded_before_ios_15_refused(tmp_path):
    path = cv.convert(picture_graph(), tmp_path / "p.mlpackage", quantize="int8")
    assert cv.compare(PICTURES, path, {"photo": PHOTOS}).ok
    with pytest.raises(cv.ConversionError, match="compressed weights came with iOS 16"):
        cv.convert(picture_graph(), path, quantize="int8", minimum_ios=15)


# --- report -------------------------------------------------------------------------------------------------


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
