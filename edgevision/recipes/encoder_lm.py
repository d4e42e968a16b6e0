"""Encoders of text."""

from edgevision.training.encoding import EncoderRecipe

RECIPES = {
    "masked": EncoderRecipe(),
    "classifier": EncoderRecipe(
        epochs=3, batch_size=128, learning_rate=5e-4, muon_rate=5e-3, label_smoothing=0.1, average=0.998
    ),
}
