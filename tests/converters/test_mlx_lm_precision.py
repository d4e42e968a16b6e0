"""Weights of float16 and bfloat16, and what `precision=` makes of them.

The yardstick is MLX with the same weights in float32. Scalars that the model rounds to its own type, such as
the scale of attention, stay rounded in a file of float32.
"""

import ml_dtypes
import mlx.core as mx
import numpy as np
import onnx
import pytest
from onnx import TensorProto

import converters as cv
from converters.sizes import substitute
from edgevision.decoder import StatelessDecoder

pytest.importorskip("mlx_lm", reason="mlx-lm is a development dependency")

from mlx_lm_configs import build

NAMES = ["llama", "gemma3_text", "gpt2", "mixtral", "mamba", "deepseek_v3", "lfm2"]
STEPS = {"mamba"}
# Of what the file holds: each of its operations rounds so.
TOLERANCES = {"float32": 2e-3, "float16": 1e-2, "bfloat16": 5e-2}
STORED = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
NUMPY: dict[int, type] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
    TensorProto.INT32: np.int32,
}
ROWS = [
    pytest.param(name, dtype, precision, marks=() if name in ("gemma3_text", "mixtral") else pytest.mark.slow)
    for name in NAMES
    for dtype in ("float16", "bfloat16")
    for precision in (None, "float32", "float16")
]


def decoder_of(name: str, dtype: str, wide: bool = False) -> StatelessDecoder:
    model = build(name)
    model.set_dtype(getattr(mx, dtype))
    if wide:
        model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    return StatelessDecoder(model, 1 if name in STEPS else "length")


@pytest.mark.parametrize(("name", "dtype", "precision"), ROWS)
def test_precision_is_what_the_file_holds(name, dtype, precision, tmp_path):
    decoder, wide = decoder_of(name, dtype), decoder_of(name, dtype, wide=True)
    graph = cv.capture(
        decoder,
        decoder.inputs,
        decoder.outputs,
        dims=decoder.dims,
        states=decoder.states,
        module=decoder.model,
    )
    path = cv.convert(graph, tmp_path / "model.onnx", precision=precision)
    proto, session = onnx.load(str(path)).graph, cv.load(path)
    held = precision or dtype
    large = {tensor.data_type for tensor in proto.initializer if np.prod(tensor.dims) > 1000}
    assert large == {STORED[held]}
    random = np.random.default_rng(0)
    for sizes in ({"batch": 2, "length": 5, "past": 3}, {"batch": 1, "length": 1, "past": 9}):
        arrays = []
        for spec in decoder.inputs.values():
            shape = substitute(spec.shape, sizes)
            drawn = random.integers(0, 100, shape) if "int" in spec.dtype else random.normal(size=shape) / 2
            arrays.append(drawn.astype("int32" if "int" in spec.dtype else "float16"))
        typed = [NUMPY[value.type.tensor_type.elem_type] for value in proto.input]
        names = [value.name for value in proto.input]
        got = session(**{n: a.astype(t) for n, a, t in zip(names, arrays, typed, strict=True)})
        floats = [mx.array(a if a.dtype == np.int32 else a.astype(np.float32)) for a in arrays]
        for (output, result), expected in zip(got.items(), wide(*floats), strict=True):
            wanted = np.array(expected)
            difference = np.abs(result.astype(np.float32) - wanted).max()
            assert difference <= TOLERANCES[held] * np.abs(wanted).max(), output
