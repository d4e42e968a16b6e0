"""Test accuracy by the minutes of training, of several runs in one picture.

    python -m edgevision.experiments.curves runs/cnn runs/vit --out docs/images/trainings.png

The minutes are those of the clock on the machine that trained, measuring included.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from converters.storage import replacing_file
from edgevision.errors import UserError
from edgevision.report.training import Training, read_training


def points(training: Training) -> list[tuple[float, float]]:
    """(minutes, accuracy in %) of each measurement.

    Raises:
        UserError: there is none.
    """
    found = [
        (record["seconds"] / 60, 100 * record["test_accuracy"])
        for record in training.records
        if "test_accuracy" in record
    ]
    if not found:
        raise UserError(f"{training.name} has no accuracy", hint="give trainings that classify pictures")
    return found


def draw(trainings: Sequence[Training], path: Path) -> None:
    """A line for each run, with its best accuracy, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for training in trainings:
        found, config = points(training), training.config
        best = max(accuracy for _, accuracy in found)
        label = f"{config['model']} {config['variant']} on {config['data']}: {best:.1f} %"
        axes.plot(*zip(*found, strict=True), marker="o", markersize=4, label=label)
    axes.set(xlabel="minutes of training", ylabel="test accuracy, %", xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with replacing_file(path) as new:
        figure.savefig(new, dpi=110, format="png")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    given = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    given.add_argument("run", type=Path, nargs="+", help="run folder")
    given.add_argument("--out", type=Path, required=True, help="PNG to write")
    asked = given.parse_args(arguments)
    draw([read_training(path) for path in asked.run], asked.out)


if __name__ == "__main__":
    main()
