"""Caches that grow in place give what those handed from call to call give, also where a buffer is widened."""

import mlx.core as mx
import numpy as np
import onnx
import onnxruntime
import pytest

from edgevision import pretrained
from edgevision.export_language import export_language
from edgevision.inference import onnx_engine
from edgevision.inference.writers import open_writer
from edgevision.models import decoder_lm
from edgevision.text.tokenizer import train_tokenizer


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def packed(request, tmp_path_factory):
    """The int4 export of an untrained model."""
    root = tmp_path_factory.mktemp(request.param)
    tokenizer = train_tokenizer("characters", ["First Citizen: speak"], None)
    groups = 2 if request.param == "llama" else None
    config = decoder_lm.Config(request.param, tokenizer.size, 96, 2, 4, key_value_heads=groups, width=64)
    mx.random.seed(1)
    (root / "run").mkdir()
    pretrained.save(root / "run", decoder_lm.Model(config), tokenizer, {})
    return root / "run", export_language(root / "run", ["onnx"], root / "out", quantize="int4")[0]


def test_both_kinds_of_cache_agree(packed, monkeypatch):
    _, file = packed
    monkeypatch.setattr(onnx_engine, "ROOM", 4)
    in_place = open_writer(file).start()
    assert isinstance(in_place, onnx_engine.InPlace)
    handed_on = onnx_engine.HandedOn(
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]),
        in_place.past,
        {name: onnx_engine._value(array[:, :, :0].copy()) for name, array in in_place.arrays.items()},
    )
    rooms = []
    for ids in ([3, 1, 4], [1], [5], [9, 2, 6], *([token % 7] for token in range(40))):
        np.testing.assert_allclose(in_place(ids), handed_on(ids), rtol=1e-4, atol=1e-5)
        rooms.append(in_place.room)
    assert len(set(rooms)) > 2
    assert rooms == sorted(rooms)


def test_the_cache_and_the_residual_stream_have_onnxruntime_s_own_ops(packed):
    _, file = packed
    nodes = onnx.load(file).graph.node
    ops = [node.op_type for node in nodes]
    branches = [attribute.g for node in nodes if node.op_type == "If" for attribute in node.attribute]
    assert [one.node[-1].op_type for one in branches] == 2 * ["GroupQueryAttention", "Attention"]
    sums = 4 if "RMSNormalization" in ops else 0  # GPT-2 has LayerNorms
    assert ops.count("SkipSimplifiedLayerNormalization") == sums
    assert "Attention" not in ops


def test_files_of_another_precision_hand_their_cache_on(packed, tmp_path):
    run, _ = packed
    (file,) = export_language(run, ["onnx"], tmp_path, precision="float16")
    assert "GroupQueryAttention" not in {node.op_type for node in onnx.load(file).graph.node}
    assert type(open_writer(file).start()) is onnx_engine.HandedOn
