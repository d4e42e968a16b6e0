"""Fused ops as Core AI's composites: a private function whose name and attributes tell a backend what it may
compute in one go; its body, the op's expansion, is what others run. Layers of equal shapes share one.

The names and attributes are those that Apple's own converter from PyTorch writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from converters.graph import Builder, Graph, Node, Value
from converters.ops import OPS
from converters.sizes import names_in


@dataclass(frozen=True)
class Composite:
    """How Core AI calls an op.

    Attributes:
        name: of the composite. operands: their names; a node may have fewer.
        attributes: node to what the declaration tells.
        refusal: node to the reason why it is expanded instead, or None.
    """

    name: str
    operands: tuple[str, ...]
    attributes: Callable[[Node], dict[str, Any]]
    refusal: Callable[[Node], str | None]

    def why_not(self, node: Node) -> str | None:
        """The reason why the node is expanded, or None."""
        known = {name for value in node.inputs for size in value.shape for name in names_in(size)}
        if not {name for value in node.outputs for size in value.shape for name in names_in(size)} <= known:
            return "a size that its operands do not tell"
        return self.refusal(node)

    def body(self, node: Node) -> Graph:
        """The op's expansion as a graph of its own."""
        names = self.operands[: len(node.inputs)]
        inputs = [Value(n, v.shape, v.dtype) for n, v in zip(names, node.inputs, strict=True)]
        b = Builder()
        expand = OPS[node.op].expand
        assert expand is not None
        output = expand(b, *inputs, **node.attrs)
        assert isinstance(output, Value)
        return Graph(tuple(inputs), {"output": output}, tuple(b.nodes), b.constants)

    def declaration(self, node: Node) -> str:
        """The attribute, as MLIR text."""
        told = {**self.attributes(node), "version": 1}
        fields = {
            "input_names": _text(list(self.operands[: len(node.inputs)])),
            "op_attrs": "{" + ", ".join(f"{key} = {_text(told[key])}" for key in sorted(told)) + "}",
            "output_names": _text(["output"]),
        }
        inner = ", ".join(f"{key} = {value}" for key, value in fields.items())
        return f'#coreai.composite_declaration<"{self.name}" = {{{inner}}}>'


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value} : si64"
    if isinstance(value, float):
        return f"{value:.9e} : f32"
    if isinstance(value, str):
        return f'"{value}"'
    return "[" + ", ".join(_text(item) for item in value) + "]"


def _norm_attributes(node: Node) -> dict[str, Any]:
    return {"axes": [len(node.output.shape) - 1], "eps": float(node.attrs["eps"])}


def _count(wanted: int) -> Callable[[Node], str | None]:
    return lambda node: None if len(node.inputs) == wanted else f"it takes {wanted} operands"


def _refuse_attention(node: Node) -> str | None:
    if node.attrs["heads"] or node.attrs["causal"] or node.attrs["sinks"]:
        return "heads apart, the mask given, and no sinks"
    return None


def _attention_attributes(node: Node) -> dict[str, Any]:
    return {"is_causal": False, "scale": float(node.attrs["scale"]), "window_size": 0}


def _refuse_rope(node: Node) -> str | None:
    x, *tables = node.inputs
    if node.attrs["heads"] or len(x.shape) != 4:
        return "heads apart, (B, H, L, D)"
    fits = all(len(t.shape) in (2, 4) and t.shape[-2] == x.shape[-2] for t in tables)
    whole = x.shape[-1] == 2 * tables[0].shape[-1]
    return None if fits and whole else "positions before the last axis, all of a head turned"


def _rope_attributes(node: Node) -> dict[str, Any]:
    return {"base": 10000.0, "interleaved": bool(node.attrs["traditional"]), "scale": 1.0}


COMPOSITES = {
    "RMSNorm": Composite("rms_norm", ("input", "scale"), _norm_attributes, _count(2)),
    "LayerNorm": Composite("layer_norm", ("input", "gamma", "beta"), _norm_attributes, _count(3)),
    "ChannelLayerNorm": Composite(
        "layer_norm",
        ("input", "gamma", "beta"),
        lambda node: {"axes": [1], "eps": float(node.attrs["eps"])},
        _count(3),
    ),
    "ScaledDotProductAttention": Composite(
        "scaled_dot_product_attention",
        ("query", "key", "value", "attn_mask"),
        _attention_attributes,
        _refuse_attention,
    ),
    "RoPE": Composite("rope", ("input", "cos", "sin"), _rope_attributes, _refuse_rope),
}

__all__ = ["COMPOSITES", "Composite"]
