"""How a model is trained: the numbers, in one frozen value. The recipes themselves are in
`edgevision.recipes`, one file for each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, get_args

from edgevision.errors import UsageError

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
        start: the run, folder or name of the trained model to begin with, None for a new one.
        tune: which of its weights learn: all, head, last:N or lora:R (`edgevision.training.finetuning`).
        layer_decay: each block learns so many times as fast as the one after it, and the first layer slowest.
        seed: of the weights, the order and the distortions.
        blas_threads: threads of a matrix product on Linux, None for one per core; more do not speed up a
            network as small as LeNet. The last bits depend on it.
        UNREAD: settings that a kind of training does not have.
    """

    UNREAD: ClassVar[frozenset[str]] = frozenset()

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
    start: str | None = None
    tune: str = "all"
    layer_decay: float = 1.0
    seed: int = 0
    blas_threads: int | None = 1

    def __post_init__(self) -> None:
        for name in ("betas", "randaugment"):  # JSON has lists
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)

    def total_steps(self, per_epoch: int) -> int:
        """Steps of the whole training, where an epoch has `per_epoch`."""
        return self.epochs * per_epoch if self.steps is None else self.steps


def recipe_of(model: str, variant: str, data: str = "") -> Recipe:
    """The recipe of a model's variant for a data set, else of the variant, else of the model.

    For a person's own pictures the best weights are kept, as measured on the part that is held out.
    """
    from edgevision.data.folder import is_own

    file = f"edgevision.recipes.{model}"
    known: dict[str, Recipe] = import_module(file).RECIPES if find_spec(file) else {}
    names = (f"{variant} {data}", data or variant, variant, "")
    recipe = next((known[name] for name in names if name in known), Recipe())
    return replace(recipe, keep="best") if is_own(data) else recipe


def settings_of(given: Sequence[str], recipe: Recipe | None = None) -> dict[str, Any]:
    """ "NAME=VALUE" as fields of a recipe (of that kind, where one is given); values are written as in JSON,
    words without quotation marks.

    Raises:
        UsageError: a name or a value that a recipe does not have.
    """
    import json

    found: dict[str, Any] = {}
    recipe = recipe or Recipe()
    known = [field.name for field in fields(recipe) if field.name not in recipe.UNREAD]
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise UsageError(f"--set {text!r} names no setting", hint=f"choose from {', '.join(known)}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
        check_setting(name, found[name], recipe)
    return found


def check_setting(name: str, value: Any, recipe: Recipe | None = None) -> None:
    """UsageError where a recipe (of that kind) cannot have `value` there."""
    default, choices = getattr(recipe or Recipe(), name), CHOICES.get(name)
    kind = OPTIONAL.get(name) or type(default)
    if choices is not None:
        right = value in choices
    elif kind in (int, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        right = number and value >= 0 and (kind is float or isinstance(value, int))
    elif kind is tuple:
        right = isinstance(value, list) and len(value) == 2
    else:
        right = isinstance(value, kind)
    if not (right or (value is None and name in OPTIONAL)):
        hint = f"choose from {', '.join(choices)}" if choices else f"it is of the kind {kind.__name__}"
        raise UsageError(f"--set {name}={value!r} is not to be had", hint=hint)


CHOICES = {
    "optimizer": get_args(Optimizer),
    "precision": ("float32", "bfloat16"),
    "keep": ("last", "best"),
}
OPTIONAL: dict[str, type] = {  # whose default may be None
    "steps": int,
    "clip": float,
    "average": float,
    "randaugment": tuple,
    "patience": int,
    "start": str,
    "evaluate_every": int,
    "blas_threads": int,
}

__all__ = ["Recipe", "check_setting", "recipe_of", "settings_of"]
