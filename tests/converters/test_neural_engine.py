"""`layout="neural-engine"`: transformers of all kinds laid out as (B, C, 1, S) compute what they computed."""

import re
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from coreml_programs import verify
from test_models import MODELS, draw, filled, spec_of

import converters as cv
from converters.layouts.forms import HEADS, Form, default_form

QUICK = {"ViT", "BERT", "Swin", "Perceiver"}
UNLIKE = {
    "Perceiver",
    "DETR",
    "Whisper's decoder",
    "diffusion UNet",
}  # coremltools' reader takes two unknown batches for different ones
NAMES = [
    "ViT",
    "BERT",
    "Swin",
    "SAM",
    "DETR",
    "CLIP",
    "Whisper's encoder",
    "Whisper's decoder",
    "T5",
    "nn.Transformer",
    "ALiBi",
    "Perceiver",
    "Mixer",
    "LSTM",
    "ConvNeXt",
    "diffusion UNet",
    "graph attention",
]
ROWS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]


class Gpt(nn.Module):
    """Two pre-norm layers, heads apart (rotary positions, grouped keys) or together, tied embeddings."""

    def __init__(
        self, rotary: bool = False, traditional: bool = False, norm=nn.LayerNorm, per_head: bool = False
    ):
        super().__init__()
        self.tokens, self.places = nn.Embedding(60, 32), nn.Embedding(40, 32)
        self.rope = nn.RoPE(8, traditional=traditional) if rotary else None
        self.keys = 2 if rotary else 4
        self.q, self.out = ([nn.Linear(32, 32) for _ in range(2)] for _ in range(2))
        self.kv = [nn.Linear(32, 16 * self.keys) for _ in range(2)]
        self.up, self.down = [nn.Linear(32, 64) for _ in range(2)], [nn.Linear(64, 32) for _ in range(2)]
        self.norms = [norm(32) for _ in range(5)]
        self.head_norm = norm(8) if per_head else None

    def __call__(self, ids: mx.array) -> mx.array:
        batch, length = ids.shape
        x = self.tokens(ids)
        if self.rope is None:
            x = x + self.places(mx.arange(length))
        for i in range(2):
            y = self.norms[2 * i](x)
            parts = [self.q[i](y), *mx.split(self.kv[i](y), 2, axis=-1)]
            q, k, v = (p.reshape(batch, length, -1, 8).transpose(0, 2, 1, 3) for p in parts)
            if self.head_norm is not None:
                q, k = self.head_norm(q), self.head_norm(k)
            if self.rope is not None:
                q, k = self.rope(q), self.rope(k)
            y = mx.fast.scaled_dot_product_attention(q, k, v, scale=8**-0.5, mask="causal")
            x = x + self.out[i](y.transpose(0, 2, 1, 3).reshape(batch, length, 32))
            x = x + self.down[i](nn.gelu(self.up[i](self.norms[2 * i + 1](x))))
        return self.tokens.as_linear(self.norms[4](x))


def convert(graph: cv.Graph, path: Path, check: bool = True, **options) -> Path:
    cv.convert(graph, path, precision="float32", layout="neural-engine", **options)
    if check:
        verify(path)
    return path


def operations(path: Path) -> dict[str, int]:
    return cv.inspect(path)["functions"]["main"]["operations"]


@pytest.mark.parametrize("name", ROWS)
def test_a_model_equals_mlx(name, tmp_path):
    row = MODELS[name]
    mx.random.seed(5)
    module = filled(row.make())
    graph = cv.capture(module, {n: spec_of(shape) for n, shape in row.inputs.items()}, dims=dict(row.dims))
    path = convert(graph, tmp_path / "model.mlpackage", check=name not in UNLIKE)
    for sizes in row.sizes:
        if 0 not in sizes.values():  # Core ML has no empty arrays
            report = cv.compare(module, path, draw(row, sizes))
            assert report.max_rel < 1e-5, f"{sizes}: {report}"


GPTS = {
    "places": {},
    "rotary": {"rotary": True, "norm": nn.RMSNorm},
    "traditional, heads normed": {"rotary": True, "traditional": True, "norm": nn.RMSNorm, "per_head": True},
    "LayerNorm of heads": {"rotary": True, "per_head": True},
}


@pytest.mark.parametrize("name", GPTS)
@pytest.mark.parametrize("length", [7, "length"])
def test_a_gpt_is_convolutions_and_attention_by_head(name, length, tmp_path):
    mx.random.seed(0)
    model = filled(Gpt(**GPTS[name]))
    graph = cv.capture(
        model,
        {"ids": cv.Spec((2, length), "int32")},
        dims={"length": (2, 40)} if length == "length" else None,
    )
    path = convert(graph, tmp_path / "gpt.mlpackage")
    for size in (7, 19) if length == "length" else (7,):
        ids = np.random.default_rng(0).integers(0, 60, (2, size)).astype(np.int32)
        report = cv.compare(model, path, {"ids": ids})
        assert report.max_rel < 1e-5, str(report)
    found = operations(path)
    assert (found["conv"], found["einsum"]) == (9, 16)
    assert not {"linear", "matmul", "scaled_dot_product_attention"} & set(found)
    # keys, in and out, and the tables of rotary positions
    limit = {"places": 4, "traditional, heads normed": 10}.get(name, 6)
    assert found["transpose"] <= limit, found


def test_tied_weights_are_stored_once(tmp_path):
    model = filled(Gpt())
    graph = cv.capture(model, {"ids": cv.Spec((1, 7), "int32")})
    plain = cv.convert(graph, tmp_path / "plain.mlpackage", precision="float32")
    path = convert(graph, tmp_path / "gpt.mlpackage")
    assert cv.inspect(path)["weight_bytes"] <= cv.inspect(plain)["weight_bytes"]


@pytest.mark.parametrize("ios", [15, 16, 17])
def test_older_systems(ios, tmp_path):
    model = filled(Gpt(rotary=True))
    graph = cv.capture(model, {"ids": cv.Spec((1, 7), "int32")})
    path = convert(graph, tmp_path / "gpt.mlpackage", minimum_ios=ios)
    assert cv.compare(model, path, {"ids": np.ones((1, 7), np.int32)}).max_rel < 1e-5


@pytest.mark.parametrize("scheme", ["int8", "palette4"])
def test_codes_of_weights_stay_codes(scheme, tmp_path):
    model = filled(Gpt())
    graph = cv.capture(model, {"ids": cv.Spec((1, 7), "int32")})
    ids = np.arange(7, dtype=np.int32)[None]
    results = []
    for layout in (None, "neural-engine"):
        path = cv.convert(
            graph,
            tmp_path / f"{layout}.mlpackage",
            precision="float32",
            quantize=scheme,
            layout=layout,
            calibration=[{"ids": ids}],
        )
        results.append(cv.load(path)(ids=ids)["output"])
    verify(path)
    assert "linear" not in operations(path)
    assert np.abs(results[0] - results[1]).max() < 1e-5 * np.abs(results[0]).max()


@pytest.mark.parametrize("length", [1, "length"])
def test_a_decoder_with_states(length, tmp_path):
    from test_coreml import Decoder, captured

    model = filled(Decoder())
    path = convert(captured(model, length), tmp_path / "m.mlpackage")
    count = 1 if length == 1 else 3
    calls = [{"ids": np.full((1, count), i, np.int32), "position": np.int32(count * i)} for i in range(5)]
    report = cv.compare(model, path, calls)
    assert report.max_rel < 1e-5, str(report)
    assert "linear" not in operations(path)


def test_what_it_is_not_for(tmp_path):
    graph = cv.capture(lambda x: x.reshape(-1) + 1, {"x": cv.Spec((2, 3))})
    with pytest.raises(cv.ConversionError, match="there are none here"):
        cv.convert(graph, tmp_path / "m.mlpackage", layout="neural-engine")
    with pytest.raises(cv.ConversionError, match="is for Apple"):
        cv.convert(graph, tmp_path / "m.onnx", layout="neural-engine")
    with pytest.raises(cv.ConversionError, match="'gpu' is unknown"):
        cv.convert(graph, tmp_path / "m.mlpackage", layout="gpu")


@pytest.mark.parametrize(
    ("form", "before", "after", "expected"),
    [
        (default_form(3), (2, 7, 32), (2, 7, 4, 8), Form((0,), (2, 3), (1,))),
        (Form((0,), (2, 3), (1,)), (2, 7, 4, 8), (2, 7, 32), default_form(3)),
        (default_form(4), (2, 4, 5, 8), (2, 20, 8), default_form(3)),
        (default_form(3), (2, 1, 8), (2, 8), Form((0,), (1,), ())),
        (HEADS, (2, 4, 7, 8), (8, 7, 8), None),
        (default_form(3), (2, 7, 32), (14, 32), None),
    ],
)
def test_reshapes_within_a_group_are_none(form, before, after, expected):
    assert form.reshaped(before, after) == expected


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_text", "phi3"])
def test_models_of_mlx_lm(name, tmp_path):
    pytest.importorskip("mlx_lm", reason="mlx-lm is a development dependency")
    from mlx_lm_configs import build

    from edgevision.stateful import StatefulDecoder

    decoder = StatefulDecoder(build(name), 32)
    path = convert(decoder.capture(1), tmp_path / "step.mlpackage")
    assert re.search("linear|matmul", " ".join(operations(path))) is None
    model, held = cv.load(path), [array.astype(mx.float16) for array in decoder.empty()]
    state = model.new_state()
    for position, token in enumerate([5, 17, 42, 8, 3]):
        ids = np.array([[token]], np.int32)
        wide = [array.astype(mx.float32) for array in held]
        wanted, *after = decoder(mx.array(ids), mx.array(position), *wide)
        held = [array.astype(mx.float16) for array in after]
        got = model(state=state, input_ids=ids, position=np.int32(position))["logits"]
        assert np.abs(got - np.array(wanted)).max() < 1e-5 * np.abs(np.array(wanted)).max()
