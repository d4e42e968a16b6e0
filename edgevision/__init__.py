"""Train small models in MLX, convert them, prove the result, and run it on the device."""

__version__ = "0.1.0"

__all__ = ["__version__"]
