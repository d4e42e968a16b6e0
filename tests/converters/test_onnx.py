"""The ONNX target: LeNet's graph, names, opsets, precision, metadata, several functions, files that are not
sound."""

import json
import subprocess
import sys
from importlib import import_module

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import onnx.reference
import pytest

import converters as cv


class LeNet(nn.Module):
    """The usual small CNN; the same shape as the project's `modern` variant, built here without it."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.pool(nn.relu(self.conv1(x)))
        x = self.pool(nn.relu(self.conv2(x)))
        x = nn.relu(self.fc1(x.reshape(x.shape[0], -1)))
        return self.fc3(nn.relu(self.fc2(x)))


@pytest.fixture(scope="module")
def lenet() -> LeNet:
    mx.random.seed(0)
    model = LeNet()
    model.eval()
    return model


@pytest.fixture(scope="module")
def graph(lenet) -> cv.Graph:
    return cv.capture(lenet, {"image": cv.Spec(("batch", 28, 28, 1))}, outputs=["logits"])


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(1).random((count, 28, 28, 1), np.float32)


def test_lenet_is_thirteen_nodes_without_a_transpose(graph, tmp_path):
    model = onnx.load(str(cv.convert(graph, tmp_path / "lenet.onnx")))
    ops = [node.op_type for node in model.graph.node]
    assert len(ops) <= 13
    assert "Transpose" not in ops
    assert ops.count("MaxPool") == 2
    names = {tensor.name for tensor in model.graph.initializer}
    assert {
        f"{layer}.{part}" for layer in ("conv1", "conv2", "fc1", "fc2", "fc3") for part in ("weight", "bias")
    } < names
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("batch", [1, 2, 37])
def test_any_batch_equals_mlx(lenet, graph, tmp_path, batch):
    path = cv.convert(graph, tmp_path / "lenet.onnx")
    report = cv.compare(lenet, path, {"image": pictures(batch)})
    assert report.ok, str(report)
    assert report.max_rel < 1e-5


@pytest.mark.parametrize("opset", [17, 18, 19, 20, 21, 22, 23])
def test_opsets_carry_their_ir_version_and_agree_with_the_reference_evaluator(lenet, graph, tmp_path, opset):
    path = cv.convert(graph, tmp_path / "lenet.onnx", opset=opset)
    model = onnx.load(str(path))
    assert model.opset_import[0].version == opset
    assert model.ir_version <= 13
    x = pictures(2)
    expected = np.asarray(next(iter(onnx.reference.ReferenceEvaluator(model).run(None, {"image": x}))))
    np.testing.assert_allclose(np.array(lenet(mx.array(x))), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cv.load(path)(image=x)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_average_pooling_with_padding_is_one_op(tmp_path):
    pool = nn.AvgPool2d(3, 2, padding=1)
    path = cv.convert(pool, tmp_path / "pool.onnx", inputs={"x": cv.Spec(("n", 9, 7, 3))})
    ops = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert ops.count("AveragePool") == 1
    assert set(ops) <= {"AveragePool", "Transpose"}
    assert cv.compare(pool, path, {"x": np.random.default_rng(0).normal(size=(2, 9, 7, 3)).astype("f4")}).ok


def test_float16_keeps_float32_at_the_edges(lenet, graph, tmp_path):
    path = cv.convert(graph, tmp_path / "half.onnx", precision="float16")
    model = cv.load(path)
    assert model.inputs["image"] == cv.Spec(("batch", 28, 28, 1), "float32")
    assert model.outputs["logits"] == cv.Spec(("batch", 10), "float32")
    weights = {t.name: t.data_type for t in onnx.load(str(path)).graph.initializer}
    assert weights["fc1.weight"] == onnx.TensorProto.FLOAT16
    report = cv.compare(lenet, path, {"image": pictures(8)})
    assert report.ok, str(report)
    assert report.max_rel > 1e-6


def test_a_function_of_bfloat16_is_compared_as_such(tmp_path):
    weight = mx.random.normal((6, 2)).astype(mx.bfloat16)
    mx.eval(weight)

    def function(x):
        return x.transpose(1, 2, 0) @ weight.T

    path = cv.convert(cv.capture(function, {"x": cv.Spec((2, 8, "n"), "bfloat16")}), tmp_path / "m.onnx")
    report = cv.compare(function, path, {"x": mx.random.normal((2, 8, 3)).astype(mx.bfloat16)})
    assert report.ok
    assert report.tolerance == 6e-2
    assert report.max_rel < 1e-2


def test_metadata_describes_the_model(graph, tmp_path):
    labels = [f"digit {i}" for i in range(10)]
    given = {"task": "classification", "licence": "MIT"}
    path = cv.convert(graph, tmp_path / "lenet.onnx", labels=labels, metadata=given)
    stored = {p.key: p.value for p in onnx.load(str(path)).metadata_props}
    data = json.loads(stored["edgevision"])
    assert (data["format"], data["task"], data["labels"], data["licence"]) == (
        1,
        "classification",
        labels,
        "MIT",
    )
    assert data["inputs"]["image"] == {"shape": ["batch", 28, 28, 1], "dtype": "float32"}
    assert len(data["sha256"]) == 64
    model = cv.load(path)
    assert model.metadata == data
    assert list(model.outputs) == ["logits"]
    with pytest.raises(cv.ConversionError, match="metadata has no colour"):
        cv.convert(graph, tmp_path / "other.onnx", metadata={"colour": 1})


def test_states_are_carried_by_the_runtime(tmp_path):
    def step(past, x):
        total = past + x
        return total * 2, total

    specs = {"past": cv.Spec((2,)), "x": cv.Spec((2,))}
    graph = cv.capture(step, specs, outputs=["y", "total"], states={"past": "total"})
    path = cv.convert(graph, tmp_path / "step.onnx")
    model = cv.load(path)
    state = model.new_state()
    for expected in (2.0, 4.0, 6.0):
        result = model(state=state, x=np.ones(2, np.float32))
        assert list(result) == ["y"]
        np.testing.assert_array_equal(result["y"], [expected, expected])
    assert cv.compare(step, path, [{"x": np.ones(2, np.float32)}] * 3).ok


def test_several_functions_are_a_folder_with_a_file_each(tmp_path):
    shared = nn.Linear(3, 3)
    one = cv.capture(shared, {"x": cv.Spec(("n", 3))})
    two = cv.capture(lambda x: shared(x) * 2, {"x": cv.Spec(("n", 3))})
    path = cv.convert({"encode": one, "step": two}, tmp_path / "both", target="onnx")
    assert sorted(file.name for file in path.glob("*.onnx")) == ["encode.onnx", "step.onnx"]
    model = cv.load(path)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(model["step"](x=x)["output"], 2 * model["encode"](x=x)["output"], rtol=1e-6)
    with pytest.raises(cv.ShapeError, match="functions encode, step"):
        model(x=x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(), "missing image"),
        (lambda m: m(image=pictures(1), extra=1), "unexpected extra"),
        (lambda m: m(image=pictures(1)[..., 0]), "expected 4 dimensions"),
        (lambda m: m(image=pictures(1)[:, :27]), "expected size 28"),
        (lambda m: m(image=pictures(1).astype(np.int32)), "image is int32, the model takes float32"),
        (lambda m: m(image=pictures(9)), "batch is 9, must be at most 8"),
        (lambda m: m["step"], "no function 'step'"),
    ],
)
def test_wrong_calls_are_explained(lenet, tmp_path, call, message):
    graph = cv.capture(lenet, {"image": cv.Spec(("batch", 28, 28, 1))}, dims={"batch": (1, 8)})
    model = cv.load(cv.convert(graph, tmp_path / "lenet.onnx"))
    with pytest.raises(cv.ShapeError, match=message):
        call(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 16}, "opset 16"),
        ({"quantize": "int3"}, "quantize='int3'"),
        ({"precision": "float8"}, "precision='float8'"),
        ({"target": "tflite"}, "no target 'tflite'"),
        ({"runtime": "tensorrt"}, "runtime='tensorrt'"),
    ],
)
def test_unknown_options_are_errors(graph, tmp_path, options, message):
    with pytest.raises(cv.ConversionError, match=message):
        cv.convert(graph, tmp_path / "lenet.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_a_name_without_a_known_suffix_is_an_error(graph, tmp_path):
    with pytest.raises(cv.ConversionError, match=r"end the name in \.onnx"):
        cv.convert(graph, tmp_path / "lenet")
    with pytest.raises(TypeError):
        cv.convert(graph, tmp_path / "lenet.onnx", colour="red")  # type: ignore[call-arg]


def test_an_existing_file_is_kept_unless_overwriting(graph, tmp_path):
    path = cv.convert(graph, tmp_path / "lenet.onnx")
    before = path.read_bytes()
    with pytest.raises(cv.OutputExists):
        cv.convert(graph, path, overwrite=False)
    assert path.read_bytes() == before
    cv.convert(graph, path)


def test_weights_beside_the_file(lenet, graph, tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("converters.targets.onnx.write"), "INLINE_LIMIT", 1000)
    path = cv.convert(graph, tmp_path / "lenet.onnx")
    assert (tmp_path / "lenet.onnx_data").stat().st_size > 100_000
    assert path.stat().st_size < 20_000
    assert cv.compare(lenet, path, {"image": pictures(3)}).ok
    cv.convert(graph, path)
    assert cv.compare(lenet, path, {"image": pictures(3)}).ok


def _damaged(path, kind):
    data = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "text":
        path.write_text("this is no model")
    else:
        model = onnx.load(str(path))
        if kind == "opset":
            model.opset_import[0].version = 99
        elif kind == "escape":
            tensor = model.graph.initializer[0]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.ClearField("raw_data")
            tensor.external_data.add(key="location", value="../../etc/passwd")
        elif kind == "huge":
            model.graph.initializer[0].dims[0] = 2**60
        path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "opset", "escape", "huge"])
def test_unsound_files_are_one_clear_error(graph, tmp_path, kind):
    path = cv.convert(graph, tmp_path / "lenet.onnx")
    _damaged(path, kind)
    with pytest.raises(cv.LoadError, match=r"lenet\.onnx"):
        cv.load(path)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(cv.LoadError, match="is not there"):
        cv.load(tmp_path / "none.onnx")


def test_a_file_of_another_writer_loads_by_its_own_names(tmp_path):
    node = onnx.helper.make_node("Add", ["a b", "c"], ["sum"])
    info = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 3]) for n in ("a b", "c", "sum")
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", info[:2], info[2:]),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
    )
    model.ir_version = 10
    onnx.save(model, str(tmp_path / "other.onnx"))
    loaded = cv.load(tmp_path / "other.onnx")
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(loaded(**{"a b": x, "c": x})["sum"], x + x)


def test_artefacts_run_without_mlx(graph, tmp_path):
    path = cv.convert(graph, tmp_path / "lenet.onnx")
    code = (
        "import sys; sys.modules['mlx'] = None\n"
        "import numpy, converters as cv\n"
        f"print(cv.load({str(path)!r})(image=numpy.zeros((2, 28, 28, 1), 'f4'))['logits'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "(2, 10)"


MEMORY = """
import sys
import mlx.core as mx, mlx.nn as nn
import converters as cv
from edgevision.training.watch import peak_memory
import converters.capture, converters.compare, converters.convert, converters.targets.onnx
model = nn.Sequential(*[nn.Linear(4096, 4096, bias=False) for _ in range(4)])
for layer in model.layers:
    layer.weight = mx.random.normal((4096, 4096))
mx.eval(model.parameters())
before = peak_memory()
cv.convert(model, sys.argv[1], inputs={"x": cv.Spec(("n", 4096))})
print(peak_memory() - before)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="with Metal the arrays are measured, not the process")
def test_exporting_256_mib_takes_little_memory_beyond_the_model(tmp_path):
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "big.onnx")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert int(done.stdout) < 1.3 * 256 * 2**20
    assert (tmp_path / "big.onnx").stat().st_size > 256 * 2**20
