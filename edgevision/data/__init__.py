"""Data sets: loaded from files that are found or downloaded, or drawn by this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.data.sources import DataSet, Source, checked
from edgevision.errors import UsageError, UserError

SPLITS = ("train", "test")

_MNIST = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _sources(*facts: tuple[int, str]) -> tuple[Source, ...]:
    return tuple(Source(name, *fact) for name, fact in zip(_MNIST, facts, strict=True))


DATA_SETS = {
    data.name: data
    for data in (
        DataSet(
            "mnist",
            "handwritten digits, 28x28 grey, 60,000 + 10,000 (LeCun, Cortes, Burges)",
            "mnist",
            _sources(
                (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
                (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
                (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
                (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
            ),
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            "no licence file at its origin; cite LeCun et al. 1998",
        ),
        DataSet(
            "fashion-mnist",
            "articles of clothing, 28x28 grey, 60,000 + 10,000 (Zalando)",
            "fashion_mnist",
            _sources(
                (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
                (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
                (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
                (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
            ),
            (
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            ),
            "MIT",
        ),
        DataSet(
            "cifar10",
            "photographs of ten kinds, 32x32 RGB as JPEG, 50,000 + 10,000 (Krizhevsky)",
            "cifar10",
            (
                Source(
                    "cifar10_jpeg_train.tar.xz",
                    15_463_040,
                    "e1b35d356468920213c6f45c2b76dd25d5d3de07ee212ef700721e1ec13a2acb",
                ),
                Source(
                    "cifar10_jpeg_test.tar.xz",
                    3_098_636,
                    "2659841aeb564b0152374a313fd9a21926ef7db4f5b21042c0b55a3adb011a32",
                ),
            ),
            licence="no formal licence; cite Krizhevsky 2009",
        ),
        DataSet("digits", "numerals drawn by this package, 28x28 grey, 12,000 + 2,000", "", licence="MIT"),
    )
}
CLASSES = {
    "mnist": tuple(str(digit) for digit in range(10)),
    "digits": tuple(str(digit) for digit in range(10)),
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}


@dataclass(frozen=True)
class ImageSet:
    """One split in memory: images uint8 (N, H, W, C), labels int32 (N,) into `classes`."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def find(name: str) -> DataSet:
    """The data set of that name; UsageError lists the names there are."""
    if name not in DATA_SETS:
        raise UsageError(f"data set {name!r} is unknown", hint=f"choose from {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def load(name: str, split: str = "train", count: int | None = None) -> ImageSet:
    """A split of a data set; the first `count` pictures of it.

    Raises:
        UsageError: the name or the split is unknown.
        UserError: the files are not there, or damaged.
    """
    data = find(name)
    _check_split(split)
    if not data.sources:
        from edgevision.data.digits import draw

        images, labels = draw(split, count)
        return ImageSet(images, labels, CLASSES[name])
    if data.name == "cifar10":
        from edgevision.data.cifar import read_jpegs

        source = data.sources[split == "test"]
        images, labels = read_jpegs(checked(data, source), source, CLASSES[name])
        return ImageSet(images[:count], labels[:count], CLASSES[name])
    from edgevision.data.idx import read_idx

    images_source, labels_source = data.sources[:2] if split == "train" else data.sources[2:]
    images, labels = (read_idx(checked(data, source)) for source in (images_source, labels_source))
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) >= len(CLASSES[name]):
        raise UserError(
            f"{data.name}: images {images.shape} and labels {labels.shape} do not belong together"
        )
    return ImageSet(images[:count, :, :, None], labels[:count].astype(np.int32), CLASSES[name])


def load_as_trained(
    config: Mapping[str, Any], split: str, data: str | None = None, count: int | None = None
) -> ImageSet:
    """A split of the data that a run was trained on, or of `data`; a person's own pictures in the run's size,
    split as they were for it.

    Args:
        config: the content of the run's config.json.

    Raises:
        UsageError, UserError: as `load`.
    """
    from edgevision.data.folder import is_own, load_pictures

    name = data or config["data"]
    if not is_own(name):
        return load(name, split, count)
    _check_split(split)
    height, width, channels = config["input"]["shape"]
    pictures = load_pictures(Path(name), (height, width, channels), config["training"]["seed"])
    part = pictures.train if split == "train" else pictures.test
    return ImageSet(part.images[:count], part.labels[:count], part.classes)  # decoded, all of them


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is unknown", hint="choose train or test")


__all__ = ["CLASSES", "DATA_SETS", "ImageSet", "find", "load", "load_as_trained"]
