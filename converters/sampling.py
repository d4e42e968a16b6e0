"""Differential capture: one function traced at several sizes becomes one trace with formulas in place of
integers.

Sizes are sampled so that consecutive and distant values of every dimension occur; a floor division or a
branch on the
size then shows as a difference that no polynomial explains, and larger multiples of the dimension are tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import lcm
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from converters import ramps
from converters.dtypes import is_float
from converters.errors import CaptureError, ConversionError, ShapeError
from converters.fit import Fitter
from converters.graph import Dim, Graph
from converters.sizes import substitute

if TYPE_CHECKING:
    from converters.capture import Trace, Tracer

BASES = (2, 9, 33, 130)
MULTIPLES = (2, 3, 4, 8, 14, 16, 32, 64)
STEPS = (0, 1, 2, 3, 5, 8, 13)
FAR = 4096  # the largest size that is tried
FAR_ELEMENTS = 1 << 20  # of all inputs together
FAR_WORK = 10**10  # multiplications
TOLERANCES = {"float16": 3e-3, "bfloat16": 3e-2}  # of the largest result; all else 1e-4


class Difference(CaptureError):
    """Two traces that no formula joins."""


@dataclass
class General:
    """The joined trace, the bounds within which it holds, and what is needed to test single sizes."""

    trace: Trace
    bounds: dict[str, Dim]
    samples: list[dict[str, int]]
    tracer: Tracer
    base: int = BASES[0]

    def check_special_sizes(self, graph: Graph, asked: set[str]) -> dict[str, Dim]:
        """The bounds after testing 0, 1 and the ends, where functions like to branch.

        A size with another structure stays where the general graph still gives MLX's numbers; else it
        leaves the
        bounds, or raises CaptureError where the user `asked` for it.
        """
        bounds = self._checked_below(graph, asked)
        for name, dim in self.bounds.items():
            if dim.sizes is not None:
                continue
            for size in sorted({0, 1, dim.low, dim.high or 0}):
                if dim.refusal(size) is not None or size > FAR:
                    continue
                reasons = (self._disagreement(graph, sizes) for sizes in self._around(name, size))
                reason = next(filter(None, reasons), None)
                if reason is None:
                    continue
                if name in asked:
                    raise CaptureError(
                        f"at {name} = {size} the function computes something else: {reason}",
                        hint=f"let {name} begin above {size}, or fix it",
                    )
                low, high = bounds[name].low, bounds[name].high
                if size < low:
                    continue
                bounds[name] = (
                    Dim(low, size - 1, dim.multiple) if size == high else Dim(size + 1, high, dim.multiple)
                )
        return bounds

    def _around(self, name: str, size: int) -> Iterator[dict[str, int]]:
        """`size` of `name` with the other sizes near the sampled ones, then far from them: the highest that
        are allowed, or one at a time and less far, so that the inputs stay small."""
        near = {**self.samples[0], name: size}
        yield near
        beyond, highest = {}, {}
        for other, dim in self.bounds.items():
            largest = max(sample[other] for sample in self.samples)
            further = (2 * largest + 33) // dim.multiple * dim.multiple
            top = min(dim.high or further, FAR) // dim.multiple * dim.multiple
            highest[other] = dim.sizes[-1] if dim.sizes else top
            beyond[other] = min(further, highest[other])
        for far in (highest, beyond):
            if self._is_quick({**far, name: size}):
                yield {**far, name: size}
                return
        alone = ({**near, other: beyond[other]} for other in self.bounds if other != name)
        yield from filter(self._is_quick, alone)

    def _is_quick(self, sizes: dict[str, int]) -> bool:
        """Whether the function can be computed at these sizes within seconds."""
        if self.tracer.elements(sizes) > FAR_ELEMENTS:
            return False
        try:
            return self.tracer(sizes).work() <= FAR_WORK
        except ConversionError:
            return True  # what is wrong will be told

    def _checked_below(self, graph: Graph, asked: set[str]) -> dict[str, Dim]:
        """The bounds after testing sizes below those that were sampled, where small ones have another
        structure."""
        if self.base == BASES[0]:
            return dict(self.bounds)
        free = {name: dim for name, dim in self.bounds.items() if dim.sizes is None and dim.low < self.base}
        lowest = {name: self._lowest(graph, name, dim) for name, dim in free.items()}
        if self._disagreement(graph, {**self.samples[0], **lowest}) is not None:
            lowest = {name: self.samples[0][name] for name in free}
        bounds = dict(self.bounds)
        for name, low in lowest.items():
            dim = free[name]
            if low > max(dim.low, dim.multiple, 2) and name in asked:
                raise CaptureError(
                    f"at {name} below {low} the function computes something else",
                    hint=f"let {name} begin at {low}",
                )
            bounds[name] = Dim(
                low if low > max(dim.low, dim.multiple, 2) else dim.low, dim.high, dim.multiple
            )
        return bounds

    def _lowest(self, graph: Graph, name: str, dim: Dim) -> int:
        """The smallest of a few sizes down to which the function agrees with the graph."""
        lowest = self.samples[0][name]
        for size in (self.base - 1, self.base // 2, self.base // 4, 2):
            tried = max(dim.low, size // dim.multiple * dim.multiple, dim.multiple)
            if tried < lowest and self._disagreement(graph, {**self.samples[0], name: tried}) is not None:
                break
            lowest = min(lowest, tried)
        return lowest

    def _disagreement(self, graph: Graph, sizes: dict[str, int]) -> str | None:
        try:
            special = self.tracer(sizes)
        except ConversionError as error:
            return str(error.args[0])
        try:
            merge([special, self.tracer(self.samples[0])], [sizes, self.samples[0]], against=self.trace)
        except Difference as difference:
            same = self._same_numbers(graph, special, sizes)
            return None if same else str(difference.args[0])
        return None

    def _same_numbers(self, graph: Graph, special: Trace, sizes: dict[str, int]) -> bool:
        from converters.snapshot import to_numpy

        random = np.random.default_rng(0)
        arrays = [_random_like(random, np.asarray(to_numpy(a)), a) for a in self.tracer.arrays(sizes)]
        try:
            expected = [to_numpy(array) for array in self.tracer.run(*arrays)]
        except RuntimeError:  # MLX lacks an operation here, such as a gathered product of bfloat16 on the CPU
            expected = list(self.tracer.build(special, sizes).evaluate(*map(to_numpy, arrays)).values())
        try:
            got = graph.evaluate(*[to_numpy(a) for a in arrays])
        except (ConversionError, ValueError, IndexError):
            return False
        pairs = zip(got.values(), expected, strict=True)
        return all(
            g.shape == e.shape and _close(_wide(g), _wide(e), TOLERANCES.get(e.dtype.name, 1e-4))
            for g, e in pairs
        )


def _close(got: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    largest = np.abs(expected, where=np.isfinite(expected), out=np.zeros(expected.shape)).max(initial=1)
    return np.allclose(got, expected, rtol=10 * tolerance, atol=tolerance * largest, equal_nan=True)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if is_float(array.dtype.name) else array


def _random_like(random: np.random.Generator, array: np.ndarray, like: Any) -> Any:
    import mlx.core as mx

    draw = (
        random.normal(size=array.shape) if is_float(array.dtype.name) else random.integers(0, 2, array.shape)
    )
    return mx.array(draw).astype(like.dtype)


def general_traces(tracer: Tracer, bounds: Mapping[str, Dim]) -> General:
    """Trace at as many sizes as it takes.

    Raises:
        CaptureError: names the first operation that differs, the two sizes, and the dimension to fix or
        bound.
    """
    if not bounds:
        return General(tracer({}), {}, [{}], tracer)
    first: ConversionError | None = None
    for base in BASES:
        try:
            return _attempt(tracer, dict(bounds), base)
        except (CaptureError, ShapeError) as error:
            first = first or error
            _refuse_loops(tracer, bounds, base, str(first.args[0]))
    for multiple in MULTIPLES:
        wider = {name: _multiplied(dim, multiple) for name, dim in bounds.items()}
        for base in (multiple, 4 * multiple):
            try:
                found = _attempt(tracer, wider, base)
            except (CaptureError, ShapeError):
                continue
            return _relaxed(tracer, found, bounds, base)
    assert first is not None
    raise first


def _refuse_loops(tracer: Tracer, bounds: Mapping[str, Dim], base: int, reason: str) -> None:
    """CaptureError where every further step of a dimension adds operations: a loop over it, which no larger
    size and no multiple will make constant."""
    pools = {name: _pool(dim, base, 4 * index) for index, (name, dim) in enumerate(bounds.items())}
    if not all(pools.values()):
        return
    first = {name: pool[0] for name, pool in pools.items()}
    for name, pool in pools.items():
        try:
            counts = [len(tracer({**first, name: size}).records) for size in pool[:4]]
        except CaptureError:
            continue
        steps = [b - a for a, b in pairwise(counts)]
        if len(steps) == 3 and min(steps) > 0 and len(set(steps)) == 1:
            raise CaptureError(
                f"the function loops over {name}, {steps[0]} operations a step: {reason}",
                hint=f"fix {name}, or give it a few sizes of its own as separate functions",
            )


def _multiplied(dim: Dim, multiple: int) -> Dim:
    return dim if dim.sizes is not None else Dim(dim.low, dim.high, lcm(dim.multiple, multiple))


def _attempt(tracer: Tracer, bounds: dict[str, Dim], base: int) -> General:
    samples = choose_samples(bounds, base)
    traces = []
    for sample in samples:
        traces.append(tracer(sample))
        compare_structure([traces[0], traces[-1]], [samples[0], sample])
    merged = merge(traces, samples)
    tracer.build(merged)  # the shapes that the formulas give must be those that the ops infer
    return General(merged, bounds, samples, tracer, base)


def _relaxed(tracer: Tracer, found: General, wished: Mapping[str, Dim], base: int) -> General:
    """Each dimension's smallest multiple that still works, the others kept."""
    for name, dim in found.bounds.items():
        for multiple in range(1, dim.multiple):
            if dim.sizes is not None or multiple % wished[name].multiple:
                continue
            try:
                narrower = {**found.bounds, name: Dim(wished[name].low, wished[name].high, multiple)}
                found = _attempt(tracer, narrower, base)
                break
            except (CaptureError, ShapeError):
                continue
    low = {
        n: Dim(-(-d.low // d.multiple) * d.multiple, d.high, d.multiple)
        for n, d in found.bounds.items()
        if not d.sizes
    }
    found.bounds = {**found.bounds, **low}
    return found


def choose_samples(bounds: Mapping[str, Dim], base: int) -> list[dict[str, int]]:
    """Sizes to trace at; all combinations where there are few.

    Dimensions differ from each other in a sample where they can: MLX joins what is equal, such as the
    positions along height and width of a square picture.
    """
    pools = {name: _pool(dim, base, 4 * index) for index, (name, dim) in enumerate(bounds.items())}
    for name, pool in pools.items():
        if not pool:
            raise CaptureError(f"dimension {name} has no size from {base} on within {bounds[name]}")
    total = 1
    for pool in pools.values():
        total *= len(pool)
    if total <= 4 + 3 * len(pools):
        return [dict(zip(pools, sizes, strict=True)) for sizes in product(*pools.values())]
    first = {name: pool[0] for name, pool in pools.items()}
    samples = [first]
    # one dimension at a time: shows what depends on it, with neighbours for every residue
    samples += [{**first, name: size} for name, pool in pools.items() for size in pool[1:4]]
    random = Random(0)
    for _ in range(100):
        sample = {name: random.choice(pool) for name, pool in pools.items()}
        if sample not in samples and len(set(sample.values())) == len(sample):
            samples.append(sample)
        if len(samples) == 5 + 3 * len(pools):
            break
    return samples


def _pool(dim: Dim, base: int, offset: int) -> list[int]:
    """Sizes of one dimension, from `base` and `offset` multiples on, within its bounds."""
    if dim.sizes is not None:
        return list(dim.sizes)
    start = max(dim.low, 2, base)
    start = (-(-start // dim.multiple) + offset) * dim.multiple
    pool = [start + step * dim.multiple for step in STEPS]
    if dim.high is not None and pool[-1] > dim.high:
        low = min(max(dim.low, 2), dim.high)
        span = [s for s in range(low, dim.high + 1) if s % dim.multiple == 0]
        pool = [s for s in span if s >= base][: len(STEPS)] or (span if base == BASES[0] else [])
        pool = pool[-len(STEPS) :]
    return pool


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
        f"operation {index + 1} depends on the size: {a} at {_sizes(sizes)}, {b} at {_sizes(others)}",
        hint=f"fix {' or '.join(differing)}, or bound it with dims={{...}} to sizes with one structure",
    )


def _sizes(sizes: Mapping[str, int]) -> str:
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
        f"{where} depends on the size in a way that is no polynomial: {first} at {_sizes(samples[0])}, "
        f"{items[i]} at {_sizes(samples[i])}",
        hint="fix that dimension, or bound it with dims={...}, for example to multiples of 2, 16 or 32",
    )


def _check(trace: Trace, general: Trace, sizes: Mapping[str, int]) -> None:
    import mlx.core as mx

    for index, (one, formula) in enumerate(zip(trace.records, general.records, strict=True)):
        if one[1] != substitute(formula[1], sizes) or one[3] != substitute(formula[3], sizes):
            raise _difference(
                index, str(one[1]), str(substitute(formula[1], sizes)), dict(sizes), dict(sizes)
            )
    for key, constant in general.constants.items():
        if isinstance(constant, tuple):
            continue
        if isinstance(constant, ramps.Ramp):
            constant = mx.array(constant.at(sizes))
        if not _equal(constant, trace.constants[key]):
            raise Difference("a constant depends on the size")


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
        f"{_sizes(samples[0])} and {_sizes(samples[i])}",
        hint="compute it with mx functions of the inputs' shapes, or fix that dimension",
    )
