"""Linear layers in 8-bit integers, the range of their input found each time they run.

y = Linear(x, weight, bias)         ->   y = DynamicLinear(x, codes, scales, bias)

c = Convolution(Transpose(x), w, b)      p = Reshape(x, shape=(B, H / 16, 16, W / 16, 16·C))
y = Transpose(c)                    ->   q = Transpose(p, axes=(0, 1, 3, 2, 4))
                                         y = Linear(Reshape(q, shape=(B, H / 16, W / 16, 256·C)), w, b)

As in Zafrir et al. 2019 ("Q8BERT"): a scale for each output, one for the whole input. A convolution whose
windows lie side by side, as a Vision Transformer's first layer, is a linear layer of the patches.
"""

from __future__ import annotations

from math import prod

from converters.graph import Builder, Graph, Value
from converters.ops.convolution import to_first, to_last
from converters.pattern import Match, Rule, const, op, rewrite, var
from converters.quantization.store import Codes, channels_of
from converters.quantization.weights import picked
from converters.sizes import divide


def with_dynamic_layers(graph: Graph, codes: Codes) -> Graph:
    """Linear layers as DynamicLinear; embeddings and experts as 8-bit codes."""

    def replace(b: Builder, m: Match) -> Value:
        x, weight, *bias = m.root.inputs
        whole, scales = channels_of(b, weight, codes)
        return b("DynamicLinear", x, whole, b("Reshape", scales, shape=scales.shape[:1]), *bias)

    rules = (
        Rule("dynamic", op("Linear", var("x"), const("w")), replace, codes.refusal),
        Rule("dynamic", op("Linear", var("x"), const("w"), var("bias")), replace, codes.refusal),
    )
    return rewrite(graph, (*rules, *picked(codes)))


def with_patches(graph: Graph) -> Graph:
    """Convolutions whose windows lie side by side, between channels-last arrays, as linear layers."""
    return rewrite(graph, PATCHES)


def _check(m: Match) -> str | None:
    node = m.node("y")
    attrs, kernel = node.attrs, node.inputs[1].shape[2:]
    if m.root.attrs["axes"] != to_last(len(m.root.output.shape)) or m.node("t").attrs["axes"] != to_first(4):
        return "channels do not come last around it"
    if "r" in m.bound and m["r"].shape[:2] != m["y"].shape[:2]:
        return "more than positions are joined"
    plain = attrs["channels_first"] and attrs["groups"] == 1 and not attrs["flip"]
    dense = all(step == 1 for step in (*attrs["dilation"], *attrs["input_dilation"]))
    if not plain or not dense or any((*attrs["low"], *attrs["high"])):
        return "no plain convolution"
    if tuple(attrs["strides"]) != kernel or min(kernel) < 2:  # type: ignore[type-var]
        return "the windows do not lie side by side"
    cut = [
        size - step * out for size, step, out in zip(m["x"].shape[1:3], kernel, m["y"].shape[2:], strict=True)
    ]
    return "some pixels are in no window" if any(cut) else None


def _patches(b: Builder, m: Match) -> Value:
    _, weight, *bias = m.node("y").inputs
    batch, height, width, channels = m["x"].shape
    outputs, _, tall, wide = (int(size) for size in weight.shape)  # type: ignore[arg-type]
    rows, columns = divide(height, tall), divide(width, wide)
    x = b("Reshape", m["x"], shape=(batch, rows, tall, columns, wide * channels))
    x = b("Transpose", x, axes=(0, 1, 3, 2, 4))
    matrix = b.constants[weight].transpose(0, 2, 3, 1).reshape(outputs, -1)
    x = b("Reshape", x, shape=(batch, rows, columns, prod(matrix.shape[1:])))
    y = b("Linear", x, b.constant(matrix, weight.name), *bias)
    return b("Reshape", y, shape=m.root.output.shape) if "r" in m.bound else y


_TURNED = op("Transpose", var("x"), name="t")
_LAYERS = [op("Convolution", _TURNED, const("w"), *bias, name="y") for bias in ((), (const("b"),))]

PATCHES = tuple(
    Rule("patches", op("Transpose", given), _patches, _check)
    for layer in _LAYERS
    for given in (layer, op("Reshape", layer, name="r"))  # positions become tokens, before or after
)
