"""What the user gives to calibrate with, and the ranges of a float graph's values on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.graph import Graph, Value
from converters.specs import Image

MOST = 1000  # samples that are read of an endless iterable
Feed = dict[str, np.ndarray]


def feeds(graph: Graph, given: Any, most: int = MOST) -> Iterator[Feed]:
    """Inputs by name from an iterable of dicts, of arrays (one input), or of tuples (in the inputs' order).

    Raises:
        ConversionError: it is none of these, or empty.
    """
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        given = [given]
    count = 0
    for count, sample in enumerate(islice(given, most), 1):  # noqa: B007
        yield _feed(graph, sample)
    if count == 0:
        raise ConversionError("calibration= is empty", hint="give some inputs as the model will see them")


def _feed(graph: Graph, sample: Any) -> Feed:
    from converters.artifact import image_array

    names = [value.name for value in graph.inputs]
    if not isinstance(sample, Mapping):
        parts = sample if isinstance(sample, tuple) else (sample,)
        if len(parts) != len(names):
            raise ConversionError(
                f"calibration= gives {len(parts)} arrays for the inputs {', '.join(names)}",
                hint="give dicts of arrays by input name",
            )
        sample = dict(zip(names, parts, strict=True))
    missing = sorted(set(names) ^ set(sample))
    if missing:
        raise ConversionError(f"calibration= must give {', '.join(names)}; differs in {', '.join(missing)}")
    feed = {}
    for name in names:
        spec = graph.images.get(name)
        feed[name] = image_array(spec, sample[name]) if isinstance(spec, Image) else np.asarray(sample[name])
    return feed


def ranges(
    graph: Graph, values: Sequence[Value], samples: Iterable[Feed]
) -> dict[Value, tuple[float, float]]:
    """The lowest and highest element of each value over all samples, computed by onnxruntime.

    Raises:
        ConversionError: a value becomes nan or infinite.
    """
    low, high = dict.fromkeys(values, 0.0), dict.fromkeys(values, 0.0)
    given = {value.name: value for value in values if value in graph.inputs}
    watched = {f"range{index}": value for index, value in enumerate(values) if value not in given.values()}
    names = graph.replace(outputs=watched, states={})
    with tempfile.TemporaryDirectory() as folder:
        from converters.convert import Options
        from converters.targets.onnx import load, write

        path = write({"main": names}, Path(folder) / "watched.onnx", Options())
        model = load(path, "cpu")
        for feed in samples:
            results = {watched[name]: array for name, array in model(**feed).items()}
            results |= {value: feed[name] for name, value in given.items()}
            for value, array in results.items():
                if not np.isfinite(array).all():
                    raise ConversionError("the calibration inputs make values that are not finite")
                low[value] = min(low[value], float(array.min(initial=0)))
                high[value] = max(high[value], float(array.max(initial=0)))
    return {value: (low[value], high[value]) for value in values}
