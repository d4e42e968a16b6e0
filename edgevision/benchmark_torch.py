"""The same LeNet through PyTorch's exporter, in one run with ours."""

from __future__ import annotations

import contextlib
import io
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import onnx
import onnxruntime

import converters as cv
from edgevision.benchmark import paired
from edgevision.models.lenet import VARIANTS, Model


def beside_torch(folder: Path) -> dict[str, str]:
    """Export time, nodes, and time of one picture in onnxruntime, with ratios (ours / PyTorch's)."""
    import torch

    model = Model(VARIANTS["modern"])
    mx.eval(model.parameters())
    model.eval()
    spec = {"image": cv.Spec(("batch", 28, 28, 1))}
    cv.convert(cv.capture(model, spec), folder / "ours.onnx")
    began = time.perf_counter()
    cv.convert(cv.capture(model, spec), folder / "ours.onnx")
    ours = time.perf_counter() - began
    network = _torch_lenet(torch)
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(network, (torch.zeros(1, 1, 28, 28),), str(folder / "theirs.onnx"), dynamo=True)
    theirs = time.perf_counter() - began
    sessions = [onnxruntime.InferenceSession(str(folder / f"{name}.onnx")) for name in ("ours", "theirs")]
    feeds = [
        {s.get_inputs()[0].name: np.zeros(shape, np.float32)}
        for s, shape in zip(sessions, ((1, 28, 28, 1), (1, 1, 28, 28)), strict=True)
    ]
    a, b, ratio = paired(
        *(lambda s=s, f=f: s.run(None, f) for s, f in zip(sessions, feeds, strict=True)), repeat=200
    )
    nodes = [
        len(onnx.load(str(folder / f"{name}.onnx"), load_external_data=False).graph.node)
        for name in ("ours", "theirs")
    ]
    return {
        "export": f"{ours:.3f} s, PyTorch {theirs:.2f} s, ratio {ours / theirs:.3f}",
        "nodes": f"{nodes[0]}, PyTorch {nodes[1]}",
        "one picture in onnxruntime": f"{1000 * a:.3f} ms, PyTorch's {1000 * b:.3f} ms, ratio {ratio:.2f}",
    }


def _torch_lenet(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    ).eval()
