"""Activations that ONNX has as one op."""

from __future__ import annotations

from converters.graph import Node
from converters.targets.onnx.rules.lowering import Lowering, renamed
from converters.targets.onnx.writer import Writer


def _gelu(w: Writer, node: Node) -> None:
    w.emit("Gelu", node, approximate=node.attrs["approximate"])


def _refuse_gelu(opset: int, node: Node) -> str | None:
    if node.attrs["approximate"] == "sigmoid":
        return "the sigmoid form"
    return None if opset >= 20 else "Gelu came with opset 20"


def _with(op_type: str, **attrs: str) -> Lowering:
    """The ONNX op with attributes, each from an attribute of ours."""
    return Lowering(lambda w, node: w.emit(op_type, node, **{k: node.attrs[v] for k, v in attrs.items()}))


def _clip(w: Writer, node: Node) -> None:
    bounds = [w.constant(node.attrs[name], node.output.dtype) for name in ("low", "high")]
    w.emit("Clip", node, *bounds)


def _refuse_mish(opset: int, node: Node) -> str | None:
    return None if opset >= 18 else "Mish came with opset 18"


RULES = {
    "ReLU": renamed("Relu"),
    "GELU": Lowering(_gelu, _refuse_gelu),
    "LeakyReLU": _with("LeakyRelu", alpha="slope"),
    "ELU": _with("Elu", alpha="alpha"),
    "Hardswish": renamed("HardSwish"),
    "Softplus": renamed("Softplus"),
    "Mish": Lowering(lambda w, node: w.emit("Mish", node), _refuse_mish),
    "Clip": Lowering(_clip),
    "LogSoftmax": _with("LogSoftmax", axis="axis"),
}
