"""LeNet against the paper's tables, and against a slow reading of its section II.B in NumPy."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from edgevision import models, runs
from edgevision.errors import UsageError
from edgevision.models import lenet

# Table I: a row per map of S2, a column per map of C3.
TABLE_I = (
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
)


def test_connections_are_those_of_the_paper() -> None:
    drawn = ["".join("X" if row in maps else "." for maps in lenet.CONNECTIONS) for row in range(6)]
    assert tuple(drawn) == TABLE_I


def test_paper_has_60000_parameters() -> None:
    counts = lenet.parameter_counts(lenet.Model(lenet.VARIANTS["1998"]))
    assert counts == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert sum(counts.values()) == 60_000


def test_modern_has_61706_parameters() -> None:
    counts = lenet.parameter_counts(lenet.Model(lenet.VARIANTS["modern"]))
    assert counts == {"conv1": 156, "conv2": 2_416, "fc1": 48_120, "fc2": 10_164, "fc3": 850}


def test_squashing_keeps_plus_and_minus_one() -> None:
    """Appendix A: f(1) = 1, f(-1) = -1, and f is flat at 1.7159."""
    values = lenet.squash(mx.array([1.0, -1.0, 0.0, 100.0]))
    assert np.allclose(np.array(values), [1, -1, 0, 1.7159], atol=1e-4)


def test_codes_are_ten_different_drawings() -> None:
    codes = np.array(lenet.output_codes(10))
    assert codes.shape == (10, 84)
    assert np.allclose(np.abs(codes), 1 / np.sqrt(84))
    nearest = (codes @ codes.T - 2 * np.eye(10)).max()
    assert nearest < 0.9, "two codes hardly differ"
    with pytest.raises(ValueError, match="10 classes, not for 11"):
        lenet.output_codes(11)


def paper_in_numpy(weights: dict[str, np.ndarray], picture: np.ndarray) -> np.ndarray:
    """Logits of one picture (28, 28) in [0, 1], unit by unit as the paper describes them."""

    def f(a: np.ndarray) -> np.ndarray:
        return 1.7159 * np.tanh(2 / 3 * a)

    def convolve(maps: list[np.ndarray], name: str, connections: list[list[int]]) -> list[np.ndarray]:
        made = []
        for index, seen in enumerate(connections):
            size = len(maps[0]) - 4
            total = np.full((size, size), weights[f"{name}.bias"][index], np.float64)
            for i in seen:
                kernel = weights[f"{name}.weight"][index, :, :, i]
                for y in range(size):
                    for x in range(size):
                        total[y, x] += (maps[i][y : y + 5, x : x + 5] * kernel).sum()
            made.append(f(total))
        return made

    def subsample(maps: list[np.ndarray], name: str) -> list[np.ndarray]:
        sums = [m[::2, ::2] + m[1::2, ::2] + m[::2, 1::2] + m[1::2, 1::2] for m in maps]
        a, b = weights[f"{name}.coefficient"] / 4, weights[f"{name}.bias"]
        return [f(total * a[i] + b[i]) for i, total in enumerate(sums)]

    retina = np.full((32, 32), -0.1)
    retina[2:30, 2:30] = picture * 1.275 - 0.1
    s2 = subsample(convolve([retina], "c1", [[0]] * 6), "s2")
    seen = [[row for row in range(6) if TABLE_I[row][column] == "X"] for column in range(16)]
    s4 = subsample(convolve(s2, "c3", seen), "s4")
    c5 = np.array(convolve(s4, "c5", [list(range(16))] * 120)).reshape(120)
    f6 = f(weights["f6.weight"] @ c5 + weights["f6.bias"])
    return np.array(lenet.output_codes(10)) @ f6


def test_1998_computes_what_the_paper_says() -> None:
    mx.random.seed(3)
    model = lenet.Model(lenet.VARIANTS["1998"])
    noisy = {name: array + 0.1 * mx.random.normal(array.shape) for name, array in flat(model).items()}
    model.load_weights(list(noisy.items()))
    pictures = np.random.default_rng(0).uniform(size=(2, 28, 28, 1)).astype(np.float32)
    expected = [
        paper_in_numpy({k: np.array(v) for k, v in noisy.items()}, picture[..., 0]) for picture in pictures
    ]
    assert np.allclose(np.array(model(mx.array(pictures))), expected, atol=1e-4)


def test_unconnected_weights_are_not_trained() -> None:
    model = lenet.Model(lenet.VARIANTS["1998"])
    pictures = mx.random.uniform(shape=(2, 28, 28, 1))
    _, gradients = nn.value_and_grad(model, lambda x: model(x).square().sum())(pictures)
    touched = np.any(np.array(gradients["c3"]["weight"]) != 0, axis=(1, 2))  # (16, 6)
    assert touched.T.tolist() == [[cell == "X" for cell in row] for row in TABLE_I]


@pytest.mark.parametrize("variant", ["modern", "1998"])
def test_same_seed_same_weights(variant: str) -> None:
    made = []
    for seed in (1, 1, 2):
        mx.random.seed(seed)
        made.append(runs.build("lenet", variant)[0])
    first, second, other = (flat(model) for model in made)
    assert all(mx.array_equal(first[name], second[name]) for name in first)
    assert not all(mx.array_equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("variant", ["modern", "1998"])
def test_other_numbers_of_classes(variant: str) -> None:
    model, config = runs.build("lenet", variant, classes=4)
    assert config["classes"] == 4
    assert model(mx.zeros((3, 28, 28, 1))).shape == (3, 4)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UsageError, match="'lenet5' is unknown") as caught:
        models.find("lenet5")
    assert "lenet" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no variant '1999'") as caught:
        models.variant("lenet", "1999")
    assert "modern, 1998" in str(caught.value.hint)


def flat(model: nn.Module) -> dict[str, mx.array]:
    return dict(tree_flatten(model.parameters()))  # type: ignore[arg-type]
