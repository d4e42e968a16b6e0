"""Core ML: ML Programs for iOS 15 to 18 and macOS 12 to 15, run by Core ML on macOS and by our interpreter
elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.targets.coreml.load import inspect, load
from converters.targets.coreml.pictures import prepare
from converters.targets.coreml.write import write

if TYPE_CHECKING:
    from converters.convert import Options
    from converters.graph import Graph
    from converters.quantization import Scheme


def refine(graph: Graph, options: Options) -> Graph:
    """The graph after the passes, as it is."""
    return graph


def native_ops() -> set[str]:
    """The ops that have a rule of their own."""
    from converters.targets.coreml.rules import RULES

    return set(RULES)


def schemes(options: Options) -> dict[str, Scheme]:
    """How this target is quantised, by name: weights only, from iOS 16 on, in blocks from iOS 18 on."""
    from converters.quantization import weights_only
    from converters.quantization.weights import in_blocks, in_channels, in_palette

    if options.minimum_ios < 16:
        return {}
    found = {"int8": weights_only(in_channels)}
    found |= {f"palette{bits}": weights_only(in_palette(bits)) for bits in (4, 6, 8)}
    return found | ({"int4": weights_only(in_blocks)} if options.minimum_ios >= 18 else {})


__all__ = ["inspect", "load", "native_ops", "prepare", "refine", "schemes", "write"]
