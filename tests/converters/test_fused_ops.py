"""Fused ops: their NumPy meaning, their expansion into simpler ops, and what ONNX computes, are the same."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from rewriting import TOLERANCES

import converters as cv
from converters.dtypes import is_float, numpy_dtype
from converters.graph import Builder, Graph, Value
from converters.lower import legalize
from converters.ops import OPS, activation, attention, channels, normalization, rotary
from converters.sizes import Shape, parse, substitute

SIZES = {"B": 2, "L": 3, "P": 4}


@dataclass(frozen=True)
class Fused:
    """One row: an op, the shapes of its operands (a type follows a colon), its attributes."""

    op: str
    operands: tuple[str, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    onnx: bool = True
    dtype: str = "float32"

    def graph(self) -> Graph:
        b = Builder()
        inputs = tuple(_value(f"x{index}", text, self.dtype) for index, text in enumerate(self.operands))
        results = b.outputs(self.op, *inputs, **self.attrs)
        named = {f"y{index}": value for index, value in enumerate(results)}
        return Graph(inputs, named, tuple(b.nodes), b.constants)

    def __str__(self) -> str:
        attrs = ",".join(f"{name}={value}" for name, value in self.attrs.items())
        return f"{self.op}-{'x'.join(self.operands)}-{attrs}-{self.dtype}".replace(" ", "")


def _value(name: str, text: str, dtype: str) -> Value:
    sizes, _, own = text.partition(":")
    shape: Shape = tuple(parse(size) for size in sizes.split(",") if size.strip())
    return Value(name, shape, own or dtype)


def arrays(graph: Graph) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    made = []
    for value in graph.inputs:
        shape = substitute(value.shape, SIZES)
        array = random.normal(size=shape) if is_float(value.dtype) else random.random(shape) < 0.7
        made.append(array.astype(numpy_dtype(value.dtype)))
    return made


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.shape == wanted.shape
    wide = wanted.astype(np.float64)
    tolerance = TOLERANCES.get(wanted.dtype.name, 1e-5) * max(1.0, float(np.abs(wide).max()))
    np.testing.assert_allclose(got.astype(np.float64), wide, rtol=0, atol=tolerance)


SCALE = {"scale": 0.3, "causal": False}
PLAIN = {**SCALE, "sinks": False, "heads": ()}
PACKED = {**PLAIN, "heads": (4, 2)}
APART = ("B,4,L,8", "B,2,L + P,8", "B,2,L + P,6")
TOGETHER = ("B,L,32", "B,L,16", "B,L,12")
PAST = ("B,2,P,8", "B,2,P,6")

ATTENTIONS = [
    Fused("ScaledDotProductAttention", APART, PLAIN),
    Fused("ScaledDotProductAttention", APART, {**PLAIN, "causal": True}),
    Fused("ScaledDotProductAttention", ("B,4,L,8", "B,4,L,8", "B,4,L,8"), {**PLAIN, "causal": True}),
    *(
        Fused("ScaledDotProductAttention", (*APART, mask), PLAIN)
        for shape in ("L,L + P", "1,1,L,L + P", "B,1,L,L + P", "B,4,L,L + P")
        for mask in (shape, f"{shape}:bool")
    ),
    Fused("ScaledDotProductAttention", (*APART, "L,L + P:bool"), {**PLAIN, "causal": True}),
    Fused("ScaledDotProductAttention", (*APART, "L,L + P"), {**PLAIN, "causal": True}),
    Fused("ScaledDotProductAttention", (*APART, "4"), {**PLAIN, "sinks": True}),
    Fused("ScaledDotProductAttention", (*APART, "B,1,L,L + P:bool", "4"), {**PLAIN, "sinks": True}),
    Fused("ScaledDotProductAttention", TOGETHER, PACKED),
    Fused("ScaledDotProductAttention", (*TOGETHER, "L,L"), PACKED),
    Fused("ScaledDotProductAttention", TOGETHER, {**PACKED, "causal": True}),
    Fused("CachedAttention", ("B,4,L,8", "B,2,L,8", "B,2,L,6", *PAST), {**SCALE, "ahead": True, "heads": ()}),
    Fused("CachedAttention", (*TOGETHER, *PAST), {**SCALE, "ahead": True, "heads": (4, 2)}),
    Fused("CachedAttention", (*TOGETHER, *PAST), {**SCALE, "ahead": True, "causal": True, "heads": (4, 2)}),
    Fused(
        "CachedAttention", (*TOGETHER, *PAST, "B,1,L,L + P:bool"), {**SCALE, "ahead": True, "heads": (4, 2)}
    ),
]
ROTATIONS = [
    Fused("RoPE", (x, table, table), {"traditional": traditional, "heads": heads})
    for x, tables, heads in (
        ("B,4,L,8", ("L,4", "L,3", "1,1,L,4", "B,1,L,4"), 0),
        ("B,L,32", ("L,4", "L,3", "B,L,4"), 4),
    )
    for table in tables
    for traditional in (False, True)
]
FORMS = [
    {"groups": g, "eps": 1e-5, "interleaved": i, "channels_first": c}
    for g in (2, 6)
    for i in (False, True)
    for c in (False, True)
]
NORMS = [
    *(Fused("LayerNorm", ("B,L,6", *["6"] * count), {"eps": 1e-5}) for count in range(3)),
    *(Fused("RMSNorm", ("B,L,6", *["6"] * count), {"eps": 1e-5}) for count in range(2)),
    Fused("LayerNorm", ("B,L",), {"eps": 1e-5}),
    Fused("RMSNorm", ("B,L",), {"eps": 1e-5}),
    *(Fused("GroupNorm", ("B,6,5,6", *["6"] * count), form) for form in FORMS for count in range(3)),
]
ACTIVATIONS = [
    Fused("ReLU", ("B,7",)),
    *(Fused("GELU", ("B,7",), {"approximate": form}) for form in activation.GELU_FORMS),
    Fused("SiLU", ("B,7",)),
    Fused("LeakyReLU", ("B,7",), {"slope": 0.1}),
    Fused("ELU", ("B,7",), {"alpha": 0.7}),
    Fused("Hardswish", ("B,7",)),
    Fused("Softplus", ("B,7",)),
    Fused("Mish", ("B,7",)),
    Fused("Clip", ("B,7",), {"low": -0.5, "high": 0.7}),
    Fused("LogSoftmax", ("B,7,5",), {"axis": 1}),
]
REPEATS = [Fused("Repeat", ("B,3,L,5",), {"repeats": times}) for times in ((1, 1, 2, 3), (1, 2, 1, 1))]
BY_CHANNELS = [
    Fused("ChannelMatmul", ("B,8,1,L", "B,L,1,L + P")),
    *(Fused("ChannelLayerNorm", ("B,6,1,L", *["6"] * count), {"eps": 1e-5}) for count in range(3)),
]
ROWS = [*ATTENTIONS, *ROTATIONS, *NORMS, *ACTIVATIONS, *REPEATS, *BY_CHANNELS]
HALF = [
    Fused(row.op, row.operands, row.attrs, dtype=dtype)
    for row in (
        ATTENTIONS[0],
        ATTENTIONS[-2],
        ROTATIONS[0],
        *NORMS[:5],
        NORMS[-1],
        *ACTIVATIONS,
        *BY_CHANNELS,
    )
    for dtype in ("float16", "bfloat16")
]


def test_every_fused_op_has_a_row():
    families = (activation, attention, channels, normalization, rotary)
    assert {row.op for row in ROWS} == {op.name for family in families for op in family.OPS} | {"Repeat"}


@pytest.mark.parametrize("row", [*ROWS, *HALF], ids=str)
def test_the_expansion_is_the_meaning(row):
    graph = row.graph()
    graph.verify()
    fused = set(OPS) & {
        op.name for family in (activation, attention, normalization, rotary) for op in family.OPS
    }
    simple = legalize(graph, lambda node, _: "expand" if node.op in fused | {"Repeat"} else None)
    simple.verify()
    assert not {node.op for node in simple.nodes} & fused
    inputs = arrays(graph)
    wanted, got = graph.evaluate(*inputs), simple.evaluate(*inputs)
    for name, array in wanted.items():
        close(got[name], array)


@pytest.mark.parametrize("opset", [23, 18])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_onnxruntime_computes_the_meaning(row, opset, tmp_path):
    graph = row.graph()
    model = cv.load(cv.convert(graph, tmp_path / "op.onnx", opset=opset))
    inputs = arrays(graph)
    wanted = graph.evaluate(*inputs)
    got = model(**{value.name: array for value, array in zip(graph.inputs, inputs, strict=True)})
    for name, array in wanted.items():
        close(got[name], array)


@pytest.mark.parametrize("row", [row for row in ATTENTIONS if row.operands[-1].endswith("bool")], ids=str)
def test_a_row_that_sees_nothing_gives_the_mean_as_in_mlx(row, tmp_path):
    graph = row.graph()
    inputs = arrays(graph)
    inputs[-1][..., 0, :] = False
    wanted = graph.evaluate(*inputs)
    model = cv.load(cv.convert(graph, tmp_path / "op.onnx"))
    got = model(**{value.name: array for value, array in zip(graph.inputs, inputs, strict=True)})
    close(got["y0"], wanted["y0"])
