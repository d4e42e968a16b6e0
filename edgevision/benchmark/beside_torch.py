"""The same networks through PyTorch's exporter in one run with ours, both in onnxruntime."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import onnxruntime
import torch

import converters as cv
from edgevision.benchmark import networks, torch_networks
from edgevision.benchmark.timing import in_turns, seconds
from edgevision.models import lenet

CACHE = [f"{kind}{layer}" for layer in range(6) for kind in ("keys", "values")]


@dataclass(frozen=True)
class Case:
    """One network in both frameworks.

    Attributes:
        model: in MLX; function: what of it is captured, from inputs of `specs`.
        shapes: of the inputs when they are timed.
        other: the same in PyTorch; dims, dynamic: dynamic sizes, for each of the two.
        repeat: how many rounds are timed.
    """

    model: nn.Module
    specs: dict[str, cv.Spec]
    shapes: dict[str, tuple[int, ...]]
    other: torch.nn.Module
    function: Callable[..., Any] | None = None
    outputs: Sequence[str] = ("logits",)
    dims: dict[str, tuple[int, int]] | None = None
    dynamic: dict[str, Any] | None = None
    repeat: int = 40

    def feed(self, channels_first: bool = False) -> dict[str, np.ndarray]:
        """Inputs by name: token ids for integers, the same pictures in either layout."""
        random, feed = np.random.default_rng(0), {}
        for name, shape in self.shapes.items():
            if self.specs[name].dtype == "int32":
                feed[name] = random.integers(0, networks.VOCABULARY, shape).astype(np.int32)
            else:
                array = random.uniform(size=shape).astype(np.float32)
                flip = channels_first and shape[-1] in (1, 3)
                feed[name] = np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if flip else array
        return feed


def cases() -> dict[str, Callable[[], Case]]:
    """What is compared, made when it is needed."""
    return {
        "LeNet": lambda: _picture_case(
            lenet.Model(lenet.VARIANTS["modern"]), torch_networks.LeNet(), (28, 28, 1)
        ),
        "ViT-Ti/16": lambda: _picture_case(networks.ViT(), torch_networks.ViT(), (224, 224, 3)),
        "GPT 6x384, 128 tokens": _text_case,
        "one step after 512 tokens": _step_case,
        "ResNet-18": lambda: _picture_case(networks.ResNet18(), torch_networks.ResNet18(), (224, 224, 3)),
    }


def _picture_case(model: nn.Module, other: torch.nn.Module, shape: tuple[int, ...]) -> Case:
    return Case(model, {"image": cv.Spec((1, *shape))}, {"image": (1, *shape)}, other)


def _text_case() -> Case:
    return Case(networks.GPT(), {"ids": cv.Spec((1, 128), "int32")}, {"ids": (1, 128)}, torch_networks.GPT())


def _step_case() -> Case:
    model = networks.GPT()
    past = cv.Spec((1, 6, "past", 64))
    return Case(
        model,
        {"ids": cv.Spec((1, 1), "int32"), **dict.fromkeys(CACHE, past)},
        {"ids": (1, 1), **dict.fromkeys(CACHE, (1, 6, 512, 64))},
        torch_networks.GPTStep(),
        model.step,
        ("logits", *(f"new_{name}" for name in CACHE)),
        {"past": (0, 1000)},
        {"ids": None, "past": ({2: torch.export.Dim("past", min=1, max=1000)},) * len(CACHE)},
    )


def compared(case: Case, folder: Path) -> dict[str, str]:
    """The figures of one network. Both export once before they are timed, so that imports do not count."""
    mx.eval(case.model.parameters())
    case.model.eval()
    torch_networks.with_weights_of(case.other, case.model)
    function = case.function or case.model
    paths = {"ours": folder / "ours.onnx", "theirs": folder / "theirs.onnx"}

    def ours() -> None:
        graph = cv.capture(function, case.specs, case.outputs, dims=case.dims, module=case.model)
        cv.convert(graph, paths["ours"], runtime="onnxruntime")

    exports = {"ours": ours, "theirs": lambda: _torch_export(case, paths["theirs"])}
    took = {name: seconds(export, repeat=3, warm_up=1) for name, export in exports.items()}
    nodes = {
        name: len(onnx.load(str(path), load_external_data=False).graph.node) for name, path in paths.items()
    }
    wanted = function(*(mx.array(array) for array in case.feed().values()))
    wanted = np.array(wanted[0] if isinstance(wanted, tuple) else wanted)
    runs = {name: _runner(path, case.feed(name == "theirs")) for name, path in paths.items()}
    rows = {
        "export": f"{took['ours']:.2f} s, PyTorch {took['theirs']:.2f} s: "
        f"{took['ours'] / took['theirs']:.2f}x",
        "nodes": f"{nodes['ours']}, PyTorch {nodes['theirs']}",
        "largest difference from MLX": " and PyTorch ".join(
            f"{np.abs(run()[0] - wanted).max() / np.abs(wanted).max():.1e}" for run in runs.values()
        ),
    }
    integers = _in_integers(case, function, folder / "int8.onnx")
    runs = {"int8": _runner(integers, case.feed()), **runs}
    (codes, faster), (mine, ratio), (other, _) = in_turns(list(runs.values()), case.repeat)
    rows["time in onnxruntime"] = f"{1000 * mine:.3f} ms, PyTorch's {1000 * other:.3f} ms: {ratio:.2f}x"
    rows['quantize="int8"'] = f"{1000 * codes:.3f} ms: {faster:.2f}x of PyTorch's float32"
    return rows


def _in_integers(case: Case, function: Callable[..., Any], path: Path) -> Path:
    """The same network in 8 bits; convolutions are calibrated with what is timed, for their speed alone."""
    graph = cv.capture(function, case.specs, case.outputs, dims=case.dims, module=case.model)
    return cv.convert(graph, path, quantize="int8", calibration=[case.feed()], runtime="onnxruntime")


def _runner(path: Path, feed: dict[str, np.ndarray]) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    types = {given.name: given.type for given in session.get_inputs()}
    feed = dict(zip(types, feed.values(), strict=True))
    feed = {name: a.astype(np.int64) if types[name] == "tensor(int64)" else a for name, a in feed.items()}
    return lambda: session.run(None, feed)


def _torch_export(case: Case, path: Path) -> None:
    arguments = tuple(
        torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)
        for array in case.feed(channels_first=True).values()
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            case.other,
            arguments,
            str(path),
            dynamo=True,
            external_data=False,
            dynamic_shapes=case.dynamic,
        )


def products_alone(folder: Path) -> dict[str, str]:
    """ViT-Ti/16 beside what its matrix products alone take in onnxruntime: how near it is to the limit."""
    model, path = networks.ViT(), folder / "vit.onnx"
    mx.eval(model.parameters())
    picture = np.zeros((1, 224, 224, 3), np.float32)
    runs = []
    for function, file in ((model, path), (model.products, folder / "products.onnx")):
        graph = cv.capture(function, {"image": cv.Spec(picture.shape)}, module=model)
        cv.convert(graph, file, runtime="onnxruntime")
        runs.append(_runner(file, {"image": picture}))
    (whole, ratio), (products, _) = in_turns(runs, 40)
    return {
        "all": f"{1000 * whole:.2f} ms",
        "its products alone": f"{1000 * products:.2f} ms: {1 / ratio:.2f} of it",
    }
