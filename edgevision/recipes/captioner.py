"""Sentences about pictures.

edgevision train captioner --data scenes --out runs/scenes
edgevision train captioner --data flickr8k --out runs/flickr8k
"""

from edgevision.training.captioning import CaptionRecipe

_FLICKR8K = CaptionRecipe(epochs=20, captions=3, longest=15, crop=10, flip=True)
_SCENES = CaptionRecipe(
    epochs=14,
    batch_size=64,
    captions=1,
    longest=11,
    crop=2,
    flip=True,
    light=0.2,
    forget=0.6,
    label_smoothing=0.05,
    average=0.99,
)
RECIPES = {"": _FLICKR8K, "scenes": _SCENES}
