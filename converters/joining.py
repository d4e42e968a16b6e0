"""Several traces of one function become one trace with formulas in place of the integers that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from converters import ramps
from converters.errors import CaptureError
from converters.fit import Fitter
from converters.sizes import substitute

if TYPE_CHECKING:
    from converters.capture import Trace


class Difference(CaptureError):
    """Two traces that no formula joins."""


def compare_structure(traces: Sequence[Trace], samples: Sequence[dict[str, int]]) -> None:
    """Difference where the operations or their connections are not the same."""
    first = traces[0]
    for trace, sample in zip(traces[1:], samples[1:], strict=False):
        for index, (a, b) in enumerate(zip(first.records, trace.records, strict=False)):
            if a[0] != b[0] or a[2] != b[2] or len(a[3]) != len(b[3]):
                raise _difference(index, a[0], b[0], samples[0], sample)
        if len(first.records) != len(trace.records):
            shorter = min(len(first.records), len(trace.records))
            a, b = (t.records[shorter][0] if len(t.records) > shorter else "nothing" for t in (first, trace))
            raise _difference(shorter, a, b, samples[0], sample)
        if [o[0] for o in first.outputs] != [o[0] for o in trace.outputs]:
            raise _difference(len(first.records), "outputs", "other outputs", samples[0], sample)


def _difference(index: int, a: str, b: str, sizes: dict[str, int], others: dict[str, int]) -> Difference:
    b = b if a != b else f"{b} of other operands"
    differing = [name for name in sizes if sizes[name] != others[name]] or list(sizes)
    return Difference(
        f"operation {index + 1} depends on the size: {a} at {sizes_text(sizes)}, {b} at {sizes_text(others)}",
        hint=f"fix {' or '.join(differing)}, or bound it with dims={{...}} to sizes with one structure",
    )


def sizes_text(sizes: Mapping[str, int]) -> str:
    """`length=3, past=0` for a message."""
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def merge(traces: Sequence[Trace], samples: Sequence[dict[str, int]], against: Trace | None = None) -> Trace:
    """One trace with a `Size` wherever the traces differ; with `against`, only check that its formulas
    hold."""
    compare_structure(traces, samples)
    if against is not None:
        compare_structure([traces[0], against], [samples[0], samples[0]])
        _check(traces[0], against, samples[0])
        return against
    fitter = Fitter(samples)
    merged = type(traces[0])()
    merged.inputs, merged.outputs = list(traces[0].inputs), list(traces[0].outputs)
    for key in traces[0].constants:
        merged.constants[key] = _merge_constants([t.constants[key] for t in traces], fitter, samples)
    for index, (name, _, operands, _) in enumerate(traces[0].records):
        where = f"operation {index + 1} ({name})"
        arguments, results = (
            _merge_items([t.records[index][part] for t in traces], fitter, where, samples) for part in (1, 3)
        )
        merged.records.append((name, arguments, operands, results))
    return merged


def _merge_items(items: Sequence[Any], fitter: Fitter, where: str, samples: Sequence[dict[str, int]]) -> Any:
    first = items[0]
    if all(item == first for item in items[1:]):
        return first
    if isinstance(first, tuple) and len({len(item) for item in items}) == 1:
        return tuple(_merge_items(parts, fitter, where, samples) for parts in zip(*items, strict=True))
    if all(isinstance(item, int | float) and float(item).is_integer() for item in items):
        size = fitter.fit([int(item) for item in items])
        if size is not None:
            return size
    i = next(i for i, item in enumerate(items) if item != first)
    raise Difference(
        f"{where} depends on the size in a way that is no polynomial: {first} at {sizes_text(samples[0])}, "
        f"{items[i]} at {sizes_text(samples[i])}",
        hint="fix that dimension, or bound it with dims={...}, for example to multiples of 2, 16 or 32",
    )


def _check(trace: Trace, general: Trace, sizes: Mapping[str, int]) -> None:
    for index, (one, formula) in enumerate(zip(trace.records, general.records, strict=True)):
        if one[1] != substitute(formula[1], sizes) or one[3] != substitute(formula[3], sizes):
            raise _difference(
                index, str(one[1]), str(substitute(formula[1], sizes)), dict(sizes), dict(sizes)
            )
    for key, constant in general.constants.items():
        if not _same_constant(constant, trace.constants[key], sizes):
            raise Difference("a constant depends on the size")


def _same_constant(formula: Any, array: Any, sizes: Mapping[str, int]) -> bool:
    import mlx.core as mx

    from converters.snapshot import to_numpy

    if isinstance(formula, ramps.Scalar):
        return array.ndim == 0 and ramps.is_near(formula.at(sizes), float(to_numpy(array)))
    return _equal(mx.array(formula.at(sizes)) if isinstance(formula, ramps.Ramp) else formula, array)


def _equal(a: Any, b: Any) -> bool:
    from converters.snapshot import address, to_numpy

    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.size and address(a) == address(b):
        return True
    return to_numpy(a).tobytes() == to_numpy(b).tobytes()


def _merge_constants(arrays: Sequence[Any], fitter: Fitter, samples: Sequence[dict[str, int]]) -> Any:
    """The constant, or how it depends on the sizes."""
    from converters.snapshot import to_numpy

    if all(_equal(arrays[0], other) for other in arrays[1:]):
        return arrays[0]
    found = ramps.fit([to_numpy(array) for array in arrays], fitter)
    if found is not None:
        return found
    i = next(i for i, array in enumerate(arrays) if not _equal(arrays[0], array))
    raise Difference(
        f"a constant of shape {tuple(arrays[0].shape)} depends on the size: it differs between "
        f"{sizes_text(samples[0])} and {sizes_text(samples[i])}",
        hint="compute it with mx functions of the inputs' shapes, or fix that dimension",
    )
