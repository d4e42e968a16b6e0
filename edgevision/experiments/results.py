"""Numbers of an experiment, kept as they come, so that a stopped one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from converters.storage import replacing_file
from edgevision.console import console
from edgevision.data import ImageSet
from edgevision.training.classification import train
from edgevision.training.recipe import Recipe

KEPT = "results.json"


class Results:
    """A table from names to numbers in `folder`; `measured` computes what is not there yet."""

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self._path = folder / KEPT
        folder.mkdir(parents=True, exist_ok=True)
        kept = json.loads(self._path.read_text()) if self._path.is_file() else {}
        if kept and kept["settings"] != settings:  # numbers of another experiment
            kept = {}
        self.table: dict[str, dict[str, Any]] = kept.get("table", {})
        self._settings = settings

    def measured(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was measured under that name, now or before."""
        if name not in self.table:
            console.print(name)
            self.table[name] = measure()
            with replacing_file(self._path) as new:
                new.write_text(json.dumps({"settings": self._settings, "table": self.table}, indent=1))
        return self.table[name]


def trained(model: nn.Module, data: ImageSet, test: ImageSet, recipe: Recipe) -> dict[str, Any]:
    """accuracy on `test`, and seconds, of a training that leaves no folder behind."""
    mx.eval(model.parameters())
    with TemporaryDirectory() as folder:
        result = train(model, data, test, recipe, Path(folder))
    return {"accuracy": result["test_accuracy"], "seconds": round(result["seconds"], 1)}


__all__ = ["Results", "trained"]
