"""Quantising after training: a float graph becomes one with weights, and where it pays activations, in codes.

codes.py        numbers to codes; store.py keeps those of each weight
weights.py      weights as codes, arithmetic as before: 8 bits by channel, 4 bits by block, palettes
experts.py      the same for mixtures of experts
dynamic.py      linear layers in 8-bit integers, ranges found while they run
static.py       convolutional networks in 8-bit integers, ranges from calibration.py
report.py       size, time and error

Each target has a table of the schemes it takes, `SCHEMES`: a name to a function of (graph, codes, samples).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from converters.errors import ConversionError
from converters.graph import Graph
from converters.quantization.calibration import Feed, feeds, ranges
from converters.quantization.dynamic import with_dynamic_layers, with_patches
from converters.quantization.report import Quantization, kept_weights, measured, weight_bytes
from converters.quantization.static import convolution_share, rounded_values, with_static_layers
from converters.quantization.store import Codes

Scheme = Callable[[Graph, Codes, "Iterable[Feed] | None"], Graph]
CONVOLUTIONS_MATTER = 0.2  # share of the multiplications above which a graph is not left without calibration


def in_integers(graph: Graph, codes: Codes, samples: Iterable[Feed] | None) -> Graph:
    """Arithmetic in 8 bits: convolutions with calibrated ranges, linear layers with those of each run.

    Raises:
        ConversionError: convolutions do most of the work and nothing was given to calibrate with.
    """
    graph = with_patches(graph)
    share = convolution_share(graph)
    if samples is None and share > CONVOLUTIONS_MATTER:
        raise ConversionError(
            f'quantize="int8" needs calibration=: convolutions are {100 * share:.0f} % of the work',
            hint="give a list of typical inputs, dicts of arrays by input name; 100 are plenty",
        )
    values = rounded_values(graph)
    if samples is not None and values:
        graph = with_static_layers(graph, ranges(graph, values, samples))
    return with_dynamic_layers(graph, codes)


def weights_only(compress: Callable[[Graph, Codes], Graph]) -> Scheme:
    """A scheme that needs no data."""
    return lambda graph, codes, samples: compress(graph, codes)


def quantized(
    graphs: Mapping[str, Graph],
    scheme: str,
    schemes: Mapping[str, Scheme],
    samples: Mapping[str, Sequence[Feed] | None],
) -> tuple[dict[str, Graph], Quantization]:
    """The graphs after a target's scheme, and the report without what must be run.

    Args:
        samples: of each function's inputs, or None.

    Raises:
        ConversionError: the target has no such scheme, or it needs samples.
    """
    if scheme not in schemes:
        known = ", ".join(schemes) or "a later minimum_ios: compressed weights came with iOS 16"
        raise ConversionError(f"quantize={scheme!r} is not supported here", hint=f"use {known}")
    codes = Codes()
    changed = {name: schemes[scheme](graph, codes, samples[name]) for name, graph in graphs.items()}
    sizes = weight_bytes(graphs), weight_bytes(changed)
    return changed, Quantization(scheme, *sizes, kept_weights(changed, codes))


def samples_for(name: str, graphs: Mapping[str, Graph], calibration: Any) -> list[Feed] | None:
    """The inputs that were given for a function, or None."""
    if calibration is None:
        return None
    if len(graphs) > 1:
        if not isinstance(calibration, Mapping) or set(calibration) != set(graphs):
            raise ConversionError(f"calibration= must give inputs for each of {', '.join(graphs)}")
        calibration = calibration[name]
    return list(feeds(graphs[name], calibration))


__all__ = [
    "Codes",
    "Quantization",
    "Scheme",
    "in_integers",
    "measured",
    "quantized",
    "samples_for",
    "weights_only",
]
