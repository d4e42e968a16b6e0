"""Small trained-looking runs: what `edgevision app` is given."""

from dataclasses import asdict

import mlx.core as mx
import pytest
from mlx.utils import tree_map

from edgevision import pretrained, pretrained_captioner, runs
from edgevision.cli import main
from edgevision.models import captioner, decoder_lm, lenet, vit
from edgevision.text.tokenizer import train_tokenizer

TABS = ("digits", "caption", "write")
TEXT = "a large red circle left of a small blue square. "


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folders of runs by name: digits, caption, write; colours is a classifier that no tab takes."""
    mx.random.seed(0)
    folders = {name: tmp_path_factory.mktemp(name) for name in ("digits", "caption", "write", "colours")}
    facts = {"variant": "modern", "data": "mnist", "input": {"shape": [28, 28, 1], "scale": 1 / 255}}
    config = lenet.VARIANTS["modern"]
    facts |= {"model": "lenet", "config": asdict(config)}
    runs.save(folders["digits"], lenet.Model(config), facts, tuple("0123456789"))

    tokenizer = train_tokenizer("characters", [TEXT])
    decoder = decoder_lm.Config("gpt2", tokenizer.size, 16, 1, 2, width=16, tied=False)
    mx.random.seed(3)
    model = sure(captioner.Model(captioner.Config(16, widths=(8, 16), decoder=decoder)))
    pretrained_captioner.save(folders["caption"], model, tokenizer, {"longest": 9})

    writer = sure(
        decoder_lm.Model(decoder_lm.Config("llama", tokenizer.size, 32, 2, 2, width=16, tied=False))
    )
    pretrained.save(folders["write"], writer, tokenizer, {"model": "decoder_lm"})

    colours = vit.Config(16, 8, classes=2, layers=1, heads=2, width=16)
    facts |= {"model": "vit", "variant": "tiny", "config": asdict(colours)}
    facts |= {"input": {"shape": [16, 16, 3], "scale": 1 / 255}}
    runs.save(folders["colours"], vit.Model(colours), facts, ("red", "blue"))
    return folders


def sure(model):
    """With weights so large that sentences vary, and that no rounding changes the order of logits."""
    return model.update(tree_map(lambda w: w * 5 if w.ndim == 2 else w, model.parameters()))


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    """Export folders by target and name."""
    root = tmp_path_factory.mktemp("exported")
    for target in ("coreml", "onnx"):
        for name in TABS:
            out = ["--to", target, "--out", str(root / target / name)]
            assert main(["export", str(trained[name]), *out]) == 0
    return {target: {name: root / target / name for name in TABS} for target in ("coreml", "onnx")}
