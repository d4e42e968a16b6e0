"""The fast GELU is the exact one."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from edgevision.models.activations import gelu


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_value_and_gradient_are_those_of_the_exact_gelu(training: bool, compiled: bool) -> None:
    x = mx.concatenate([mx.linspace(-12, 12, 200_001), mx.array([-1e4, 0.0, 1e4])])
    value = lambda x: gelu(x, training)  # noqa: E731
    slope = mx.grad(lambda x: mx.sum(value(x)))
    if compiled:
        value, slope = mx.compile(value), mx.compile(slope)
    np.testing.assert_allclose(np.array(value(x)), np.array(nn.gelu(x)), rtol=1e-6, atol=2e-6)
    exact = mx.grad(lambda x: mx.sum(nn.gelu(x)))
    np.testing.assert_allclose(np.array(slope(x)), np.array(exact(x)), rtol=1e-6, atol=2e-6)
