"""Times of calls. Two programs are compared in turns, so that a change of the machine's speed hits both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

TURN_SECONDS = 0.06


def timed(run: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def seconds(run: Callable[[], Any], repeat: int = 20, warm_up: int = 3) -> float:
    """The median time of one call."""
    for _ in range(warm_up):
        run()
    return median(timed(run) for _ in range(repeat))


def in_turns(runs: Sequence[Callable[[], Any]], repeat: int = 20) -> list[tuple[float, float]]:
    """Of each of `runs`, called in turns: the median of its seconds, and of its ratio to the last one's.

    A turn is as many calls as fill `TURN_SECONDS`: the idle threads of a runtime spin on after a call and
    would slow the first call of the next program.
    """
    counts = [max(1, round(TURN_SECONDS / seconds(run, 5))) for run in runs]
    rounds = [
        [
            timed(lambda run=run, count=count: _calls(run, count)) / count
            for run, count in zip(runs, counts, strict=True)
        ]
        for _ in range(repeat)
    ]
    return [
        (median(r[index] for r in rounds), median(r[index] / r[-1] for r in rounds))
        for index in range(len(runs))
    ]


def _calls(run: Callable[[], Any], count: int) -> None:
    for _ in range(count):
        run()
