"""The small Vision Transformer on photographs, from scratch.

edgevision train vit --data cifar10 --out runs/vit                6 epochs: 78.5 %, 65 minutes on 2 CPU cores
                                                                  that other programs used too

A Mac with an M2 would take 3 to 5 minutes: an estimate from the arithmetic of a step, for no Mac was at hand.
"""

from edgevision.training.recipe import Recipe

RECIPES = {
    "": Recipe(
        epochs=6,
        batch_size=64,
        optimizer="muon",
        muon_rate=0.01,
        learning_rate=2e-3,
        weight_decay=0.05,
        label_smoothing=0.1,
        crop=2,
        flip=True,
        side_by_side=2,
    )
}
