"""Compile any MLX function to ONNX or Core ML, run the result on any system, and prove that it computes the
same.

import converters as cv

graph = cv.capture(model, {"image": cv.Spec(("batch", 28, 28, 1))}, outputs=["logits"])
cv.convert(graph, "model.onnx")
cv.load("model.onnx")(image=array)["logits"]
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.capture import capture
    from converters.compare import Report, compare
    from converters.convert import convert, inspect, load, supported_ops
    from converters.errors import (
        CaptureError,
        ConversionError,
        LoadError,
        OutputExists,
        ParityError,
        ShapeError,
        UnsupportedOp,
    )
    from converters.graph import Dim, Graph
    from converters.specs import Image, Spec

_HOMES = {
    "capture": "capture",
    "Report": "compare",
    "compare": "compare",
    "convert": "convert",
    "inspect": "convert",
    "load": "convert",
    "supported_ops": "convert",
    **dict.fromkeys(
        (
            "CaptureError",
            "ConversionError",
            "LoadError",
            "OutputExists",
            "ParityError",
            "ShapeError",
            "UnsupportedOp",
        ),
        "errors",
    ),
    "Dim": "graph",
    "Graph": "graph",
    "Image": "specs",
    "Spec": "specs",
}


class _Package(ModuleType):
    """Where a function and its file share a name (capture, compare, convert), the package's attribute is
    the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        shared = name in _HOMES and isinstance(value, ModuleType)
        super().__setattr__(name, getattr(value, name) if shared else value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first used, so that importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'converters' has no attribute {name!r}")
    value = getattr(import_module(f"converters.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "CaptureError",
    "ConversionError",
    "Dim",
    "Graph",
    "Image",
    "LoadError",
    "OutputExists",
    "ParityError",
    "Report",
    "ShapeError",
    "Spec",
    "UnsupportedOp",
    "capture",
    "compare",
    "convert",
    "inspect",
    "load",
    "supported_ops",
]
