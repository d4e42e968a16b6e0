"""Residual streams without a mean: LayerNorms become RMSNorms with runtime="onnxruntime", and only there."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import pytest
from rewriting import assert_same, count, optimized

import converters as cv
from converters.targets.onnx.centring import with_centred_streams


def ready(module):
    """With norms and biases that are not those of a fresh module."""
    mx.random.seed(0)
    filled = nn.utils.tree_map(lambda array: array + 0.5 * mx.random.normal(array.shape), module.parameters())
    module.update(filled)
    mx.eval(module.parameters())
    module.eval()
    return module


class Block(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16, bias), nn.Linear(16, 8)

    def __call__(self, x):
        return x + self.down(nn.tanh(self.up(self.norm(x))))


class Text(nn.Module):
    """Token ids (B, L) to what `end` makes of the stream."""

    def __init__(self, end, bias=True):
        super().__init__()
        self.token, self.blocks = nn.Embedding(20, 8), [Block(bias), Block(bias)]
        self.norm, self.head, self.end = nn.LayerNorm(8), nn.Linear(8, 5), end

    def __call__(self, ids):
        x = self.token(ids)
        for block in self.blocks:
            x = block(x)
        return self.end(self, x)


class Patches(nn.Module):
    """Pictures through a convolution, a token in front and positions."""

    def __init__(self):
        super().__init__()
        self.patch, self.blocks, self.norm = nn.Conv2d(3, 8, 4, 4), [Block()], nn.LayerNorm(8)
        self.token, self.position = mx.zeros((1, 1, 8)), mx.zeros((1, 5, 8))

    def __call__(self, x):
        x = self.patch(x).reshape(x.shape[0], 4, 8)
        x = mx.concatenate([mx.broadcast_to(self.token, (x.shape[0], 1, 8)), x], axis=1) + self.position
        return self.norm(self.blocks[0](x))[:, 0]


IDS = {"ids": cv.Spec(("B", "L"), "int32")}
CENTRED = {
    "head": (Text(lambda m, x: m.head(m.norm(x))), IDS, {"RMSNorm": 3}),
    "no biases": (Text(lambda m, x: m.head(m.norm(x)), bias=False), IDS, {"RMSNorm": 3}),
    "norm as output": (Text(lambda m, x: m.norm(x)), IDS, {"RMSNorm": 2, "LayerNorm": 1}),
    "patches": (Patches(), {"photo": cv.Spec(("B", 8, 8, 3))}, {"RMSNorm": 1, "LayerNorm": 1}),
}


@pytest.mark.parametrize("name", CENTRED)
def test_centred(name):
    module, inputs, wanted = CENTRED[name]
    before = optimized(cv.capture(ready(module), inputs))
    after = with_centred_streams(before)
    after.verify()
    found = count(after)
    assert {op: found.get(op, 0) for op in ("RMSNorm", "LayerNorm")} == {
        "RMSNorm": 0,
        "LayerNorm": 0,
    } | wanted
    assert_same(before, after)


AS_THEY_ARE = {
    "stream as output": Text(lambda m, x: (m.head(m.norm(x)), x)),
    "layer reads the stream": Text(lambda m, x: m.head(m.norm(x)) + m.head(x)),
    "mean over the stream": Text(lambda m, x: m.head(m.norm(x)) + x.mean()),
    "table read twice": Text(lambda m, x: m.norm(x) @ m.token.weight.T),
    "scaled stream": Text(lambda m, x: m.head(m.norm(x * m.head.bias[:1]))),
}


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_left_alone(name):
    before = optimized(cv.capture(ready(AS_THEY_ARE[name]), IDS))
    assert with_centred_streams(before) is before


def test_only_for_onnxruntime(tmp_path):
    model = ready(Text(lambda m, x: m.head(m.norm(x))))
    graph = cv.capture(model, IDS)
    found = {}
    for runtime in (None, "onnxruntime"):
        path = cv.convert(graph, tmp_path / "m.onnx", runtime=runtime)
        found[runtime] = {node.op_type for node in onnx.load(path).graph.node}
        assert cv.compare(model, path, {"ids": np.arange(10, dtype=np.int32).reshape(2, 5)}, rtol=1e-5).ok
    assert "LayerNormalization" in found[None]
    assert "RMSNormalization" in found["onnxruntime"]
    assert "LayerNormalization" not in found["onnxruntime"]
    path = cv.convert(graph, tmp_path / "m.onnx", runtime="onnxruntime", opset=21)
    assert "LayerNormalization" in {node.op_type for node in onnx.load(path).graph.node}
