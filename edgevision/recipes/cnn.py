"""The small CNN on photographs and on clothing.

edgevision train cnn --data cifar10 --out runs/cnn                11 epochs: 88.0 %, 67 minutes on 2 CPU
                                                                  cores that other programs used too
edgevision train cnn --data fashion-mnist --out runs/clothing     6 epochs; with --variant tiny 28 minutes on
                                                                  2 CPU cores, 93.2 %

A Mac with an M2 would take 3 to 5 minutes for the first and 1 to 2 for the second: an estimate from the
arithmetic of a step, for no Mac was at hand.
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
