"""Sizes that are known only when the artefact runs: polynomials in the named dimensions.

A shape holds integers and `Size`s. `Size.of("past") + Size.of("length")` is the length of a grown cache,
`batch * (1 + height * width / 256)` the tokens of a Vision Transformer. Coefficients are exact fractions, so
that quotients stay exact; a quotient is only used where the dimension's `multiple` makes it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from math import floor
from typing import Any

from converters.errors import ShapeError

Monomial = tuple[str, ...]  # dimension names, sorted, repeated for powers; () is the constant term


class Size:
    """An immutable polynomial with at least one named dimension; arithmetic gives `int` where all names
    cancel."""

    __slots__ = ("_hash", "terms")
    terms: tuple[tuple[Monomial, Fraction], ...]

    def __init__(self, terms: tuple[tuple[Monomial, Fraction], ...]):
        self.terms = terms
        self._hash = hash(terms)

    @staticmethod
    def of(name: str) -> Size:
        """The size that is the dimension `name` itself."""
        return Size((((name,), Fraction(1)),))

    def names(self) -> set[str]:
        """The dimensions that occur."""
        return {name for monomial, _ in self.terms for name in monomial}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: AnySize) -> AnySize:
        return combine([*self.terms, *_terms(other)])

    __radd__ = __add__

    def __neg__(self) -> AnySize:
        return combine((monomial, -factor) for monomial, factor in self.terms)

    def __sub__(self, other: AnySize) -> AnySize:
        return self + -1 * other

    def __rsub__(self, other: AnySize) -> AnySize:
        return -1 * self + other

    def __mul__(self, other: AnySize | Fraction) -> AnySize:
        right = _terms(other)
        return combine((tuple(sorted(m + n)), f * g) for m, f in self.terms for n, g in right)

    __rmul__ = __mul__

    def __str__(self) -> str:
        parts = []
        for monomial, factor in self.terms:
            product = "*".join(monomial)
            if not monomial:
                text = str(factor)
            elif factor.denominator != 1:
                numerator = "" if abs(factor.numerator) == 1 else f"{abs(factor.numerator)}*"
                text = ("-" if factor < 0 else "") + f"{numerator}{product}/{factor.denominator}"
            else:
                text = {1: "", -1: "-"}.get(int(factor), f"{factor}*") + product
            parts.append(text)
        return " + ".join(parts).replace("+ -", "- ")

    __repr__ = __str__


AnySize = int | Size
Shape = tuple[AnySize, ...]


def _terms(size: AnySize | Fraction) -> Iterable[tuple[Monomial, Fraction]]:
    return size.terms if isinstance(size, Size) else (((), Fraction(size)),)


def combine(terms: Iterable[tuple[Monomial, Fraction]]) -> AnySize:
    """The sum of (monomial, factor) pairs; an integer where no dimension is left."""
    total: dict[Monomial, Fraction] = {}
    for monomial, factor in terms:
        total[monomial] = total.get(monomial, Fraction(0)) + factor
    kept = tuple((m, f) for m, f in sorted(total.items(), key=lambda t: (-len(t[0]), t[0])) if f)
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0] and kept[0][1].denominator == 1:
        return int(kept[0][1])
    return Size(kept)


def divide(size: AnySize, divisor: AnySize) -> AnySize:
    """The exact quotient of two polynomials; ShapeError where there is none."""
    if isinstance(size, int) and isinstance(divisor, int):
        if divisor == 0 or size % divisor:
            raise ShapeError(f"{size} is not a multiple of {divisor}")
        return size // divisor
    (lead, factor), *_ = _terms(divisor)
    quotient: AnySize = 0
    rest = size
    while rest != 0:
        (monomial, coefficient), *_ = _terms(rest)
        left = list(monomial)
        for name in lead:
            if name not in left:
                raise ShapeError(f"{size} cannot be divided by {divisor} for all sizes")
            left.remove(name)
        term = combine([(tuple(left), coefficient / factor)])
        quotient = quotient + term
        rest = rest - term * divisor
    return quotient


def floor_divide(size: AnySize, divisor: int) -> AnySize:
    """The quotient rounded down, where the dimensions' multiples make every named term whole."""
    if isinstance(size, int):
        return size // divisor
    return combine((m, f / divisor if m else Fraction(floor(f / divisor))) for m, f in size.terms)


def isolate(size: Size, name: str) -> tuple[AnySize, AnySize] | None:
    """(slope, rest) without the name, where size is slope * name + rest; None where the name has powers."""
    holding = [(list(monomial), factor) for monomial, factor in size.terms if name in monomial]
    for monomial, _ in holding:
        monomial.remove(name)
    slope = combine((tuple(monomial), factor) for monomial, factor in holding)
    rest = combine((monomial, factor) for monomial, factor in size.terms if name not in monomial)
    return None if name in names_in(slope) else (slope, rest)


def product(sizes: Iterable[AnySize]) -> AnySize:
    """The number of elements of a shape."""
    total: AnySize = 1
    for size in sizes:
        total = total * size
    return total


def at(size: AnySize, sizes: Mapping[str, int]) -> int:
    """The value for the given dimensions; ShapeError where it is not a whole number."""
    if isinstance(size, int):
        return size
    total = Fraction(0)
    for monomial, factor in size.terms:
        for name in monomial:
            factor = factor * sizes[name]
        total += factor
    if total.denominator != 1:
        raise ShapeError(f"{size} is {total} for {dict(sizes)}, not a whole number")
    return int(total)


def substitute(attribute: Any, sizes: Mapping[str, int]) -> Any:
    """An attribute with every Size in it, also inside tuples, replaced by its value."""
    if isinstance(attribute, Size):
        return at(attribute, sizes)
    if isinstance(attribute, tuple):
        return tuple(substitute(item, sizes) for item in attribute)
    return attribute


def sizes_in(attribute: Any) -> Iterator[Size]:
    """Every Size inside an attribute or a shape."""
    if isinstance(attribute, Size):
        yield attribute
    elif isinstance(attribute, tuple):
        for item in attribute:
            yield from sizes_in(item)


def names_in(attribute: Any) -> set[str]:
    """Every dimension inside an attribute or a shape."""
    return {name for size in sizes_in(attribute) for name in size.names()}


def is_static(shape: Shape) -> bool:
    """Whether every size is an integer."""
    return all(isinstance(size, int) for size in shape)


def parse(text: str, quotients: bool = False) -> AnySize:
    """A size as users write it in a shape: a name, or a sum such as "past + length" or "length - 1"; with
    `quotients` also what `str` gives for any Size, such as "3*h*w/64"."""
    total: AnySize = 0
    for sign, part in _summands(text):
        product, *divisors = (piece.strip() for piece in part.split("/"))
        if len(divisors) > quotients or not all(d.isdigit() and int(d) for d in divisors):
            raise ShapeError(f"{text!r} is not a size: write a name, or a sum such as 'past + length'")
        factors: Any = Fraction(sign, *map(int, divisors))
        for factor in product.split("*"):
            factor = factor.strip()
            if factor.isdigit():
                factors = factors * int(factor)
            elif factor.isidentifier():
                factors = Size.of(factor) * factors
            else:
                raise ShapeError(f"{text!r} is not a size: write a name, or a sum such as 'past + length'")
        total = total + factors
    return total if isinstance(total, Size) else int(total)


def _summands(text: str) -> Iterator[tuple[int, str]]:
    for plus in text.split("+"):
        first, *rest = plus.split("-")
        if first.strip() or not rest:
            yield 1, first
        for part in rest:
            yield -1, part
