"""The same networks to Core ML: ours from MLX, coremltools' from PyTorch, in one run."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import mlx.core as mx
import torch

import converters as cv
from edgevision.benchmark import torch_networks
from edgevision.benchmark.beside_torch import Case
from edgevision.benchmark.timing import seconds

TITLES = ("LeNet", "ViT-Ti/16", "GPT 6x384, 128 tokens")  # of `beside_torch.cases`


def compared(case: Case, folder: Path) -> dict[str, str]:
    """Export times, operations and sizes of one network. Both export once before they are timed."""
    mx.eval(case.model.parameters())
    case.model.eval()
    torch_networks.with_weights_of(case.other, case.model)
    for tensor in case.other.parameters():
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)  # coremltools takes no other
    paths = {"ours": folder / "ours.mlpackage", "theirs": folder / "theirs.mlpackage"}

    def ours() -> None:
        graph = cv.capture(case.model, case.specs, case.outputs)
        cv.convert(graph, paths["ours"])

    exports = {"ours": ours, "theirs": lambda: _coremltools(case, paths["theirs"])}
    took = {name: seconds(export, repeat=3, warm_up=1) for name, export in exports.items()}
    counts = {name: sum(_operations(path).values()) for name, path in paths.items()}
    weights = 2 * sum(parameter.numel() for parameter in case.other.parameters())  # float16
    sizes = {
        name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for name, path in paths.items()
    }
    return {
        "export to Core ML": f"{took['ours']:.2f} s, coremltools from PyTorch {took['theirs']:.2f} s: "
        f"{took['ours'] / took['theirs']:.2f}x",
        "operations": f"{counts['ours']}, coremltools {counts['theirs']}",
        "run by the interpreter": _interpreted(case, paths["ours"], folder / "ours.onnx"),
        "size": f"{sizes['ours'] / 1e6:.2f} MB, coremltools {sizes['theirs'] / 1e6:.2f} MB: "
        f"{100 * (sizes['ours'] / weights - 1):+.1f} % of the weights' own bytes",
    }


def _interpreted(case: Case, package: Path, onnx: Path) -> str:
    """The package in NumPy beside the same network in onnxruntime."""
    feed = case.feed(channels_first=False)
    models = cv.load(package), cv.load(cv.convert(cv.capture(case.model, case.specs, case.outputs), onnx))
    ours, theirs = (seconds(lambda model=model: model(**feed), repeat=5, warm_up=1) for model in models)
    return f"{1000 * ours:.1f} ms, onnxruntime {1000 * theirs:.2f} ms: {ours / theirs:.1f}x"


def _operations(path: Path) -> dict[str, int]:
    from converters.targets.coreml.interpreter import Interpreter

    return Interpreter(path).operations()


def _coremltools(case: Case, path: Path) -> None:
    """torch.export, then coremltools, at the same deployment target."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools

    given = [torch.from_numpy(array) for array in case.feed(channels_first=True).values()]
    arguments = tuple(tensor.clone(memory_format=torch.contiguous_format) for tensor in given)
    quiet = contextlib.redirect_stderr(io.StringIO())  # of progress bars
    with quiet, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(case.other.eval(), arguments).run_decompositions({})
        model = coremltools.convert(
            exported, minimum_deployment_target=coremltools.target.iOS18, skip_model_load=True
        )
        model.save(str(path))


__all__ = ["TITLES", "compared"]
