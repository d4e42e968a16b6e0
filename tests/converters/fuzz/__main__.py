"""`python -m fuzz N`: N random programs for each target, compared between MLX, NumPy and the target.

A program that the capture or a target refuses is no example for it: more are drawn, and the reasons counted.
"""

from __future__ import annotations

import argparse
import faulthandler
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import count

import edgevision  # noqa: F401  (its matrix products must be in place before mlx.core is imported)

# isort: split
from fuzz.drawing import drawn
from fuzz.judging import TARGETS, Outcome, Refused, judged
from fuzz.program import Program
from fuzz.reducing import reduced

ALWAYS = ("numpy", "passes")


def outcomes(program: Program, targets: Sequence[str]) -> dict[str, Outcome]:
    """How the program fares at each target."""
    return judged(program, program.inputs, program.sizes, program.grades, program.opset, targets)


def report(seed: int, program: Program, target: str) -> str:
    """The smallest program that still differs at the target, as Python to paste, and how it differs."""
    small = reduced(program, lambda p: isinstance(outcomes(p, (target,))[target], str))
    return f"# {target}, seed {seed}: {outcomes(small, (target,))[target]}\n{small}\n"


class Tally:
    """Examples, mismatches and refusals of each target."""

    def __init__(self, targets: Sequence[str], wanted: int):
        self.wanted = wanted
        self.examples = Counter(dict.fromkeys(targets, 0))
        self.mismatches: Counter[str] = Counter()
        self.refusals: dict[str, Counter[str]] = {target: Counter() for target in targets}

    def open(self) -> list[str]:
        """The targets that need more examples."""
        return [target for target, examples in self.examples.items() if examples < self.wanted]

    def add(self, target: str, outcome: Outcome) -> None:
        """One more outcome."""
        if isinstance(outcome, Refused):
            self.refusals[target][re.sub(r"\d+", "N", str(outcome))[:100]] += 1
            return
        self.examples[target] += 1
        self.mismatches[target] += outcome is not None

    def __str__(self) -> str:
        return "; ".join(
            f"{target}: {examples} graphs, {self.mismatches[target]} mismatches, "
            f"{self.refusals[target].total()} refused"
            for target, examples in self.examples.items()
        )


def _is_here(target: str) -> bool:
    """Whether the target can run; says so where its package is missing."""
    here = target != "coreai" or find_spec("coreai") is not None
    if not here:
        print("coreai: left out, coreai-core is not installed", file=sys.stderr)
    return here


def main() -> int:
    """The command line; 1 where anything differs."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("count", type=int, help="programs that each target must take")
    parser.add_argument("--targets", default="onnx", help=f"of {', '.join(TARGETS)}; comma-separated")
    parser.add_argument("--seed", type=int, default=0, help="of the first program")
    parser.add_argument("--refusals", action="store_true", help="list what was refused")
    given = parser.parse_args()
    targets = [*ALWAYS, *(target for target in given.targets.split(",") if _is_here(target))]
    faulthandler.enable()
    tally, shown = Tally(targets, given.count), time.monotonic()
    for seed in count(given.seed):
        remaining = tally.open()
        if not remaining:
            break
        program = drawn(seed)
        for target, outcome in outcomes(program, remaining).items():
            tally.add(target, outcome)
            if isinstance(outcome, str):
                print(report(seed, program, target), flush=True)
        if time.monotonic() - shown > 2:
            shown = time.monotonic()
            print(
                f"seed {seed}; {tally}",
                end="\r" if sys.stderr.isatty() else "\n",
                file=sys.stderr,
                flush=True,
            )
    if given.refusals:
        for target in targets:
            for reason, times in tally.refusals[target].most_common():
                print(f"{target} refused {times} times: {reason}")
    print(str(tally).replace("; ", "\n"))
    return 1 if tally.mismatches.total() else 0


if __name__ == "__main__":
    sys.exit(main())
