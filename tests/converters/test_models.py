"""Models as other MLX projects write them: equal to MLX at sizes never captured, few transposes in CNNs."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import convolutional_models as cnn
import dense_models as dense
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import other_models as other
import pytest
import signal_models as signal
import transformer_models as transformer
from mlx.utils import tree_flatten

import converters as cv
from converters.sizes import substitute


@dataclass(frozen=True)
class Model:
    """A row: how it is made, its inputs, sizes to try, the most transposes, ops that must be in the file.

    Inputs are shapes; (shape, highest) draws integers below `highest`.
    """

    make: Callable[[], nn.Module]
    inputs: Mapping[str, Any]
    sizes: tuple[dict[str, int], ...] = ({"n": 1}, {"n": 7})
    transposes: int | None = None
    holds: Mapping[str, int] = field(default_factory=dict)
    dims: Mapping[str, Any] = field(default_factory=dict)


PICTURE = {"x": ("n", 32, 32, 3)}
OPEN = {"x": ("n", "h", "w", 3)}
FREE = ({"n": 1, "h": 32, "w": 48}, {"n": 3, "h": 80, "w": 64})
TEXT = {"ids": (("n", "t"), 50)}
LENGTHS = ({"n": 1, "t": 1}, {"n": 3, "t": 23})
MODELS: dict[str, Model] = {
    "ResNet": Model(cnn.ResNet, OPEN, FREE, 1, {"BatchNormalization": 0}),
    "ConvNeXt": Model(cnn.ConvNeXt, OPEN, FREE, 9, {"LayerNormalization": 6, "Gelu": 3}),
    "MobileNetV2": Model(lambda: cnn.MobileNet(nn.relu6), OPEN, FREE, 1, {"BatchNormalization": 0}),
    "MobileNetV3": Model(lambda: cnn.MobileNet(nn.hardswish, lambda x: nn.relu6(x + 3) / 6), OPEN, FREE, 1),
    "EfficientNet": Model(lambda: cnn.MobileNet(nn.silu, nn.sigmoid), OPEN, FREE, 1),
    "excited by linear layers": Model(lambda: cnn.MobileNet(nn.silu, nn.sigmoid, True), OPEN, FREE, 1),
    "DenseNet": Model(cnn.DenseNet, PICTURE, transposes=1),
    "ShuffleNet": Model(cnn.ShuffleNet, OPEN, FREE, 3),
    "UNet, transposed": Model(lambda: cnn.UNet(True), OPEN, FREE, 2, {"ConvTranspose": 2}),
    "UNet, nearest": Model(lambda: cnn.UNet(False), OPEN, FREE, 2),
    "UNet, linear": Model(lambda: cnn.UNet(False, "linear"), PICTURE),
    "UNet, cubic": Model(lambda: cnn.UNet(False, "cubic"), PICTURE),
    "Pyramid": Model(cnn.Pyramid, OPEN, FREE, 7),
    "SuperResolution": Model(cnn.SuperResolution, OPEN, FREE, 2),
    "StyleTransfer": Model(cnn.StyleTransfer, OPEN, FREE, 2, {"InstanceNormalization": 2}),
    "Video": Model(cnn.Video, {"x": ("n", "t", 16, 16, 3)}, ({"n": 1, "t": 4}, {"n": 2, "t": 10}), 1),
    "Audio": Model(cnn.Audio, {"x": ("n", "t", 1)}, ({"n": 1, "t": 64}, {"n": 2, "t": 90}), 2),
    "ViT": Model(transformer.ViT, PICTURE, holds={"Attention": 2, "LayerNormalization": 6}),
    "Swin": Model(transformer.Swin, PICTURE),
    "SAM": Model(transformer.Sam, PICTURE),
    "DETR": Model(transformer.Detr, OPEN, FREE),
    "CLIP": Model(
        transformer.Clip,
        {"pixels": ("n", 32, 32, 3), "ids": (("m", "t"), 100)},
        ({"n": 1, "m": 1, "t": 40}, {"n": 3, "m": 4, "t": 11}),
        dims={"t": (1, 40)},
    ),
    "Whisper's encoder": Model(
        transformer.WhisperEncoder, {"mel": ("n", "t", 16)}, ({"n": 1, "t": 60}, {"n": 2, "t": 128})
    ),
    "Whisper's decoder": Model(
        transformer.WhisperDecoder,
        {
            "ids": (("n", 1), 60),
            "audio": ("n", "a", 32),
            **{f"past.{i}.{part}": ("n", "p", 32) for i in range(2) for part in ("key", "value")},
        },
        ({"n": 1, "a": 30, "p": 0}, {"n": 2, "a": 11, "p": 40}),
        dims={"p": (0, 60)},
        holds={"Attention": 4},
    ),
    "T5": Model(transformer.T5, TEXT, LENGTHS),
    "BERT": Model(
        transformer.Bert,
        {"ids": (("n", "t"), 60), "kinds": (("n", "t"), 2), "mask": (("n", "t"), -1)},
        LENGTHS,
        dims={"t": (1, 40)},
        holds={"Attention": 2},
    ),
    "nn.Transformer": Model(
        transformer.Seq2Seq,
        {"source": (("n", "s"), 50), "target": (("n", "t"), 50)},
        ({"n": 1, "s": 9, "t": 1}, {"n": 3, "s": 2, "t": 14}),
    ),
    "ALiBi": Model(transformer.Alibi, TEXT, LENGTHS),
    "Perceiver": Model(transformer.Perceiver, {"x": ("n", "t", 16)}, LENGTHS),
    "VAE decoder": Model(
        other.VaeDecoder, {"z": ("n", "h", "w", 4)}, ({"n": 1, "h": 8, "w": 8}, {"n": 2, "h": 5, "w": 9}), 4
    ),
    "diffusion UNet": Model(
        other.DiffusionUNet,
        {"x": ("n", "h", "w", 4), "timestep": ("n",), "text": ("n", "t", 24)},
        ({"n": 1, "h": 8, "w": 8, "t": 7}, {"n": 2, "h": 12, "w": 6, "t": 3}),
    ),
    "LSTM": Model(lambda: other.Recurrent("LSTM"), {"ids": (("n", 9), 50)}),
    "GRU": Model(lambda: other.Recurrent("GRU"), {"ids": (("n", 9), 50)}),
    "RNN": Model(lambda: other.Recurrent("RNN"), {"ids": (("n", 9), 50)}),
    "a step of an LSTM": Model(other.RecurrentStep, {"x": ("n", 16), "hidden": ("n", 24), "cell": ("n", 24)}),
    "Mixer": Model(other.Mixer, PICTURE),
    "graph convolution": Model(
        other.GraphConvolution,
        {"nodes": ("v", 8), "source": (("e",), 5), "target": (("e",), 5)},
        ({"v": 5, "e": 1}, {"v": 9, "e": 30}),
    ),
    "graph attention": Model(
        other.GraphAttention,
        {"nodes": ("v", 8), "edges": ((2, "e"), 5)},
        ({"v": 5, "e": 1}, {"v": 9, "e": 30}),
    ),
    "radiance field": Model(other.Field, {"x": ("r", "s", 3)}, ({"r": 1, "s": 1}, {"r": 9, "s": 6})),
    "WaveNet": Model(other.WaveNet, {"x": ("n", "t", 1)}, ({"n": 1, "t": 1}, {"n": 2, "t": 40})),
    "Segformer": Model(dense.Segformer, OPEN, FREE),
    "detector": Model(dense.Detector, OPEN, FREE),
    "resized positions": Model(lambda: dense.PlacedViT("linear"), OPEN, FREE),
    "cubic positions": Model(lambda: dense.PlacedViT("cubic"), OPEN, FREE),
    "shifted windows": Model(dense.ShiftedWindows, OPEN, FREE),
    "speech without padding": Model(
        signal.Wav2Vec, {"x": ("n", "t")}, ({"n": 1, "t": 400}, {"n": 2, "t": 1200}), 4
    ),
    "mel spectrogram": Model(
        signal.MelSpectrogram, {"x": ("n", "t")}, ({"n": 1, "t": 160}, {"n": 2, "t": 320})
    ),
    "long convolution": Model(signal.LongConvolution, {"x": ("n", "t", 8)}, LENGTHS),
    "vocoder": Model(signal.Vocoder, {"x": ("n", "t", 8)}, LENGTHS),
    "FNet": Model(signal.FourierMixer, {"x": ("n", "t", 16)}, LENGTHS),
    "key points": Model(other.Keypoints, OPEN, FREE),
}


def filled(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, no norm, bias or running statistic left at zero or one."""
    random = np.random.default_rng(3)
    vectors = [
        (name, mx.array(random.uniform(0.3, 1.2, array.shape).astype(np.float32)))
        for name, array in tree_flatten(module.parameters())
        if isinstance(array, mx.array) and array.ndim == 1
    ]
    module.load_weights(vectors, strict=False)
    module.eval()
    mx.eval(module.state)
    return module


def spec_of(shape: Any) -> cv.Spec:
    return cv.Spec(shape[0], "int32") if isinstance(shape[0], tuple) else cv.Spec(shape)


def draw(row: Model, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    random, arrays = np.random.default_rng(0), {}
    for name, shape in row.inputs.items():
        size = substitute(spec_of(shape).shape, sizes)
        if not isinstance(shape[0], tuple):
            arrays[name] = random.normal(size=size).astype(np.float32)
        elif shape[1] < 0:
            arrays[name] = np.ones(size, np.int32)
        else:
            arrays[name] = random.integers(0, shape[1], size).astype(np.int32)
    return arrays


SLOW = {"cubic positions"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in MODELS]
)
def test_a_model_equals_mlx(name, tmp_path):
    row = MODELS[name]
    mx.random.seed(5)
    module = filled(row.make())
    graph = cv.capture(module, {n: spec_of(shape) for n, shape in row.inputs.items()}, dims=dict(row.dims))
    path = cv.convert(graph, tmp_path / "model.onnx")
    for sizes in row.sizes:
        report = cv.compare(module, path, draw(row, sizes))
        assert report.max_rel <= 1e-5, f"{sizes}: {report}"
    ops = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    assert row.transposes is None or ops["Transpose"] <= row.transposes, ops
    assert {op: ops[op] for op in row.holds} == dict(row.holds)
