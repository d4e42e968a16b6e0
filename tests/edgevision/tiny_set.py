"""A data set of a few pictures in the format of MNIST, for what happens to files."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

from edgevision.data.sources import DataSet, Source


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    head = bytes([0, 0, kind, array.ndim])
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


class TinySet:
    """The set `tiny`: 300 noisy pictures of 3 classes to train with, 20 to test; the content of its files."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        arrays = {
            "train-images-idx3-ubyte.gz": random.integers(0, 256, (300, 28, 28)),
            "train-labels-idx1-ubyte.gz": np.arange(300) % 3,
            "t10k-images-idx3-ubyte.gz": random.integers(0, 256, (20, 28, 28)),
            "t10k-labels-idx1-ubyte.gz": np.arange(20) % 3,
        }
        self.files = {name: gzip.compress(idx(array), mtime=0) for name, array in arrays.items()}
        self.sources = tuple(
            Source(name, len(content), hashlib.sha256(content).hexdigest())
            for name, content in self.files.items()
        )

    def data_set(self, *mirrors: str) -> DataSet:
        return DataSet("tiny", "a few noisy pictures", "tiny", self.sources, mirrors)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
