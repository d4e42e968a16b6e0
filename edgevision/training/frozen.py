"""Captioners that begin with a trained encoder: its weights, and epochs in which the decoder alone learns
from features that are computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from edgevision import pretrained_captioner, pretrained_vit
from edgevision.console import console
from edgevision.data.batches import Batch, normalized
from edgevision.data.captions import CaptionSet
from edgevision.jsonfiles import is_captioner
from edgevision.models import captioner
from edgevision.text.tokenizer import Tokenizer
from edgevision.training import loop
from edgevision.training.captioning import AT_ONCE, Captioning, CaptionRecipe
from edgevision.training.step import Measured

Weights = dict[str, mx.array]


def encoder_of(start: str, settings: captioner.Config) -> tuple[captioner.Config, Weights]:
    """`settings` with the encoder of a captioner's run, or of a ViT (a run, a folder of Hugging Face or timm,
    or a name on the Hub), and that encoder's weights. The decoder gets the width of a ViT.

    Raises:
        UserError: it is not there, or is another model.
    """
    if is_captioner(Path(start)):
        model = pretrained_captioner.load(Path(start)).model
        eyes = model.config
        settings = replace(
            settings, image_size=eyes.image_size, channels=eyes.channels, widths=eyes.widths, vit=eyes.vit
        )
        return settings, dict(tree_flatten(model.encoder.parameters()))
    model = pretrained_vit.load(start).model
    vit = model.config
    heads = settings.decoder.heads
    heads = heads if vit.width % heads == 0 else vit.heads
    decoder = replace(settings.decoder, width=vit.width, heads=heads)
    weights: Weights = dict(tree_flatten(model.parameters()))
    own = {f"vit.{name}": array for name, array in weights.items() if not name.startswith("head.")}
    return replace(settings, vit=vit, decoder=decoder), own


class DecoderAlone(Captioning):
    """The pictures as they are, without distortion: their features are computed once and kept in float16."""

    def __init__(
        self,
        model: captioner.Model,
        data: CaptionSet,
        test: CaptionSet,
        tokenizer: Tokenizer,
        recipe: CaptionRecipe,
    ):
        super().__init__(data, test, tokenizer, recipe)
        model.eval()
        parts = [_features(model, data.images[at : at + AT_ONCE]) for at in range(0, len(data), AT_ONCE)]
        self._features = np.concatenate(parts)  # (N, S, E)

    def at(self, step: int) -> Batch:
        """Features float16 (B, S, E), tokens int32 (B, captions, L + 1), -1 after the end."""
        chosen, random = self.chosen(step)
        part = slice(self._group.number, None, self._group.size)
        return self._features[chosen][part], self.sentences(chosen, random)[part]

    def loss(self, model: nn.Module, *batch: mx.array) -> Measured:
        """As of pictures."""
        assert isinstance(model, captioner.Model)
        features, tokens = batch
        return self.loss_of_features(model, model.dropout(features.astype(mx.float32)), tokens)


def train_decoder_alone(
    model: captioner.Model, task: Callable[[CaptionRecipe], DecoderAlone], recipe: CaptionRecipe
) -> None:
    """`recipe.frozen` epochs, the encoder as it is. Interrupted, they begin again."""
    recipe = replace(recipe, epochs=recipe.frozen, steps=None, keep="last", patience=None)
    console.print(f"{recipe.epochs} epochs with the encoder as it is")
    learnt = task(recipe)
    own = model.encoder.parameters()
    model.encoder.freeze()
    try:
        with TemporaryDirectory() as scratch:
            loop.train(model, learnt, recipe, Path(scratch))
    finally:
        model.encoder.unfreeze()
        model.encoder.update(own)  # averaging has moved their last bits


def _features(model: captioner.Model, images: np.ndarray) -> np.ndarray:
    """float16 (B, S, E) of uint8 (B, H, W, 3)."""
    return np.array(model.encoder(normalized(mx.array(images))).astype(mx.float16))


__all__ = ["DecoderAlone", "encoder_of", "train_decoder_alone"]
