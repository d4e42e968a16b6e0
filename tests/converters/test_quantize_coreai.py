"""Quantised weights in Core AI assets: codes in the file, unpacked by Apple's runtime."""

import mlx.core as mx
import numpy as np
import pytest
from quantized_models import MLP, ROWS, mlp_graph, off

import converters as cv

pytest.importorskip("coreai", reason="coreai-core has no wheel for this system")

BITS = {"int8": 8, "int4": 5.6, "palette4": 4, "palette6": 6, "palette8": 8}
LOOSE = {"int8": 0.02, "int4": 0.15, "palette4": 0.15, "palette6": 0.05, "palette8": 0.02}


@pytest.mark.parametrize("scheme", BITS)
def test_asset_with_codes(scheme, tmp_path):
    path = cv.convert(mlp_graph(), tmp_path / "m.aimodel", quantize=scheme)
    model = cv.load(path)
    wanted = np.array(MLP(mx.array(ROWS)))
    assert off(model(x=ROWS)["y"], wanted) < LOOSE[scheme]
    assert model.quantization is not None
    size = (path / "main.mlirb").stat().st_size
    assert size < (128 * 128 + 128 * 40) * BITS[scheme] / 8 + 8000


@pytest.mark.parametrize("scheme", BITS)
def test_codes_are_those_of_the_other_formats(scheme, tmp_path):
    """The same numbers as in a Core ML package: only who unpacks them differs."""
    names = ("m.aimodel", "m.mlpackage")
    options = {"quantize": scheme, "precision": "float32"}
    one, other = (cv.load(cv.convert(mlp_graph(), tmp_path / name, **options)) for name in names)
    np.testing.assert_allclose(one(x=ROWS)["y"], other(x=ROWS)["y"], rtol=1e-4, atol=1e-4)
