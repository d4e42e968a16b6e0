"""The small CNN on photographs and on clothing.

edgevision train cnn --data cifar10 --out runs/cnn
edgevision train cnn --data fashion-mnist --out runs/clothing
"""

from dataclasses import replace

from edgevision.training.recipe import Recipe

_PHOTOGRAPHS = Recipe(
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
RECIPES = {"": _PHOTOGRAPHS, "fashion-mnist": replace(_PHOTOGRAPHS, epochs=6, crop=2)}
