"""LayerNorm, with its weight and bias inside where they are constants."""

from __future__ import annotations

from functools import partial

import numpy as np

from converters.dtypes import numpy_dtype
from converters.graph import Node
from converters.targets.coreml.rules.lowering import Lowering
from converters.targets.coreml.writer import Writer


def _layer_norm(w: Writer, node: Node, axis: int = -1) -> None:
    x, *vectors = node.inputs
    names = dict(zip(("gamma", "beta"), (w.ref(vector) for vector in vectors), strict=False))
    axes, epsilon = np.array([axis], np.int32), np.array(node.attrs["eps"], numpy_dtype(x.dtype))
    w.emit("layer_norm", node, x=w.ref(x), axes=axes, **names, epsilon=epsilon)


def _refuse_layer_norm(ios: int, node: Node) -> str | None:
    eps = node.attrs["eps"]
    if node.output.dtype == "float16" and abs(float(np.float16(eps)) - eps) > 0.02 * eps:
        return "epsilon vanishes in float16"
    return None


RULES = {
    "LayerNorm": Lowering(_layer_norm, _refuse_layer_norm, constants=(1, 2)),
    "ChannelLayerNorm": Lowering(partial(_layer_norm, axis=1), _refuse_layer_norm, constants=(1, 2)),
}
