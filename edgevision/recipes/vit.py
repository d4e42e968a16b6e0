"""The small Vision Transformer on photographs, from scratch.

edgevision train vit --data cifar10 --out runs/vit
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
