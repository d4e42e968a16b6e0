"""Core AI assets: metadata as in the other formats, listed sizes, float16, and what does not fit."""

import json
import sys

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

import converters as cv
from converters import disk
from converters.metadata import FREE_KEYS
from converters.targets.coreai import worker

pytest.importorskip("coreai", reason="coreai-core has no wheel for this system")


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(disk, "sync", lambda path: None)
    monkeypatch.setattr(disk, "sync_tree", lambda path: None)


GIVEN = {
    "task": "image-classification",
    "tokenizer": "tokenizer.json",
    "source": "runs/a",
    "licence": "MIT",
    "author": "A. Ünal",
    "version": "1.2",
    "description": "Three things",
    "preprocessing": {"size": [2, 2], "mean": [0.5], "std": [0.25]},
    "descriptions": {"x": "what is measured", "logits": "one number for each label"},
    "user_defined": {"com.example.kind": "things"},
    "labels": None,
}


def test_metadata_is_that_of_the_other_formats(tmp_path):
    assert GIVEN.keys() == set(FREE_KEYS)
    given = {key: value for key, value in GIVEN.items() if key != "labels"}
    graph = cv.capture(nn.Linear(4, 3), {"x": cv.Spec(("batch", 4))}, ["logits"])
    options = {"labels": ["a", "b", "c"], "metadata": given, "precision": "float32"}
    names = ("model.onnx", "model.mlpackage", "model.aimodel")
    onnx, core_ml, core_ai = (cv.load(cv.convert(graph, tmp_path / n, **options)).metadata for n in names)
    own = {"sha256"}  # of the weights, which each format stores in its own layout
    assert {key: core_ai[key] for key in core_ai.keys() - own} == {k: onnx[k] for k in onnx.keys() - own}
    assert {key: core_ai[key] for key in core_ai.keys() - own} == {
        key: core_ml[key] for key in core_ai.keys() - own
    }
    assert {key: core_ai[key] for key in given} == given
    assert core_ai["labels"] == ["a", "b", "c"]
    stored = json.loads((tmp_path / "model.aimodel" / "metadata.json").read_text())
    shown = [stored[key] for key in ("author", "license", "modelDescription") if key in stored]
    assert shown[:2] == ["A. Ünal", "MIT"]
    assert "Three things" in json.dumps(stored, ensure_ascii=False)
    assert stored["creatorDefinedMetadata"]["com.example.kind"] == "things"


def ones(count):
    layer = nn.Linear(count, 8)
    layer.weight, layer.bias = mx.ones((8, count)), mx.zeros(8)
    return layer


@pytest.mark.skipif(sys.platform == "darwin", reason="only Linux's interpreter adds up in float16")
def test_float16_is_judged_by_a_float32_twin_and_the_report_says_why(tmp_path):
    """The interpreter itself gives 2,048: 4,096 ones added up in float16."""
    layer, x = ones(4096), np.ones((2, 4096), np.float32)
    graph = cv.capture(layer, {"x": cv.Spec((2, 4096))})
    path = cv.convert(graph, tmp_path / "m.aimodel", precision="float16")
    report = cv.compare(layer, path, {"x": x})
    assert report.ok
    assert report.max_abs == 0
    assert "float32 twin" in str(report)
    assert "adds those up in float16 (4,096 ones give 2,048)" in str(report)
    assert cv.inspect(path)["functions"]["main"]["operations"]["cast"] == 2  # the asset's own, not the twin's
    plain = cv.compare(layer, cv.convert(graph, tmp_path / "plain.aimodel"), {"x": x})
    assert plain.note is None
    assert "twin" not in str(plain)


def test_the_twin_has_the_weights_of_the_asset(tmp_path):
    layer = nn.Linear(3, 1)
    layer.weight, layer.bias = mx.array([[1 / 3, 0.1, 2.0]]), mx.zeros(1)
    graph = cv.capture(layer, {"x": cv.Spec((1, 3))})
    model = cv.load(cv.convert(graph, tmp_path / "m.aimodel", precision="float16"))
    got = model(x=np.array([[3, 0, 0]], np.float32))["output"]
    np.testing.assert_array_equal(got, [[np.float16(np.float32(np.float16(1 / 3)) * 3)]])


def test_sizes_that_are_listed(tmp_path):
    layer = nn.Conv1d(3, 5, 3, padding=1)
    sizes = cv.Dim(sizes=[4, 16])
    graph = cv.capture(layer, {"x": cv.Spec((1, "length", 3))}, dims={"length": sizes})
    path = cv.convert(graph, tmp_path / "m.aimodel")
    model = cv.load(path)
    assert tuple(model.metadata["dims"]["length"]["sizes"]) == (4, 16)
    for length in (4, 16):
        x = np.random.default_rng(length).normal(size=(1, length, 3)).astype(np.float32)
        assert cv.compare(layer, path, {"x": x}).max_rel < 1e-5
    with pytest.raises(cv.ShapeError, match="length is 5, must be one of 4, 16"):
        model(x=np.zeros((1, 5, 3), np.float32))


class Counter(nn.Module):
    """Two entry points over the same weights and the same state, as a language model's prefill and step."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def begin(self, x, kept):
        y = self.layer(x)
        return y, mx.concatenate([y[-2:], kept[:2]])

    def go_on(self, x, kept):
        y = self.layer(x) + kept.sum(axis=0)
        return y, mx.concatenate([y, kept[:3]])


def test_entry_points_carry_one_state_on(tmp_path):
    model = Counter()
    states, kept = {"kept": "new"}, cv.Spec((4, 4))
    begin = cv.capture(model.begin, {"x": cv.Spec(("n", 4)), "kept": kept}, ["y", "new"], states=states)
    go_on = cv.capture(model.go_on, {"x": cv.Spec((1, 4)), "kept": kept}, ["y", "new"], states=states)
    loaded = cv.load(cv.convert({"begin": begin, "go_on": go_on}, tmp_path / "m.aimodel"))
    assert set(loaded.functions) == {"begin", "go_on"}
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    state = loaded.new_state("begin")
    wanted, held = model.begin(mx.array(x), mx.zeros((4, 4)))
    np.testing.assert_allclose(loaded["begin"](x=x, state=state)["y"], np.array(wanted), atol=1e-5)
    for _ in range(3):
        wanted, held = model.go_on(mx.array(x[:1]), held)
        np.testing.assert_allclose(loaded["go_on"](x=x[:1], state=state)["y"], np.array(wanted), atol=1e-5)
    np.testing.assert_allclose(state["kept"], np.array(held), atol=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((4, 8), np.float32), r"expected 3 dimensions \(1, length, 8\), got \(4, 8\)"),
        (np.ones((1, 4, 8, 1), np.float32), "expected 3 dimensions"),
        (np.ones((1, 4, 9), np.float32), "expected size 8"),
        (np.ones((1, 4, 8), np.int32), "x is int32, the model takes float32"),
    ],
    ids=["rank", "more-rank", "size", "type"],
)
def test_inputs_that_do_not_fit_never_reach_the_runtime(x, message, tmp_path):
    """A wrong rank ends its process."""
    graph = cv.capture(nn.Linear(8, 2), {"x": cv.Spec((1, "length", 8))})
    model = cv.load(cv.convert(graph, tmp_path / "m.aimodel"))
    process = worker.current().process
    with pytest.raises(cv.ShapeError, match=message):
        model(x=x)
    assert worker.current().process is process
    assert process.poll() is None


def test_a_process_that_the_runtime_ends_is_one_error(tmp_path):
    """A wrong rank, past the checks: as it is where the runtime finds something that we do not know of."""
    graph = cv.capture(lambda x: x + 1, {"x": cv.Spec(("n", 8))})
    model = cv.load(cv.convert(graph, tmp_path / "m.aimodel"))
    fed = {"x": np.ones((2, 2, 8), np.float32)}
    with pytest.raises(
        cv.ConversionError, match=r"m\.aimodel: .*ended \(SIG\w+\); main was fed x float32 \(2, 2, 8\)"
    ):
        model.run("main", fed, None)
    np.testing.assert_array_equal(model(x=np.ones((1, 8), np.float32))["output"], np.full((1, 8), 2))


@pytest.mark.parametrize("harm", ["garbage", "a flipped bit"])
def test_a_damaged_program_is_one_error(harm, tmp_path):
    path = cv.convert(cv.capture(lambda x: mx.sin(x) + 1, {"x": cv.Spec((2,))}), tmp_path / "m.aimodel")
    program = path / "main.mlirb"
    data = bytearray(program.read_bytes())
    if harm == "garbage":
        data = bytearray(np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint8).tobytes())
    else:
        data[len(data) // 3] ^= 16
    program.write_bytes(data)
    for read in (cv.load, cv.inspect):
        with pytest.raises(cv.LoadError, match=r"m\.aimodel"):
            read(path)
