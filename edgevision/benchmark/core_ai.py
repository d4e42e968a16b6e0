"""The same graphs to Core AI and to Core ML, in turns in one run, both in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

import converters as cv
from edgevision.benchmark import networks
from edgevision.benchmark.timing import in_turns, seconds
from edgevision.models import lenet

Case = tuple[Callable[[], nn.Module], cv.Spec]

CASES: dict[str, Case] = {
    "LeNet": (lambda: lenet.Model(lenet.VARIANTS["modern"]), cv.Spec((1, 28, 28, 1))),
    "ViT-Ti/16": (networks.ViT, cv.Spec((1, 224, 224, 3))),
    "GPT 6x384, 128 tokens": (networks.GPT, cv.Spec((1, 128), "int32")),
}


def compared(case: Case, folder: Path) -> dict[str, str]:
    """Export times and sizes, and one call of Core AI's runtime, which on Linux is an interpreter with one
    thread and tells nothing of a device."""
    make, spec = case
    module = make()
    mx.eval(module.parameters())
    module.eval()
    graph = cv.capture(module, {"x": spec}, ["logits"])
    paths = {suffix: folder / f"model.{suffix}" for suffix in ("aimodel", "mlpackage")}
    exports = [lambda p=path: cv.convert(graph, p, precision="float32") for path in paths.values()]
    (ours, ratio), (beside, _) = in_turns(exports, repeat=9)
    sizes = {
        suffix: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for suffix, path in paths.items()
    }
    weights = sum(array.nbytes for array in graph.constants.values())
    model, x = cv.load(paths["aimodel"]), np.ones([int(str(size)) for size in spec.shape], spec.dtype)
    ran = seconds(lambda: model(x=x), repeat=5, warm_up=1)
    share = 100 * (sizes["aimodel"] / weights - 1)
    return {
        "export to Core AI": f"{ours:.3f} s, Core ML {beside:.3f} s: {ratio:.2f}x",
        "size": f"{sizes['aimodel'] / 1e6:.2f} MB, {share:+.1f} % of the weights' own bytes; "
        f"Core ML {sizes['mlpackage'] / 1e6:.2f} MB",
        "run by its interpreter": f"{1000 * ran:.1f} ms",
    }


__all__ = ["CASES", "compared"]
