"""Turning numbers seen at several sizes into formulas: the arithmetic of differential capture.

Given the sizes of the named dimensions in each trace and the integer that was seen there, find the
polynomial that
explains all of them. Few terms are tried before many; the last samples are left out of the fit and only
verify it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, product
from math import lcm

from converters.sizes import AnySize, Monomial, combine

DEGREE = 4


class Fitter:
    """Finds formulas for values over fixed samples; remembers what it found.

    Args:
        samples: the dimensions' sizes in each trace.
    """

    def __init__(self, samples: Sequence[dict[str, int]]):
        self.samples = samples
        self.names = sorted(samples[0]) if samples else []
        self._known: dict[tuple[int, ...], AnySize | None] = {}

    def fit(self, values: Sequence[int]) -> AnySize | None:
        """The polynomial that gives `values` at the samples, or None."""
        key = tuple(values)
        if key not in self._known:
            self._known[key] = values[0] if len(set(values)) == 1 else self._search(values)
        return self._known[key]

    def fit_quotient(self, values: Sequence[Fraction]) -> tuple[AnySize, AnySize] | None:
        """Top and bottom of a quotient that gives `values` at the samples: of two sums in one dimension, or
        of two products; None where none does."""
        for name in self.names:
            sizes = [sample[name] for sample in self.samples]
            rows = [[size, 1, -value] for size, value in zip(sizes, values, strict=True)]
            found = solve(rows, [size * value for size, value in zip(sizes, values, strict=True)])
            if found is not None:
                scale = lcm(*(f.denominator for f in found))
                slope, start, below = (f * scale for f in found)
                return combine([((name,), slope), ((), start)]), combine(
                    [((name,), Fraction(scale)), ((), below)]
                )
        monomials = [m for m in self._monomials(self.names) if len(m) <= 2]
        for top, bottom in product(monomials[1:], monomials[1:]):
            factors = {
                value * _power(bottom, sample) / _power(top, sample)
                for value, sample in zip(values, self.samples, strict=True)
            }
            if len(factors) == 1:
                (factor,) = factors
                return combine([(top, Fraction(factor.numerator))]), combine(
                    [(bottom, Fraction(factor.denominator))]
                )
        return None

    def _search(self, values: Sequence[int]) -> AnySize | None:
        if not self._smooth(values):
            return None
        monomials = self._monomials(self._dependencies(values))
        rows = {m: [_power(m, sample) for sample in self.samples] for m in monomials}
        for terms in self._candidates(monomials):
            if len(terms) > max(2, len(self.samples) - 2):
                continue
            factors = solve([[rows[m][i] for m in terms] for i in range(len(values))], list(values))
            if factors is not None:
                return combine(zip(terms, factors, strict=True))
        return None

    def _dependencies(self, values: Sequence[int]) -> list[str]:
        """The dimensions that change the value where they alone change; all where no samples tell."""
        alone: dict[str, bool] = {}
        for sample, value in zip(self.samples[1:], values[1:], strict=True):
            changed = [name for name in self.names if sample[name] != self.samples[0][name]]
            if len(changed) == 1:
                alone[changed[0]] = alone.get(changed[0], False) or value != values[0]
        return [name for name in self.names if alone.get(name, True)]

    def _smooth(self, values: Sequence[int]) -> bool:
        """Whether the value is at most quadratic in each dimension alone: floors and branches are not."""
        for name in self.names:
            others = [other for other in self.names if other != name]
            points = {
                sample[name]: value
                for sample, value in zip(self.samples, values, strict=True)
                if all(sample[other] == self.samples[0][other] for other in others)
            }
            rows = [[1, size, size * size] for size in points]
            if len(points) > 3 and solve(rows, list(points.values())) is None:
                return False
        return True

    def _monomials(self, names: list[str]) -> list[Monomial]:
        monomials: list[Monomial] = [()]
        for degree in range(1, DEGREE + 1):
            monomials += combinations_with_replacement(names, degree)
        # a power of one name beyond the square has not been seen in a shape
        return [m for m in monomials if all(m.count(name) <= 2 for name in m)]

    def _candidates(self, monomials: list[Monomial]) -> Iterator[tuple[Monomial, ...]]:
        """Sets of terms, the likely ones first; a set of all products finds the few that matter in one
        solution."""
        yield from combinations(monomials, 1)
        yield tuple(m for m in monomials if len(set(m)) == len(m))
        yield tuple(m for m in monomials if len(m) <= 2)
        for count in (2, 3):
            yield from combinations(monomials, count)
        yield from combinations([m for m in monomials if len(m) <= 2 or len(set(m)) == len(m)], 4)


def _power(monomial: Monomial, sizes: dict[str, int]) -> int:
    result = 1
    for name in monomial:
        result *= sizes[name]
    return result


def solve(
    matrix: Sequence[Sequence[int | Fraction]], values: Sequence[int | Fraction]
) -> list[Fraction] | None:
    """The exact solution of an over-determined linear system, or None where none or many exist."""
    rows = [[Fraction(v) for v in (*row, value)] for row, value in zip(matrix, values, strict=True)]
    unknowns = len(matrix[0])
    for column in range(unknowns):
        pivot = next((r for r in range(column, len(rows)) if rows[r][column]), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        lead = rows[column][column]
        rows[column] = [v / lead for v in rows[column]]
        for r, row in enumerate(rows):
            if r != column and row[column]:
                factor = row[column]
                rows[r] = [v - factor * w for v, w in zip(row, rows[column], strict=True)]
    if any(row[-1] for row in rows[unknowns:]):
        return None
    return [rows[i][-1] for i in range(unknowns)]
