"""How a model is trained: the numbers, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Optimizer = Literal["adamw", "muon", "lion", "sgd"]


@dataclass(frozen=True)
class Recipe:
    """Settings of a training.

    Attributes:
        epochs: passes over the training set; `steps`, where given, ends the training instead.
        batch_size: pictures per step, over all processes.
        optimizer: adamw, lion, sgd (Nesterov momentum 0.9), or muon: matrices inside blocks by Muon (Jordan
            et al., 2024), all else by AdamW.
        learning_rate: the highest; it rises from a twentieth over the first `warmup` share of the steps and
            falls along a cosine to the share `floor` of it.
        muon_rate: the highest of Muon's matrices.
        weight_decay: of matrices and kernels, decoupled; biases and scales have none.
        betas: of AdamW.
        clip: largest norm of all gradients together, None for any.
        accumulate: parts in which a batch is computed one after the other, for less memory.
        side_by_side: parts in which a batch is computed at the same time on a CPU, each by one thread; Metal
            takes the batch whole. Norms over the batch are over a part then.
        precision: of the arithmetic; weights are updated in float32.
        average: how much of the averaged weights each step keeps (EMA), None for none. The average is what is
            measured and kept.
        label_smoothing: probability that is spread over all classes.
        turn, stretch, shift: how far pictures are distorted (`edgevision.training.distortion`).
        crop: pixels that pictures are moved by at most. flip: whether left and right are exchanged at random.
        randaugment: number and strength (0 to 30) of random changes.
        mixup, cutmix: their alpha, 0 for none; with both, one of them in each step.
        recompute: compute blocks again for their gradients in place of keeping what they computed.
        keep: the weights of the last step, or of the best measurement.
        patience: measurements without a better one after which the training ends, None for any.
        evaluate_every: steps between two measurements, None for once an epoch.
        seed: of the weights, the order and the distortions.
        blas_threads: threads of a matrix product on Linux, None for one per core; more do not speed up a
            network as small as LeNet. The last bits depend on it.
    """

    epochs: int = 8
    steps: int | None = None
    batch_size: int = 32
    optimizer: Optimizer = "adamw"
    learning_rate: float = 2e-3
    muon_rate: float = 0.02
    warmup: float = 0.1
    floor: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = None
    accumulate: int = 1
    side_by_side: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    average: float | None = None
    label_smoothing: float = 0.05
    turn: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0
    crop: int = 0
    flip: bool = False
    randaugment: tuple[int, float] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    recompute: bool = False
    keep: Literal["last", "best"] = "last"
    patience: int | None = None
    evaluate_every: int | None = None
    seed: int = 0
    blas_threads: int | None = 1

    def __post_init__(self) -> None:
        for name in ("betas", "randaugment"):  # JSON has lists
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)

    def total_steps(self, per_epoch: int) -> int:
        """Steps of the whole training, where an epoch has `per_epoch`."""
        return self.epochs * per_epoch if self.steps is None else self.steps


DIGITS = Recipe(turn=0.15, stretch=0.1, shift=1.5)
PHOTOGRAPHS = Recipe(
    epochs=11,
    batch_size=128,
    optimizer="muon",
    muon_rate=0.015,
    learning_rate=2e-3,
    weight_decay=0.05,
    label_smoothing=0.1,
    crop=4,
    flip=True,
    side_by_side=2,
)
RECIPES: dict[tuple[str, str], Recipe] = {
    ("cnn", "small"): PHOTOGRAPHS,
    ("cnn", "tiny"): PHOTOGRAPHS,
    ("cnn", "wide"): PHOTOGRAPHS,
    ("lenet", "modern"): DIGITS,
    ("lenet", "1998"): Recipe(epochs=14, turn=0.15, stretch=0.1, shift=1.5),
}


def recipe_of(model: str, variant: str) -> Recipe:
    """The recipe of a model's variant, or the default one."""
    return RECIPES.get((model, variant), Recipe())
