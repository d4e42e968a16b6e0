"""Linear layers on rows: Gemm at any size, reshapes only where the axes are needed apart; onnxruntime's
attention."""

from collections import Counter

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import pytest

import converters as cv


class Block(nn.Module):
    """A pre-norm Transformer block with two heads."""

    def __init__(self, norm: type = nn.LayerNorm, width: int = 16):
        super().__init__()
        self.norm1, self.norm2 = norm(width), norm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def __call__(self, x: mx.array) -> mx.array:
        batch, length, width = x.shape
        parts = mx.split(self.qkv(self.norm1(x)), 3, axis=-1)
        q, k, v = (part.reshape(batch, length, 2, -1).transpose(0, 2, 1, 3) for part in parts)
        attended = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.3)
        x = x + self.projection(attended.transpose(0, 2, 1, 3).reshape(batch, length, width))
        return x + self.down(nn.gelu(self.up(self.norm2(x))))


def exported(model: nn.Module, spec: cv.Spec, path, **options) -> Counter:
    mx.eval(model.parameters())
    model.eval()
    cv.convert(cv.capture(model, {"x": spec}), path, **options)
    onnx.checker.check_model(str(path), full_check=True)
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


def assert_equal(model: nn.Module, path, *shapes: tuple[int, ...]) -> None:
    for shape in shapes:
        report = cv.compare(
            model, path, {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
        )
        assert report.ok, str(report)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("shape", [(1, 7, 16), ("batch", 7, 16), (2, "length", 16), ("batch", "length", 16)])
def test_blocks_stay_in_rows_between_attentions(norm, shape, tmp_path):
    model = nn.Sequential(Block(norm), Block(norm))
    ops = exported(model, cv.Spec(shape), tmp_path / "m.onnx")
    assert ops["Gemm"] == 8
    assert ops["MatMul"] == 0
    assert ops["Reshape"] <= 7  # into rows for the norm and the sum, out of them, around two attentions
    sizes = [
        (b, n, 16)
        for b, n in ((1, 1), (1, 7), (2, 7), (2, 9), (5, 3))
        if all(isinstance(wanted, str) or wanted == size for wanted, size in zip(shape, (b, n), strict=False))
    ]
    assert_equal(model, tmp_path / "m.onnx", *sizes)


def test_what_differs_by_row_stays_apart(tmp_path):
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)
            self.positions = mx.random.normal((5, 6))

        def __call__(self, x: mx.array) -> mx.array:
            return self.down(self.up(x) * self.positions + x.sum(axis=-1, keepdims=True))

    model = Positions()
    exported(model, cv.Spec(("batch", 5, 4)), tmp_path / "m.onnx")
    assert_equal(model, tmp_path / "m.onnx", (1, 5, 4), (3, 5, 4))


def test_a_lone_layer_on_four_axes(tmp_path):
    model = nn.Linear(3, 5)
    ops = exported(model, cv.Spec(("a", "b", "c", 3)), tmp_path / "m.onnx")
    assert ops["Gemm"] == 1
    assert_equal(model, tmp_path / "m.onnx", (1, 1, 1, 3), (2, 3, 4, 3))


def test_onnxruntime_attends_with_its_own_op(tmp_path):
    model = Block()
    ops = exported(model, cv.Spec(("batch", "length", 16)), tmp_path / "m.onnx", runtime="onnxruntime")
    assert ops["MultiHeadAttention"] == 1
    assert ops["Attention"] == 0
    assert_equal(model, tmp_path / "m.onnx", (1, 1, 16), (2, 9, 16), (1, 300, 16))


def test_an_embedding_that_is_the_last_layer_is_stored_once(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.norm = nn.Embedding(1000, 64), nn.RMSNorm(64)

        def __call__(self, ids: mx.array) -> mx.array:
            return self.tokens.as_linear(self.norm(self.tokens(ids)))

    model = Tied()
    mx.eval(model.parameters())
    cv.convert(model, tmp_path / "m.onnx", inputs={"ids": cv.Spec(("batch", "length"), "int32")})
    assert (tmp_path / "m.onnx").stat().st_size < 1.02 * 4 * 1000 * 64
    report = cv.compare(model, tmp_path / "m.onnx", {"ids": np.arange(6, dtype=np.int32).reshape(2, 3)})
    assert report.ok, str(report)
