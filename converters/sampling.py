"""Differential capture: one function traced at several sizes becomes one trace with formulas in place of
integers.

Sizes are sampled so that consecutive and distant values of every dimension occur; a floor division or a
branch on the
size then shows as a difference that no polynomial explains, and larger multiples of the dimension are tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise, product
from math import lcm
from operator import mul
from random import Random
from typing import TYPE_CHECKING

from converters.errors import CaptureError, ConversionError, ShapeError
from converters.graph import Dim
from converters.joining import compare_structure, merge
from converters.special_sizes import SMALLEST_BASE, General

if TYPE_CHECKING:
    from converters.capture import Tracer

BASES = (SMALLEST_BASE, 9, 33, 130)
LARGE_BASES = (520, 2080, 8320)  # of functions that do not run at less
MULTIPLES = (2, 3, 4, 8, 14, 16, 32, 64)
LARGEST_MULTIPLE = 4096
STEPS = (0, 1, 2, 3, 5, 8, 13)
NEAR = (0, 4, 8, 12, 16, 20)  # multiples by which the dimensions begin apart from each other
COPRIME = (0, 6, 12, 26, 32, 36)  # from 11 multiples on: 11, 17, 23, 37, …; none is half or twice another


def general_traces(tracer: Tracer, bounds: Mapping[str, Dim]) -> General:
    """Trace at as many sizes as it takes.

    Raises:
        CaptureError: names the first operation that differs, the two sizes, and the dimension to fix or
        bound.
    """
    if not bounds:
        return General(tracer({}), {}, [{}], tracer)
    reason: ConversionError | None = None
    smallest = _smallest_base(tracer, bounds)
    ways: list[tuple[int, Sequence[int]]] = [(base, NEAR) for base in BASES if base >= smallest] or [
        (smallest, NEAR)
    ]
    ways.append((max(smallest, 11), COPRIME))
    for base, apart in ways:
        try:
            return _attempt(tracer, dict(bounds), base, apart)
        except (CaptureError, ShapeError) as error:
            reason = reason or error
            if apart is NEAR:
                _refuse_loops(tracer, bounds, base, str(reason.args[0]))
    for multiple in (*MULTIPLES, *_products_of_strides(tracer, bounds, smallest)):
        wider = {name: _multiplied(dim, multiple) for name, dim in bounds.items()}
        for times, apart in ((1, NEAR), (4, NEAR), (11, COPRIME)):
            base = max(times * multiple, smallest)
            try:
                found = _attempt(tracer, wider, base, apart)
            except (CaptureError, ShapeError) as error:
                if reason is None or (reason.__cause__ is not None and error.__cause__ is None):
                    reason = error  # how sizes differ says more than that one of them fails
                continue
            return _relaxed(tracer, found, bounds, base, apart)
        assert reason is not None
        _refuse_loops(tracer, wider, multiple, str(reason.args[0]))
    assert reason is not None
    raise reason


def _smallest_base(tracer: Tracer, bounds: Mapping[str, Dim]) -> int:
    """The first base at which the function runs at all: a kernel may be longer than a small input."""
    for base in (*BASES, *LARGE_BASES):
        try:
            tracer(choose_samples(bounds, base)[0])
        except (CaptureError, ShapeError):
            continue
        return base
    return BASES[0]


def _products_of_strides(tracer: Tracer, bounds: Mapping[str, Dim], base: int) -> list[int]:
    """How many samples one step of each layer stands for: 320 after the strides 5, 4, 4, 4."""
    try:
        records = tracer(choose_samples(bounds, base)[0]).records
    except (CaptureError, ShapeError):
        return []
    strides = [max(arguments[0]) for op, arguments, *_ in records if op == "Convolution"]
    found = {total for total in accumulate(strides, mul) if total <= LARGEST_MULTIPLE}
    return sorted(found - {1, *MULTIPLES})


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


def _attempt(tracer: Tracer, bounds: dict[str, Dim], base: int, apart: Sequence[int] = NEAR) -> General:
    samples = choose_samples(bounds, base, apart)
    traces = []
    for sample in samples:
        traces.append(tracer(sample))
        compare_structure([traces[0], traces[-1]], [samples[0], sample])
    merged = merge(traces, samples)
    tracer.build(merged)  # the shapes that the formulas give must be those that the ops infer
    return General(merged, bounds, samples, tracer, base)


def _relaxed(
    tracer: Tracer, found: General, wished: Mapping[str, Dim], base: int, apart: Sequence[int]
) -> General:
    """Each dimension's smallest multiple that still works, the others kept. It divides the one that was
    found: what repeats every n sizes holds at each multiple of n."""
    for name, dim in found.bounds.items():
        for multiple in range(1, dim.multiple):
            if dim.sizes is not None or multiple % wished[name].multiple or dim.multiple % multiple:
                continue
            try:
                narrower = {**found.bounds, name: Dim(wished[name].low, wished[name].high, multiple)}
                found = _attempt(tracer, narrower, base, apart)
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


def choose_samples(bounds: Mapping[str, Dim], base: int, apart: Sequence[int] = NEAR) -> list[dict[str, int]]:
    """Sizes to trace at; all combinations where there are few.

    Dimensions differ from each other in a sample where they can: MLX joins what is equal, such as the
    positions along height and width of a square picture.
    """
    offsets = [
        apart[index % len(apart)] + len(apart) * 8 * (index // len(apart)) for index in range(len(bounds))
    ]
    pools = {}
    for offset, (name, dim) in zip(offsets, bounds.items(), strict=True):
        pools[name] = _pool(dim, min(base, 11 * dim.multiple) if apart is COPRIME else base, offset)
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
        if sample not in samples and not _doubled(sample.values()):
            samples.append(sample)
        if len(samples) == 5 + 3 * len(pools):
            break
    return samples


def _doubled(sizes: Iterable[int]) -> bool:
    """Whether a size is another one, or its half, quarter …, as those along two sides of a pyramid are."""
    odd = [size // (size & -size) for size in sizes]
    return len(set(odd)) < len(odd)


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
