"""A joined trace at sizes that were not sampled: 0, 1, the bounds, below the samples and far above them.

Functions like to branch there. Another structure is accepted where the general graph gives MLX's numbers;
else the dimension is bounded, or refused where the user asked for that size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.dtypes import is_float
from converters.errors import CaptureError, ConversionError
from converters.graph import Dim, Graph
from converters.joining import Difference, merge
from converters.sizes import at

if TYPE_CHECKING:
    from converters.capture import Trace, Tracer

FAR = 4096  # the largest size that is tried
FAR_ELEMENTS = 1 << 20  # of all inputs together
FAR_WORK = 10**10  # multiplications
NEAR_WORK = 10**9  # of the sizes that are always tried
BRANCH_WORK = 10**11  # of the first size at which a function branches, which is seldom computed
SMALLEST_BASE = 2  # the samples begin there unless a function branches above
TOLERANCES = {"float16": 3e-3, "bfloat16": 3e-2}  # of the largest result; all else 1e-4


@dataclass
class General:
    """The joined trace, the bounds within which it holds, and what is needed to test single sizes."""

    trace: Trace
    bounds: dict[str, Dim]
    samples: list[dict[str, int]]
    tracer: Tracer
    base: int = SMALLEST_BASE

    def check_special_sizes(self, graph: Graph, asked: set[str]) -> dict[str, Dim]:
        """The bounds after testing 0, 1 and the ends, where functions like to branch.

        A size with another structure stays where the general graph still gives MLX's numbers; else it
        leaves the bounds, or raises CaptureError where the user `asked` for it.
        """
        bounds = self._checked_below(graph, asked)
        for name, dim in self.bounds.items():
            if dim.sizes is None and dim.high is None:
                bounds[name] = Dim(bounds[name].low, self._highest(graph, name, dim), dim.multiple)
        for name, dim in self.bounds.items():
            if dim.sizes is not None:
                continue
            for size in sorted({0, 1, dim.low, dim.high or 0}):
                if dim.refusal(size) is not None or size > FAR:
                    continue
                reasons = (self._disagreement(graph, sizes) for sizes in self._around(name, size, bounds))
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
        return self._checked_together(graph, bounds, asked)

    def _checked_together(self, graph: Graph, bounds: dict[str, Dim], asked: set[str]) -> dict[str, Dim]:
        """The bounds, all dimensions tested at their lowest at once: n * m - 2 is below 0 only there.

        Where that fails, those that the user did not bound begin at 2, else where the samples do.
        """
        free = [name for name, dim in bounds.items() if dim.sizes is None and name not in asked]
        reason = self._at_lowest(graph, bounds)
        for lowest in ({}.fromkeys(bounds, 2), self.samples[0]):
            if reason is None or not free:
                break
            for name in free:
                dim = bounds[name]
                bounds = {**bounds, name: Dim(max(dim.low, lowest[name]), dim.high, dim.multiple)}
            reason = self._at_lowest(graph, bounds)
        if reason is None:
            return bounds
        raise CaptureError(
            f"the function computes something else: {reason}", hint="let a dimension begin above"
        )

    def _at_lowest(self, graph: Graph, bounds: dict[str, Dim]) -> str | None:
        """What is wrong where all dimensions are as small as they may be; None where nothing is."""
        corner = {
            name: dim.sizes[0] if dim.sizes else max(-(-dim.low // dim.multiple), 1) * dim.multiple
            for name, dim in bounds.items()
        }
        reason = self._disagreement(graph, corner) if len(corner) > 1 else None
        return reason and f"{reason}, at {', '.join(f'{name} = {size}' for name, size in corner.items())}"

    def _around(self, name: str, size: int, bounds: dict[str, Dim]) -> Iterator[dict[str, int]]:
        """`size` of `name` with the other sizes near the sampled ones, then far from them: the highest that
        are allowed, or one at a time and less far, so that the inputs stay small."""
        near = self._near(name, size)
        yield near
        beyond, highest = {}, {}
        for other, dim in bounds.items():
            largest = max(sample[other] for sample in self.samples)
            further = (2 * largest + 33) // dim.multiple * dim.multiple
            top = min(dim.high or further, FAR) // dim.multiple * dim.multiple
            highest[other] = dim.sizes[-1] if dim.sizes else top
            beyond[other] = min(further, highest[other])
        for far in (highest, beyond):
            if self._is_quick({**far, name: size}):
                yield {**far, name: size}
                return
        alone = ({**near, other: beyond[other]} for other in bounds if other != name)
        yield from filter(self._is_quick, alone)

    def _near(self, name: str, size: int) -> dict[str, int]:
        """`size` of `name` with the other sizes as sampled, or small where that takes long to compute."""
        near = {**self.samples[0], name: size}
        if self._is_quick(near, NEAR_WORK):
            return near
        small = {n: d.sizes[0] if d.sizes else max(d.low, 2 * d.multiple) for n, d in self.bounds.items()}
        return {**small, name: size}

    def _is_quick(self, sizes: dict[str, int], work: int = FAR_WORK) -> bool:
        """Whether the function can be computed at these sizes within seconds."""
        if self.tracer.elements(sizes) > FAR_ELEMENTS:
            return False
        try:
            return self.tracer(sizes).work() <= work
        except ConversionError:
            return True  # what is wrong will be told

    def _checked_below(self, graph: Graph, asked: set[str]) -> dict[str, Dim]:
        """The bounds after testing sizes below those that were sampled, where small ones have another
        structure."""
        if self.base == SMALLEST_BASE:
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
            if tried < lowest and self._disagreement(graph, self._near(name, tried)) is not None:
                break
            lowest = min(lowest, tried)
        return lowest

    def _highest(self, graph: Graph, name: str, dim: Dim) -> int | None:
        """The size below the first one at which the function branches and computes something else; None where
        it does not up to FAR."""
        step, top = dim.multiple, FAR // dim.multiple * dim.multiple
        same = max(sample[name] for sample in self.samples)
        while same < top and self._branches(name, top):
            other = top
            while other - same > step:
                middle = (same + other) // 2 // step * step
                same, other = (same, middle) if self._branches(name, middle) else (middle, other)
            sizes = {**self.samples[0], name: other}
            if not self._is_quick(sizes, BRANCH_WORK) or self._disagreement(graph, sizes) is not None:
                return same
            same = other + step  # one size may be special, such as that of a whole table
            if self._branches(name, same):
                return other if self._fails(name, same) else None
        return None

    def _branches(self, name: str, size: int) -> bool:
        sizes, first = {**self.samples[0], name: size}, self.samples[0]
        try:
            merge([self.tracer(sizes), self.tracer(first)], [sizes, first], against=self.trace)
        except CaptureError as error:
            return not isinstance(error.__cause__, OverflowError)  # more elements than MLX can count
        return False

    def _fails(self, name: str, size: int) -> bool:
        try:
            self.tracer({**self.samples[0], name: size})
        except CaptureError:
            return True
        return False

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
        return _impossible(graph, sizes)

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
        except (
            IndexError
        ):  # no difference where the function itself reads beyond a table, such as of positions
            return _reads_beyond(self.tracer.build(special, sizes), [to_numpy(a) for a in arrays])
        except (ConversionError, ValueError):
            return False
        pairs = zip(got.values(), expected, strict=True)
        return all(
            g.shape == e.shape and _close(_wide(g), _wide(e), TOLERANCES.get(e.dtype.name, 1e-4))
            for g, e in pairs
        )


def _reads_beyond(graph: Graph, arrays: list[np.ndarray]) -> bool:
    try:
        graph.evaluate(*arrays)
    except IndexError:
        return True
    return False


def _impossible(graph: Graph, sizes: dict[str, int]) -> str | None:
    """What the graph would make of a negative number: a size, or the start of a slice."""
    for node in graph.nodes:
        for value in node.outputs:
            if any(at(size, sizes) < 0 for size in value.shape):
                return f"{value} of {node.op} would have a negative size"
        if node.op == "Slice" and any(at(start, sizes) < 0 for start in node.attrs["start"]):
            return f"{node.output} would begin before its first element"
    return None


def _close(got: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    largest = np.abs(expected, where=np.isfinite(expected), out=np.zeros(expected.shape)).max(initial=1)
    return np.allclose(got, expected, rtol=10 * tolerance, atol=tolerance * largest, equal_nan=True)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if is_float(array.dtype.name) else array


def _random_like(random: np.random.Generator, array: np.ndarray, like: Any) -> Any:
    """Integers are 0: they may be positions, and MLX checks no bounds."""
    import mlx.core as mx

    draw = random.normal(size=array.shape) if is_float(array.dtype.name) else np.zeros(array.shape, np.int32)
    return mx.array(draw).astype(like.dtype)
