"""How a model is trained: the numbers, in one frozen value per model and variant.

edgevision train lenet                  8 epochs of MNIST: under 0.7 % test error
edgevision train lenet --variant 1998   the paper's network: under 1 % test error
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Settings of a training.

    Attributes:
        epochs: passes over the training set; `steps`, where given, ends the training instead.
        batch_size: pictures per step.
        learning_rate: the highest; it rises from a twentieth over the first `warmup` share of the steps and
            falls to a thousandth along a cosine.
        weight_decay: AdamW's, decoupled.
        label_smoothing: probability that is spread over all classes.
        turn, stretch, shift: how far pictures are distorted (`edgevision.training.distortion`).
        seed: of the weights, the order and the distortions.
        blas_threads: threads of a matrix product on Linux, None for one per core; more do not speed up a
            network as small as LeNet. The last bits depend on it.
    """

    epochs: int = 8
    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    turn: float = 0.15
    stretch: float = 0.1
    shift: float = 1.5
    seed: int = 0
    blas_threads: int | None = 1

    def total_steps(self, per_epoch: int) -> int:
        """Steps of the whole training, where an epoch has `per_epoch`."""
        return self.epochs * per_epoch if self.steps is None else self.steps


RECIPES: dict[tuple[str, str], Recipe] = {
    ("lenet", "modern"): Recipe(),
    ("lenet", "1998"): Recipe(epochs=14),
}


def recipe_of(model: str, variant: str) -> Recipe:
    """The recipe of a model's variant, or the default one."""
    return RECIPES.get((model, variant), Recipe())
