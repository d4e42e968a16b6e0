"""Several processes that train together, each on its part of every batch.

    mlx.launch -n 2 -- edgevision train vit --data cifar10 --out runs/vit

Process 0 writes the run folder; the others only compute. After every step all of them hold the same weights.
The losses are those of one process with the whole batch, apart from norms over the batch, which each process
takes over its part, and dropout.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from edgevision.errors import UsageError, UserError

LOST = "[ring]"  # what MLX's errors about a lost connection begin with


class Group:
    """The processes of a training; a single one where it was not started by `mlx.launch`.

    Raises:
        UserError: MLX cannot join them.
    """

    def __init__(self) -> None:
        try:
            self._group = mx.distributed.init()
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"the processes of this training cannot be joined: {error}",
                hint="mlx.launch wants two or more, and hosts that reach each other",
            ) from error
        self.number, self.size = self._group.rank(), self._group.size()

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run folder."""
        return self.number == 0

    def mean(self, tree: Any) -> Any:
        """The mean of float arrays over all processes; traced."""
        return tree if self.size == 1 else nn.average_gradients(tree, self._group)

    def total(self, array: mx.array) -> mx.array:
        """The sum over all processes; traced."""
        return array if self.size == 1 else mx.distributed.all_sum(array, group=self._group)

    def agree(self, wish: bool) -> bool:
        """Whether any process wishes it; all get the same answer."""
        return wish if self.size == 1 else bool(self.total(mx.array(int(wish))).item())

    def shared(self, tree: Any) -> Any:
        """The arrays of process 0, in all processes; their shapes must be the same."""
        if self.size == 1:
            return tree
        flat: list[tuple[str, mx.array]] = sorted(
            dict(tree_flatten(tree)).items()
        )  # the same order in all of them
        own = [(name, array if self.is_first else mx.zeros_like(array)) for name, array in flat]
        result = [(name, self.total(array)) for name, array in own]
        mx.eval([array for _, array in result])
        return tree_unflatten(result)

    def check_batch(self, size: int) -> None:
        """UsageError where a batch cannot be shared evenly."""
        if size % self.size:
            raise UsageError(
                f"a batch of {size} cannot be shared by {self.size} processes",
                hint=f"choose a multiple of {self.size} with --batch-size",
            )


def lost(error: RuntimeError, kept: str) -> UserError | None:
    """What a person reads where `error` says that another process is gone, None where it says another thing;
    `kept` is told about the newest checkpoint."""
    if LOST not in str(error):
        return None
    return UserError(
        f"another process of this training has ended; {kept}", hint="start all of them again with --resume"
    )


__all__ = ["Group", "lost"]
