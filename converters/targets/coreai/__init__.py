"""Core AI: `.aimodel` for iOS 27 and macOS 27, run by Apple's own runtime on Linux as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.graph import Graph
from converters.targets.coreai.load import inspect, load
from converters.targets.coreai.write import write

if TYPE_CHECKING:
    from converters.convert import Options
    from converters.quantization import Scheme


def prepare(graph: Graph) -> Graph:
    """The graph before the passes, as it is: a picture comes in as the function's array."""
    return graph


def refine(graph: Graph, options: Options) -> Graph:
    """The graph after the passes, as it is."""
    return graph


def native_ops() -> set[str]:
    """The ops that have a rule of their own."""
    from converters.targets.coreai.rules import RULES

    return set(RULES)


def schemes(options: Options) -> dict[str, Scheme]:
    """How this target is quantised, by name: weights only."""
    from converters.quantization import weights_only
    from converters.quantization.weights import in_blocks, in_channels, in_palette

    found = {"int8": weights_only(in_channels), "int4": weights_only(in_blocks)}
    return found | {f"palette{bits}": weights_only(in_palette(bits)) for bits in (4, 6, 8)}


__all__ = ["inspect", "load", "native_ops", "prepare", "refine", "schemes", "write"]
