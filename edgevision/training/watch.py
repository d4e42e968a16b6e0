"""What is seen of a training: a progress bar, `metrics.jsonl`, and `curve.png`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from converters.storage import replacing_file
from edgevision.console import console


class Watcher(Protocol):
    """Hears what is recorded."""

    def hear(self, record: dict[str, Any]) -> None:
        """One record; it has a `step`."""
        ...


class Clock:
    """Seconds of a training: of this process, and with those before it was resumed."""

    def __init__(self, earlier: float):
        self._earlier, self._began = earlier, time.monotonic()

    def own(self) -> float:
        """Since this process began to train."""
        return max(time.monotonic() - self._began, 1e-9)

    def seconds(self) -> float:
        """Of the whole training, to the millisecond."""
        return round(self._earlier + self.own(), 3)


class Metrics:
    """Records as lines of JSON, flushed as they come; what came after the checkpoint is dropped on resume."""

    def __init__(self, path: Path, keep_to_step: int = 0, watchers: Sequence[Watcher] = ()):
        self.path, self._watchers = path, watchers
        self.records = [r for r in read_metrics(path) if r["step"] <= keep_to_step] if keep_to_step else []
        with replacing_file(path) as new:
            new.write_text("".join(json.dumps(record) + "\n" for record in self.records))

    def write(self, **record: Any) -> None:
        """Append one record; every record has a `step`."""
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        for watcher in self._watchers:
            watcher.hear(record)

    def last(self, name: str) -> Any:
        """The newest value of that name, None where there is none."""
        return next((record[name] for record in reversed(self.records) if name in record), None)

    def measured_at(self, step: int) -> dict[str, Any]:
        """What was measured at a step: the values whose names begin with "test_"."""
        found = next((r for r in reversed(self.records) if r["step"] == step and "loss" not in r), {})
        return {name: value for name, value in found.items() if name.startswith("test_")}

    def seconds(self) -> float:
        """Training time up to the newest record."""
        return self.last("seconds") or 0.0


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`; a last line that a killed process cut is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def draw_curve(records: list[dict[str, Any]], path: Path) -> None:
    """Loss by step, and what was measured, the test error or the held-out loss, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    losses = [(r["step"], r["loss"]) for r in records if "loss" in r]
    errors = [(r["step"], 100 * (1 - r["test_accuracy"])) for r in records if "test_accuracy" in r]
    held_out = [(r["step"], r["test_loss"]) for r in records if "test_loss" in r]
    measured = (errors, "test error, %") if errors or not held_out else (held_out, "held-out loss")
    for axis, (points, title) in ((left, (losses, "training loss")), (right, measured)):
        if points:
            axis.plot(*zip(*points, strict=True), marker="o" if len(points) < 40 else None, markersize=3)
        if points and all(value > 0 for _, value in points):
            axis.set_yscale("log")
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3, which="both")
    with replacing_file(path) as new:
        figure.savefig(new, dpi=110, format="png")


def progress_bar() -> Progress:
    """The bar of a training, on stderr; its fields are `told` (text) and the steps."""
    columns = (BarColumn(10), MofNCompleteColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=False)


def peak_memory() -> int:
    """Bytes: with Metal the most that MLX's arrays took, else the largest size of the process."""
    if mx.metal.is_available():
        return mx.get_peak_memory()
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux ru_maxrss counts what the parent process held when it forked, too
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def machine() -> str:
    """One line about what computes: on macOS the chip, the memory and whether Metal is used."""
    if sys.platform == "darwin":
        facts = [_sysctl("machdep.cpu.brand_string"), f"{int(_sysctl('hw.memsize') or 0) / 2**30:.0f} GiB"]
        facts.append("Metal" if mx.default_device() == mx.Device(mx.gpu) else "CPU only")
        return ", ".join(facts)
    from edgevision import blas

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    status = blas.status()
    library = " ".join(str(status.build).split()[:2]) if status.state == "loaded" else str(status)
    facts = [f"{platform.system()} {platform.machine()}", _processor(), f"{cores} cores", f"BLAS: {library}"]
    return ", ".join(fact for fact in facts if fact)


def _processor() -> str:
    """What Linux calls the first processor; empty where it does not say."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    named = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(named, "").split())


def _sysctl(name: str) -> str:
    done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)
    return done.stdout.strip()
