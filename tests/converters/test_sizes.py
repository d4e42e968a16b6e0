"""Polynomial sizes: arithmetic against plain integers, exact division, parsing, and fitting."""

from itertools import product as every

import pytest

from converters.errors import ShapeError
from converters.fit import Fitter
from converters.graph import Dim, bind_sizes
from converters.sizes import Size, at, divide, floor_divide, parse

B, H, W = Size.of("b"), Size.of("h"), Size.of("w")
SIZES = {"b": 3, "h": 32, "w": 48}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (B + 1, 4),
        (1 - B, -2),
        (B * (1 + divide(H, 16) * divide(W, 16)), 3 * (1 + 2 * 3)),
        (B * H - H * B, 0),
        (2 * H + W - 2 * H, 48),
        ((H + 2) * (W + 2) * 3, 34 * 50 * 3),
    ],
)
def test_arithmetic_is_that_of_integers(size, expected):
    assert at(size, SIZES) == expected


def test_sizes_that_are_equal_compare_equal_and_constants_are_integers():
    assert (H + W) * 2 == 2 * W + 2 * H
    assert hash(B + H) == hash(H + B)
    assert H - H == 0
    assert isinstance(H - H + 3, int)


def test_division_is_exact_or_refused():
    assert divide(B * H * 6, H * 2) == 3 * B
    assert divide((H + 2) * (W + 3), W + 3) == H + 2
    with pytest.raises(ShapeError, match="cannot be divided"):
        divide(H + 1, W)
    with pytest.raises(ShapeError, match="7 is not a multiple of 2"):
        divide(7, 2)


def test_floor_division_keeps_named_terms_whole():
    assert floor_divide(H + 2 - 3, 2) + 1 == divide(H, 2)
    with pytest.raises(ShapeError, match="not a whole number"):
        at(divide(H, 3), SIZES)


def test_parse_reads_names_sums_and_products():
    assert parse("past + length") == Size.of("past") + Size.of("length")
    assert parse("2*h - 1") == 2 * H - 1
    assert parse("12") == 12
    with pytest.raises(ShapeError, match="is not a size"):
        parse("h / 2")


def test_text_is_read_back():
    for size in (B + 1, 2 * H * W - 3, Size.of("past") + Size.of("length")):
        assert parse(str(size)) == size
    for size in (divide(H, 2), divide(63 * H * W, 64) + 1, 3 - divide(3 * H, 2), divide(B + 1, 2)):
        assert parse(str(size), quotients=True) == size
    for text in ("h/0", "h/w", "h/2/2", "h/"):
        with pytest.raises(ShapeError, match="is not a size"):
            parse(text, quotients=True)


@pytest.mark.parametrize(
    "formula",
    [
        lambda b, h, w: b * (1 + h * w),
        lambda b, h, w: b * h * w * 64,
        lambda b, h, w: (h + 2) * (w + 2) * 3,
        lambda b, h, w: b + h + w + 7,
        lambda b, h, w: (2 * h - 1) * (2 * w - 1),
        lambda b, h, w: h * h,
        lambda b, h, w: 5,
    ],
)
def test_fit_finds_the_polynomial(formula):
    names = ("b", "h", "w")
    grid: list[dict[str, int]] = [
        dict(zip(names, point, strict=True)) for point in every((2, 3), (5, 6, 8), (4, 7, 9))
    ]
    size = Fitter(grid).fit([formula(**sizes) for sizes in grid])
    assert size is not None
    assert at(size, {"b": 11, "h": 13, "w": 17}) == formula(11, 13, 17)


def test_fit_refuses_floors_and_branches():
    samples = [{"h": h} for h in (2, 3, 4, 5, 7, 10, 15)]
    assert Fitter(samples).fit([s["h"] // 2 for s in samples]) is None
    assert Fitter(samples).fit([max(s["h"], 5) for s in samples]) is None


def test_bind_solves_sums_once_the_other_names_are_known():
    shapes = [((B, parse("past + h")), (2, 9)), ((B, H), (2, 4))]
    assert bind_sizes(shapes) == {"b": 2, "h": 4, "past": 5}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([((B, 3), (2, 4))], "expected size 3"),
        ([((B,), (2,)), ((B,), (3,))], "expected size b = 2, got 3"),
        ([((B, 3), (2,))], "expected 2 dimensions"),
        ([((B + H,), (5,))], "do not determine"),
        ([((2 * B,), (5,))], "no b gives"),
    ],
)
def test_bind_explains_contradictions(shapes, message):
    with pytest.raises(ShapeError, match=message):
        bind_sizes(shapes)


@pytest.mark.parametrize(
    ("dim", "size", "reason"),
    [
        (Dim(1, 64), 65, "must be at most 64"),
        (Dim(2), 1, "must be at least 2"),
        (Dim(16, 512, multiple=16), 24, "multiple of 16"),
        (Dim(sizes=[64, 128]), 96, "one of 64, 128"),
    ],
)
def test_bounds_say_why_a_size_is_refused(dim, size, reason):
    assert reason in dim.refusal(size)
    assert dim.refusal(dim.low) is None


def test_bounds_without_sizes_are_refused():
    with pytest.raises(ShapeError, match="has no sizes"):
        Dim(5, 4)


def test_sums_that_are_not_determined_may_be_left_out():
    past, new = Size.of("past"), Size.of("new")
    shapes = [((B, past + new), (2, 7))]
    assert bind_sizes(shapes, whole=False) == {"b": 2}
    with pytest.raises(ShapeError, match=r"do not determine new \+ past"):
        bind_sizes(shapes)
    assert bind_sizes([*shapes, ((past,), (3,))], whole=False) == {"b": 2, "past": 3, "new": 4}
