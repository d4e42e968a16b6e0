"""Pages about trainings: `report.html` of one run, and `edgevision report RUN...`, which compares several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from converters.storage import replacing_file
from edgevision import runs
from edgevision.errors import UserError
from edgevision.report.charts import HEIGHT, LEFT, RIGHT, TOP, WIDTH, even_ticks, line_chart, text
from edgevision.training.watch import read_metrics

BOTTOM = 34  # margin of a chart of several lines
HUES = (18, 210, 140, 280, 50, 330, 175, 95)  # of the lines, in turn
SMOOTHED = 200  # points of a curve at most
CURVES = {"loss": "Training loss", "test_accuracy": "Test accuracy", "test_loss": "Held-out loss"}
RESULTS = {
    "test_accuracy": ("test accuracy", lambda value: f"{value:.2%}"),
    "test_loss": ("held-out loss", lambda value: f"{value:.3f}"),
    "test_perplexity": ("perplexity", lambda value: f"{value:.2f}"),
    "test_exact": ("sentences exact", lambda value: f"{value:.1%}"),
    "test_bleu4": ("BLEU-4", lambda value: f"{value:.1f}"),
    "test_cider": ("CIDEr", lambda value: f"{value:.1f}"),
    "loss": ("training loss", lambda value: f"{value:.3f}"),
    "seconds": ("seconds", lambda value: f"{value:,.0f}"),
    "images_per_second": ("images/s", lambda value: f"{value:,}"),
    "tokens_per_second": ("tokens/s", lambda value: f"{value:,}"),
    "share_waiting_for_data": ("waiting for data", lambda value: f"{value:.1%}"),
    "peak_memory_bytes": ("peak memory", lambda value: f"{value / 2**20:,.0f} MiB"),
}


@dataclass(frozen=True)
class Training:
    """What is known of a run: its name, config.json, and the records of metrics.jsonl."""

    name: str
    config: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]

    def points(self, value: str) -> list[tuple[float, float]]:
        """(step, value), at most `SMOOTHED` of them."""
        found = [(record["step"], record[value]) for record in self.records if value in record]
        return found[:: -(-len(found) // SMOOTHED) or 1]


def read_training(path: Path, name: str | None = None) -> Training:
    """The training of a run folder.

    Raises:
        UserError: there is no run, or it has no record of its training.
    """
    config, records = runs.read_config(path), read_metrics(path / "metrics.jsonl")
    if not records or "training" not in config:
        raise UserError(f"{path} has no record of its training", hint="give runs that edgevision trained")
    return Training(name or str(path), config, records)


def write_run_report(path: Path, training: Training) -> None:
    """One run: its figures, curves and settings."""
    config, result = training.config, training.config.get("result", {})
    numbers = "".join(f"<div><b>{value}</b>{name}</div>" for name, value in _results(result).items())
    settings = {"data": config.get("data"), **config["training"]}
    rows = "".join(f"<tr><td>{text(k)}</td><td>{text(v)}</td></tr>" for k, v in settings.items())
    about = config.get("machine", {}).get("about", "")
    charts = "".join(
        f"<section><h2>{title}</h2>{line_chart(training.points(name), title.lower())}</section>"
        for name, title in CURVES.items()
        if training.points(name)
    )
    body = (
        f'<p class="note">{text(about)}</p><div class="numbers">{numbers}</div>'
        f'<div class="two">{charts}</div>'
        f'<section><h2>Settings</h2><div class="scroll"><table>{rows}</table></div></section>'
    )
    write_page(path, f"{config['model']} {config.get('variant', '')} on {config.get('data', '')}", body)


def write_comparison(path: Path, trainings: Sequence[Training]) -> None:
    """Several runs: results and the settings that differ in one table, curves over each other."""
    settings = [
        {"model": t.config["model"], "variant": t.config.get("variant"), "data": t.config.get("data")}
        | dict(t.config["training"])
        for t in trainings
    ]
    names = list(dict.fromkeys(name for own in settings for name in own))
    differ = [name for name in names if len({str(own.get(name)) for own in settings}) > 1]
    results = [_results(t.config.get("result", {})) for t in trainings]
    found = list(dict.fromkeys(name for own in results for name in own))
    head = "".join(f"<th>{text(name)}</th>" for name in ("run", *found, *differ))
    rows = ""
    for index, (training, result, own) in enumerate(zip(trainings, results, settings, strict=True)):
        cells = [result.get(name, "") for name in found] + [text(own.get(name, "")) for name in differ]
        rows += f'<tr><td><span style="color:{_colour(index)}">■</span> {text(training.name)}</td>'
        rows += "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    charts = "".join(
        f"<section><h2>{title}</h2>{_lines({t.name: t.points(name) for t in trainings}, title)}</section>"
        for name, title in CURVES.items()
        if any(t.points(name) for t in trainings)
    )
    table = f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'
    write_page(
        path, f"{len(trainings)} trainings", f'<section>{table}</section><div class="two">{charts}</div>'
    )


def _results(result: Mapping[str, Any]) -> dict[str, str]:
    return {
        title: escape(shown(result[name]))
        for name, (title, shown) in RESULTS.items()
        if isinstance(result.get(name), int | float)
    }


def _colour(index: int) -> str:
    return f"hsl({HUES[index % len(HUES)]} 70% 50%)"


def _lines(series: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """Lines over steps, each in its colour."""
    points = [point for own in series.values() for point in own]
    ticks = even_ticks(min(v for _, v in points), max(v for _, v in points))
    last = max(step for step, _ in points)

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(last, 1e-12)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - ticks[0]) / (ticks[-1] - ticks[0] or 1)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.6g}</text>'
        for tick in ticks
    ]
    parts += [
        f'<text x="{x(step):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step:,.0f}</text>'
        for step in even_ticks(0, last)
        if step <= last
    ]
    for index, (name, own) in enumerate(series.items()):
        line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in own)
        style = f"stroke:{_colour(index)}"
        parts.append(
            f'<polyline class="line" style="{style}" points="{line}"><title>{text(name)}</title></polyline>'
        )
    label = f'role="img" aria-label="{text(title)} by step"'
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" {label}>{"".join(parts)}</svg>'


def write_page(path: Path, title: str, body: str) -> None:
    """A page in the style of `page.html`."""
    page = (files("edgevision.report") / "page.html").read_text(encoding="utf-8").replace("$$", "$")
    style = page.partition("<style>")[2].partition("</style>")[0]
    with replacing_file(path) as new:
        new.write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
            f"<body><h1>{text(title)}</h1>{body}</body></html>",
            encoding="utf-8",
        )


__all__ = ["Training", "read_training", "write_comparison", "write_page", "write_run_report"]
