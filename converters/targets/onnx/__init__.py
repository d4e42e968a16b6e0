"""ONNX: standard ops of opset 17 to 23, run by onnxruntime, browsers, OpenVINO and others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.graph import Graph
from converters.targets.onnx.load import inspect, load
from converters.targets.onnx.write import write

if TYPE_CHECKING:
    from converters.convert import Options
    from converters.quantization import Scheme


def prepare(graph: Graph) -> Graph:
    """The graph as this target wants it before the passes: as it is, a picture comes in as the function's
    array."""
    return graph


def refine(graph: Graph, options: Options) -> Graph:
    """The graph after the passes, as its runtime has it fastest."""
    from converters.targets.onnx.centring import with_centred_streams

    return with_centred_streams(graph) if options.runtime == "onnxruntime" and options.opset >= 23 else graph


def native_ops() -> set[str]:
    """The ops that have a rule of their own."""
    from converters.targets.onnx.rules import RULES

    return set(RULES)


def schemes(options: Options) -> dict[str, Scheme]:
    """How this target is quantised, by name; "int4" needs opset 21 or onnxruntime's own ops."""
    from converters.quantization import in_integers, weights_only
    from converters.quantization.weights import in_packed_blocks

    return {"int8": in_integers, "int4": weights_only(in_packed_blocks)}


__all__ = ["inspect", "load", "native_ops", "prepare", "refine", "schemes", "write"]
