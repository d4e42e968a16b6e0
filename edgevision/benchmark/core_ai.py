"""The same graphs to Core AI and to Core ML, in turns in one run, both in float32."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

import converters as cv
from edgevision.benchmark.beside_torch import Case
from edgevision.benchmark.timing import seconds

TITLES = ("LeNet", "ViT-Ti/16", "GPT 6x384, 128 tokens")  # of `beside_torch.cases`


def compared(case: Case, folder: Path) -> dict[str, str]:
    """Export times and sizes, and one call of Core AI's runtime, which on Linux is an interpreter with one
    thread and tells nothing of a device."""
    mx.eval(case.model.parameters())
    case.model.eval()
    graph = cv.capture(case.model, case.specs, case.outputs)
    paths = {suffix: folder / f"model.{suffix}" for suffix in ("aimodel", "mlpackage")}
    took, sizes = {}, {}
    for suffix, path in paths.items():
        took[suffix] = seconds(lambda p=path: cv.convert(graph, p, precision="float32"), repeat=5, warm_up=1)
        sizes[suffix] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    weights = sum(array.nbytes for array in graph.constants.values())
    model, feed = cv.load(paths["aimodel"]), case.feed(channels_first=False)
    ran = seconds(lambda: model(**feed), repeat=5, warm_up=1)
    ratio = took["aimodel"] / took["mlpackage"]
    share = 100 * (sizes["aimodel"] / weights - 1)
    return {
        "export to Core AI": f"{took['aimodel']:.3f} s, Core ML {took['mlpackage']:.3f} s: {ratio:.2f}x",
        "size": f"{sizes['aimodel'] / 1e6:.2f} MB, {share:+.1f} % of the weights' own bytes; "
        f"Core ML {sizes['mlpackage'] / 1e6:.2f} MB",
        "run by its interpreter": f"{1000 * ran:.1f} ms",
    }


__all__ = ["TITLES", "compared"]
