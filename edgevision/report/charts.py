"""The drawings of a report that are lines and text: SVG, whose colours are the page's own.

Text, lines and fills take the classes that `page.html` styles, so that light and dark mode fit. Marks carry a
`<title>`, which browsers show under the pointer.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import product
from math import ceil, floor, log10

import numpy as np

from edgevision.console import strip_escapes

WIDTH, HEIGHT = 440, 250  # of a line chart
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 12, 34  # its margins
CELL = 40  # side of a cell of the confusion matrix
LABEL_MAX = 14  # characters of a class name at its edge


def text(value: object) -> str:
    """Text as HTML or SVG, without terminal escapes."""
    return escape(strip_escapes(str(value)))


def line_chart(points: Sequence[tuple[float, float]], name: str, unit: str = "", marks: bool = False) -> str:
    """One line over training steps; its scale is logarithmic where every value is positive.

    Args:
        points: (step, value), in order.
        name: what the values are, for those who do not see the drawing.
        unit: follows each value.
        marks: draw every point.
    """
    if not points:
        return f'<p class="note">No {text(name)} was recorded.</p>'
    values = [value for _, value in points]
    logarithmic = min(values) > 0
    ticks = log_ticks(min(values), max(values)) if logarithmic else even_ticks(min(0.0, *values), max(values))
    last = points[-1][0]
    steps = [step for step in even_ticks(0, last) if step <= last]

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(last, 1e-12)

    def y(value: float) -> float:
        low, high, at = (log10(v) if logarithmic else v for v in (ticks[0], ticks[-1], value))
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (at - low) / (high - low or 1)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text x="{LEFT - 7}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}{text(unit)}</text>'
        for t in ticks
    ]
    parts += [
        f'<text x="{x(step):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step:,.0f}</text>'
        for step in steps
    ]
    line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    if marks or len(points) == 1:
        parts += [
            f'<circle class="mark" cx="{x(step):.1f}" cy="{y(value):.1f}" r="3.5">'
            f"<title>step {step:,.0f}: {value:.3g}{text(unit)}</title></circle>"
            for step, value in points
        ]
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(name)} by step">'
        f"{''.join(parts)}</svg>"
    )


def even_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """About as many round numbers, evenly apart, that enclose both."""
    span = high - low or abs(high) or 1.0
    rough = span / about
    size = 10.0 ** floor(log10(rough))
    size *= next(factor for factor in (1, 2, 5, 10) if factor * size >= rough * 0.999)
    return [size * index for index in range(floor(low / size), ceil(high / size - 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Of 1, 2, 5, 10, … those from just below `low` to just above `high`; only powers of ten where many."""
    powers = range(floor(log10(low)) - 1, ceil(log10(high)) + 2)
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
    first = max(index for index, tick in enumerate(ticks) if tick <= low)
    last = min(index for index, tick in enumerate(ticks) if tick >= high)
    return ticks[first : max(last, first + 1) + 1]


def confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> str:
    """How often class i (rows) was taken for class j (columns); mistakes the redder the more there are."""
    names = [_short(label) for label in labels]
    margin = 30 + 7 * max(map(len, names))
    side = margin + CELL * len(names) + 2
    worst = max(1, int((counts - np.diag(np.diag(counts))).max()))
    parts = [f'<text x="{margin}" y="12">predicted</text><text x="0" y="{margin - 8}">true</text>']
    for index, name in enumerate(names):
        middle = margin + CELL * index + CELL / 2
        turn = f' transform="rotate(-90 {middle} {margin - 8})"' if len(name) > 2 else ""
        at = ("start", middle + 4) if turn else ("middle", middle)
        parts.append(
            f'<text class="head" x="{at[1]}" y="{margin - 8}" text-anchor="{at[0]}"{turn}>{name}</text>'
        )
        parts.append(f'<text class="head" x="{margin - 8}" y="{middle + 4}" text-anchor="end">{name}</text>')
    for (row, true), (column, taken) in product(enumerate(labels), enumerate(labels)):
        parts.append(_cell(int(counts[row, column]), row, column, margin, worst, (true, taken)))
    return (
        f'<svg class="chart matrix" viewBox="0 0 {side} {side}" role="img" aria-label="confusion matrix">'
        f"{''.join(parts)}</svg>"
    )


def _cell(count: int, row: int, column: int, margin: float, worst: int, pair: tuple[str, str]) -> str:
    x, y = margin + CELL * column, margin + CELL * row
    kind = "right" if row == column else "mistake"
    strength = 0.16 if row == column else count / worst * 0.85
    box = f'x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{CELL - 2}" rx="4"'
    shown = (
        f'<text class="count" x="{x + CELL / 2}" y="{y + CELL / 2 + 4}" text-anchor="middle">{count}</text>'
    )
    told = f"{count:,} times {text(pair[0])}, taken for {text(pair[1])}"
    fill = f'<rect class="{kind}" {box} fill-opacity="{strength:.2f}"/>' if count else ""
    return f'<g><rect class="cell" {box}/>{fill}{shown if count else ""}<title>{told}</title></g>'


def _short(label: str) -> str:
    plain = " ".join(strip_escapes(label).split())
    return escape(plain if len(plain) <= LABEL_MAX else f"{plain[: LABEL_MAX - 1]}…")
