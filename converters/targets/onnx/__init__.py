"""ONNX: standard ops of opset 17 to 23, run by onnxruntime, browsers, OpenVINO and others."""

from converters.graph import Graph
from converters.targets.onnx.load import inspect, load
from converters.targets.onnx.write import write


def prepare(graph: Graph) -> Graph:
    """The graph as this target wants it before the passes: as it is, a picture comes in as the function's
    array."""
    return graph


def native_ops() -> set[str]:
    """The ops that have a rule of their own."""
    from converters.targets.onnx.rules import RULES

    return set(RULES)


__all__ = ["inspect", "load", "native_ops", "prepare", "write"]
