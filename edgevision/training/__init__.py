"""Training: one function with a compiled step, checkpoints that resume bit for bit, and what is seen
meanwhile."""

from edgevision.training.recipe import Recipe

__all__ = ["Recipe"]
