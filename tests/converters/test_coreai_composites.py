"""Core AI's composites, the profile of the Neural Engine, and what is stored once."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

import converters as cv
from converters import disk
from converters.convert import Options
from converters.passes import optimize

pytest.importorskip("coreai", reason="coreai-core has no wheel for this system")

from converters.targets.coreai.write import build


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(disk, "sync", lambda path: None)
    monkeypatch.setattr(disk, "sync_tree", lambda path: None)


class Layers(nn.Module):
    """Two layers of each kind that Core AI has a composite for."""

    def __init__(self, rms: bool):
        super().__init__()
        self.norms = [nn.RMSNorm(32) if rms else nn.LayerNorm(32) for _ in range(2)]
        self.rope = nn.RoPE(16)
        self.linear = [nn.Linear(32, 32) for _ in range(2)]

    def __call__(self, x: mx.array) -> mx.array:
        for norm, linear in zip(self.norms, self.linear, strict=True):
            q = self.rope(norm(x).reshape(*x.shape[:2], 2, 16).transpose(0, 2, 1, 3))
            y = mx.fast.scaled_dot_product_attention(q, q, q, scale=0.25, mask="causal")
            x = x + nn.silu(linear(y.transpose(0, 2, 1, 3).reshape(*x.shape)))
        return x


@pytest.mark.parametrize("rms", [True, False])
@pytest.mark.parametrize("length", [5, "length"])
def test_layers_are_composites_that_equal_ones_share(rms, length, tmp_path):
    mx.random.seed(0)
    module = Layers(rms)
    graph = optimize(cv.capture(module, {"x": cv.Spec((2, length, 32))}))
    text = str(build({"main": graph}, Options())[1])
    for name in ("rms_norm" if rms else "layer_norm", "rope", "scaled_dot_product_attention"):
        assert text.count(f'composite_declaration<"{name}"') == 1, name
    path = cv.convert(graph, tmp_path / "layers.aimodel")
    for size in (5, 9) if length == "length" else (5,):
        x = np.random.default_rng(0).standard_normal((2, size, 32), np.float32)
        assert cv.compare(module, path, {"x": x}).max_rel < 1e-5


@pytest.mark.parametrize("precision", [None, "float32"])
def test_profile_of_the_neural_engine(precision, tmp_path):
    """Convolutions for products, nothing infinite, and a float32 twin that tells whether it is right."""
    mx.random.seed(0)
    module = Layers(rms=False)
    graph = cv.capture(module, {"x": cv.Spec((1, 5, 32))})
    path = cv.convert(graph, tmp_path / "m.aimodel", layout="neural-engine", precision=precision)
    x = np.random.default_rng(0).standard_normal((1, 5, 32), np.float32)
    report = cv.compare(module, path, {"x": x})
    assert report.max_rel < (1e-5 if precision else 2e-3), str(report)
    found = cv.inspect(path)
    assert found["precision"] == (precision or "float16")
    operations = found["functions"]["main"]["operations"]
    assert operations["conv2d"] == 2
    assert "silu" not in operations
    options = Options(precision=precision, layout="neural-engine")
    text = str(build({"main": optimize(graph)}, options)[1])
    assert "0xFF80" not in text
    assert "0xFC00" not in text


def test_cache_of_the_neural_engine_goes_in_and_out(tmp_path):
    linear = nn.Linear(4, 4)

    def fn(x, cache):
        grown = cache + x
        return linear(grown), grown

    specs = {"x": cv.Spec((1, 3, 4)), "cache": cv.Spec((1, 3, 4))}
    graph = cv.capture(fn, specs, ["y", "new"], states={"cache": "new"})
    model = cv.load(cv.convert(graph, tmp_path / "m.aimodel", layout="neural-engine", precision="float32"))
    x, state = np.ones((1, 3, 4), np.float32), model.new_state()
    for total in (1, 2, 3):
        wanted = np.array(linear(mx.full((1, 3, 4), total)))
        np.testing.assert_allclose(model(x=x, state=state)["y"], wanted, rtol=1e-5)


def test_what_the_neural_engine_does_not_take(tmp_path):
    linear = nn.Linear(4, 4)
    free = cv.capture(linear, {"x": cv.Spec(("n", 2, 4))})
    with pytest.raises(cv.ConversionError, match="takes fixed sizes in Core AI, and n is free"):
        cv.convert(free, tmp_path / "m.aimodel", layout="neural-engine")
    wide = cv.capture(lambda x: linear(x).transpose(5, 4, 3, 2, 1, 0), {"x": cv.Spec((1, 2, 3, 2, 3, 4))})
    with pytest.raises(cv.UnsupportedOp, match="6 axes"):
        cv.convert(wide, tmp_path / "m.aimodel", layout="neural-engine")


def test_tied_embedding_is_stored_once(tmp_path):
    mx.random.seed(0)
    embedding = nn.Embedding(2000, 64)

    def fn(ids):
        return embedding.as_linear(embedding(ids))

    graph = cv.capture(fn, {"ids": cv.Spec((2, "length"), "int32")}, module=embedding)
    path = cv.convert(graph, tmp_path / "tied.aimodel")
    assert (path / "main.mlirb").stat().st_size < 1.3 * embedding.weight.nbytes
    assert cv.compare(fn, path, {"ids": np.arange(10, dtype=np.int32).reshape(2, 5)}).max_rel < 1e-5
