"""Every layer and activation of `mlx.nn` with an input, and for what is not among them the reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from case_table import Arg, Case

X, SEQUENCE, PICTURE = Arg((3, 8)), Arg((2, 5, 8)), Arg((2, 9, 8, 4))
VOLUME = Arg((1, 6, 6, 6, 2))
IDS = Arg((2, 5), "int32", (0, 10))
Make = tuple[Callable[[], Callable[..., Any]], tuple[Arg, ...]]


def _simple(names: str) -> dict[str, Make]:
    return {name: (getattr(nn, name), (X,)) for name in names.split()}


LAYERS: dict[str, Make] = {
    **_simple(
        "CELU ELU GELU GLU HardShrink HardTanh Hardswish Identity LeakyReLU LogSigmoid LogSoftmax Mish"
    ),
    **_simple(
        "PReLU ReLU ReLU2 ReLU6 SELU SiLU Sigmoid Softmax Softmin Softplus Softshrink Softsign Step Tanh"
    ),
    "ALiBi": (nn.ALiBi, (Arg((1, 2, 5, 5)),)),
    "AvgPool1d": (partial(nn.AvgPool1d, 2), (Arg((2, 8, 3)),)),
    "AvgPool2d": (partial(nn.AvgPool2d, 3, 2, 1), (PICTURE,)),
    "AvgPool3d": (partial(nn.AvgPool3d, 2), (VOLUME,)),
    "MaxPool1d": (partial(nn.MaxPool1d, 2), (Arg((2, 8, 3)),)),
    "MaxPool2d": (partial(nn.MaxPool2d, 3, 2, 1), (PICTURE,)),
    "MaxPool3d": (partial(nn.MaxPool3d, 2), (VOLUME,)),
    "BatchNorm": (partial(nn.BatchNorm, 4), (PICTURE,)),
    "GroupNorm": (partial(nn.GroupNorm, 2, 4), (PICTURE,)),
    "InstanceNorm": (partial(nn.InstanceNorm, 4, affine=True), (PICTURE,)),
    "LayerNorm": (partial(nn.LayerNorm, 8), (SEQUENCE,)),
    "RMSNorm": (partial(nn.RMSNorm, 8), (SEQUENCE,)),
    "Bilinear": (partial(nn.Bilinear, 8, 8, 5), (X, X)),
    "Conv1d": (partial(nn.Conv1d, 8, 6, 3), (SEQUENCE,)),
    "Conv2d": (partial(nn.Conv2d, 4, 6, 3, 2, 1), (PICTURE,)),
    "Conv3d": (partial(nn.Conv3d, 2, 3, 3), (VOLUME,)),
    "ConvTranspose1d": (partial(nn.ConvTranspose1d, 8, 6, 3, 2), (SEQUENCE,)),
    "ConvTranspose2d": (partial(nn.ConvTranspose2d, 4, 6, 3, 2, 1), (PICTURE,)),
    "ConvTranspose3d": (partial(nn.ConvTranspose3d, 2, 3, 3, 2), (VOLUME,)),
    "Dropout": (nn.Dropout, (X,)),
    "Dropout2d": (nn.Dropout2d, (PICTURE,)),
    "Dropout3d": (nn.Dropout3d, (VOLUME,)),
    "Embedding": (partial(nn.Embedding, 10, 8), (IDS,)),
    "Linear": (partial(nn.Linear, 8, 6), (SEQUENCE,)),
    "QuantizedEmbedding": (partial(nn.QuantizedEmbedding, 10, 64, 32), (IDS,)),
    "QuantizedLinear": (partial(nn.QuantizedLinear, 64, 8, group_size=32), (Arg((3, 64)),)),
    "RNN": (partial(nn.RNN, 8, 6), (SEQUENCE,)),
    "GRU": (partial(nn.GRU, 8, 6), (SEQUENCE,)),
    "LSTM": (partial(nn.LSTM, 8, 6), (SEQUENCE,)),
    "MultiHeadAttention": (partial(nn.MultiHeadAttention, 8, 2), (SEQUENCE, SEQUENCE, SEQUENCE)),
    "RoPE": (partial(nn.RoPE, 8), (Arg((1, 2, 5, 8)),)),
    "SinusoidalPositionalEncoding": (partial(nn.SinusoidalPositionalEncoding, 8), (Arg((2, 5)),)),
    "Sequential": (lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU()), (X,)),
    "Transformer": (lambda: _masked(nn.Transformer(8, 2, 1, 1, 16), 2), (SEQUENCE, SEQUENCE)),
    "TransformerEncoder": (lambda: _masked(nn.TransformerEncoder(1, 8, 2, 16), 1), (SEQUENCE,)),
    "TransformerEncoderLayer": (lambda: _masked(nn.TransformerEncoderLayer(8, 2, 16), 1), (SEQUENCE,)),
    "TransformerDecoder": (lambda: _masked(nn.TransformerDecoder(1, 8, 2, 16), 2), (SEQUENCE, SEQUENCE)),
    "TransformerDecoderLayer": (
        lambda: _masked(nn.TransformerDecoderLayer(8, 2, 16), 2),
        (SEQUENCE, SEQUENCE),
    ),
    "Upsample": (partial(nn.Upsample, 2, mode="linear"), (PICTURE,)),
}


class Masked(nn.Module):
    """A Transformer called without masks."""

    def __init__(self, inner: nn.Module, inputs: int):
        super().__init__()
        self.inner, self.masks = inner, (None,) * (3 if isinstance(inner, nn.Transformer) else inputs)

    def __call__(self, *arrays: mx.array) -> mx.array:
        return self.inner(*arrays, *self.masks)


def _masked(inner: nn.Module, inputs: int) -> nn.Module:
    return Masked(inner, inputs)


FUNCTIONS: dict[str, Make] = {
    **{
        name: (lambda name=name: getattr(nn, name), (X,))
        for name in [
            "celu",
            "elu",
            "gelu",
            "gelu_approx",
            "gelu_fast_approx",
            "glu",
            "hard_shrink",
            "hard_tanh",
            "hardswish",
            "leaky_relu",
            "log_sigmoid",
            "log_softmax",
            "mish",
            "relu",
            "relu2",
            "relu6",
            "selu",
            "sigmoid",
            "silu",
            "softmax",
            "softmin",
            "softplus",
            "softshrink",
            "softsign",
            "step",
            "tanh",
        ]
    },
    "prelu": (lambda: lambda x: nn.prelu(x, mx.array([0.3])), (X,)),
}
DISTRIBUTED = "spreads a model over machines; its layers convert before that"
ABSENT = {
    "Module": "the base of the others",
    "QQLinear": "quantises activations in a format of its own",
    **dict.fromkeys(
        [
            "AllToShardedLinear",
            "FullyShardedModule",
            "QuantizedAllToShardedLinear",
            "QuantizedShardedToAllLinear",
            "ShardedToAllLinear",
            "average_gradients",
            "fully_shard",
        ],
        DISTRIBUTED,
    ),
    "quantize": "changes a model",
    "value_and_grad": "trains",
}


def _evaluated(make: Callable[[], Any]) -> Any:
    made = make()
    if isinstance(made, nn.Module):
        mx.eval(made.parameters())
        made.eval()
    return made


def row(name: str) -> Case:
    """The layer or function as a row; made anew, with weights drawn from a fixed seed."""
    make, args = {**LAYERS, **FUNCTIONS}[name]
    mx.random.seed(0)
    return Case(f"nn.{name}", (), _evaluated(make), args)
