"""Rotary positions and the split into queries, keys and values move into onnxruntime's attention, where what
the tables hold allows it; at every size the file computes what MLX does."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import onnxruntime
import pytest

import converters as cv
from converters import Dim, Spec

HEADS, GROUPS, WIDTH = 4, 2, 16
PAST = ("batch", GROUPS, "past", WIDTH)
SIZES = {"past": Dim(0, 31), "length": Dim(1, 32)}


class Step(nn.Module):
    """One attention over a cache, its queries and keys rotated by the place of each token."""

    def __init__(self, traditional=False, width=WIDTH, first=0, times=1, told=False, apart=False):
        super().__init__()
        mx.random.seed(0)
        self.query, self.key, self.value = (nn.Linear(24, n * WIDTH) for n in (HEADS, GROUPS, GROUPS))
        self.rotate = {"dims": width, "traditional": traditional, "base": 100.0, "scale": 1.0}
        self.first, self.times, self.told, self.apart = first, times, told, apart

    def __call__(self, x, real, past_keys, past_values, *offset):
        batch, length, _ = x.shape
        q, k, v = (
            part(x).reshape(batch, length, -1, WIDTH).transpose(0, 2, 1, 3)
            for part in (self.query, self.key, self.value)
        )
        past = past_keys.shape[2]
        place = offset[0] if self.told else past * self.times + self.first
        q = mx.fast.rope(q, offset=place, **self.rotate)
        k = mx.fast.rope(k, offset=0 if self.apart else place, **self.rotate)
        keys, values = mx.concatenate([past_keys, k], axis=2), mx.concatenate([past_values, v], axis=2)
        rows, columns = mx.arange(past, past + length)[:, None], mx.arange(past + length)[None]
        mask = (rows >= columns) & (real[:, None, None] | (rows == columns))
        y = mx.fast.scaled_dot_product_attention(q, keys, values, scale=0.25, mask=mask)
        return y.transpose(0, 2, 1, 3).reshape(batch, length, -1), keys, values


def written(step, path, dims=SIZES):
    inputs = {"x": Spec(("batch", "length", 24)), "real": Spec(("batch", "past + length"), "bool")}
    inputs |= {"past_keys": Spec(PAST), "past_values": Spec(PAST)}
    if step.told:
        inputs["offset"] = Spec((), "int32")
    outputs = ["y", "keys", "values"]
    states = {"past_keys": "keys", "past_values": "values"}
    known = {"past": Dim(0)}
    graph = cv.capture(step, inputs, outputs, dims=known, states=states, module=step)
    graph = graph.replace(dims={**graph.dims, **dims})
    file = cv.convert(graph, path / "step.onnx", runtime="onnxruntime")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return onnx.load(file).graph, session


def nodes_in(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes_in(attribute.g)


def feeds(batch, past, length):
    random = np.random.default_rng(past)
    real = np.arange(past + length) >= np.arange(batch)[:, None]  # the second text is one shorter, and so on
    x, *caches = (
        random.normal(size=shape).astype(np.float32)
        for shape in ((batch, length, 24), *2 * [(batch, GROUPS, past, WIDTH)])
    )
    return {"x": x, "real": real, "past_keys": caches[0], "past_values": caches[1]}


def agrees(step, session, batch, past, length, **more):
    given = feeds(batch, past, length) | more
    expected = step(*map(mx.array, given.values()))
    for found, wanted in zip(session.run(None, given), expected, strict=True):
        np.testing.assert_allclose(found, np.array(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [0, 3])
def test_the_attention_rotates(first, tmp_path):
    step = Step(first=first)
    graph, session = written(step, tmp_path)
    outside = {node.op_type for node in graph.node}
    assert not outside & {"RotaryEmbedding", "Split", "Cos", "Sin"}
    (attention,) = (node for node in nodes_in(graph) if node.op_type == "GroupQueryAttention")
    given = {attribute.name: attribute.i for attribute in attention.attribute}
    assert given["do_rotary"] == 1
    assert not given.get("rotary_interleaved")  # which browsers' GPUs refuse
    assert list(attention.input[1:3]) == ["", ""]
    for batch, past, length in ((1, 0, 1), (1, 0, 7), (1, 5, 1), (1, 31, 1), (1, 3, 4), (3, 0, 5), (3, 4, 1)):
        agrees(step, session, batch, past, length)


def test_several_tokens_after_others_in_several_texts(tmp_path):
    """What onnxruntime's own op refuses is rotated and split in a branch beside it."""
    step = Step()
    _, session = written(step, tmp_path)
    for batch, past, length in ((2, 3, 4), (3, 1, 2), (2, 29, 3)):
        agrees(step, session, batch, past, length)


def test_more_tokens_than_the_tables_hold_are_an_error(tmp_path):
    _, session = written(Step(), tmp_path)
    with pytest.raises(Exception, match="cos_cache"):
        session.run(None, feeds(1, 32, 1))


@pytest.mark.parametrize(
    ("step", "dims"),
    [
        (Step(told=True), SIZES),  # an input says where the text is
        (Step(times=2), SIZES),  # the cache counts twice
        (Step(apart=True), SIZES),  # keys by other places than queries
        (Step(traditional=True), SIZES),  # neighbours make the pairs
        (Step(width=8), SIZES),  # a half of each head
        (Step(), {}),  # no longest text is known
    ],
    ids=["told", "twice", "apart", "neighbours", "half", "open"],
)
def test_other_rotations_stay_apart(step, dims, tmp_path):
    graph, session = written(step, tmp_path, dims)
    nodes = list(nodes_in(graph))
    assert "RotaryEmbedding" in {node.op_type for node in graph.node}
    attentions = [node for node in nodes if node.op_type == "GroupQueryAttention"]
    assert not any(attribute.name == "do_rotary" for node in attentions for attribute in node.attribute)
    more = {"offset": np.array(2, np.int32)} if step.told else {}
    for batch, past, length in ((1, 0, 4), (1, 5, 1), (2, 3, 4)):
        agrees(step, session, batch, past, length, **more)
