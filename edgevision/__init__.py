"""Train small models in MLX, convert them, prove the result, and run it on the device."""

from edgevision import blas

__version__ = "0.1.0"

blas.arrange()

__all__ = ["__version__", "blas"]
