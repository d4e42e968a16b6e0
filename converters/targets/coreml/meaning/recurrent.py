"""Recurrent layers over (S, B, I): sequence, batch, input size. H is the hidden size.

A reversed direction leaves the outputs in the order in which they were computed, except in a bidirectional
LSTM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from converters.targets.coreml.meaning.activation import sigmoid
from converters.targets.coreml.meaning.definition import FLOATS, Meaning, chosen

Array = np.ndarray

# With Core ML's fixed parameters: scaled_tanh is tanh, hard_sigmoid has slope 0.2 and offset 0.5.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda x: np.clip(np.float32(0.2) * x + np.float32(0.5), 0, 1),
    "sigmoid_hard": lambda x: np.clip(np.float32(0.2) * x + np.float32(0.5), 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


def _activation(name: str) -> Callable[[Array], Array]:
    return ACTIVATIONS[chosen(name.lower(), tuple(ACTIVATIONS))]


def _projected(x: Array, weight: Array, bias: Array | None) -> Array:
    """What the input adds to the gates at each step: (S, B, gates * H)."""
    if x.ndim != 3 or not len(x):
        raise ValueError(f"a sequence of shape {x.shape}")
    y = x @ weight.T
    return y if bias is None else y + bias


def _kept(steps: list[Array], output_sequence: Any) -> Array:
    return np.stack(steps if output_sequence else steps[-1:])


def _rnn(
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array | None = None,
    direction: str = "forward",
    output_sequence: Any = False,
    activation: str = "tanh",
) -> tuple[Array, Array]:
    x = x[::-1] if chosen(direction, ("forward", "reverse")) == "reverse" else x
    function, h, steps = _activation(activation), initial_h, []
    for gate in _projected(x, weight_ih, bias):
        h = function(gate + h @ weight_hh.T)
        steps.append(h)
    return _kept(steps, output_sequence), h


def _gru(
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array | None = None,
    direction: str = "forward",
    output_sequence: Any = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: Any = False,
    input_bias: Array | None = None,
) -> tuple[Array, Array]:
    """Gates in the order reset, output, update; `reset_after` resets the product instead of the state."""
    x = x[::-1] if chosen(direction, ("forward", "reverse")) == "reverse" else x
    inner, outer, h, steps = _activation(recurrent_activation), _activation(activation), initial_h, []
    hidden = weight_hh.shape[1]
    reset_weight, output_weight, update_weight = np.split(weight_hh, 3)
    offset = np.zeros(3 * hidden, np.float32) if bias is None else bias
    for gates in _projected(x, weight_ih, input_bias):
        by_input = np.split(gates, 3, 1)
        r = inner(by_input[0] + h @ reset_weight.T + offset[:hidden])
        z = inner(by_input[2] + h @ update_weight.T + offset[2 * hidden :])
        if reset_after:
            candidate = r * (h @ output_weight.T + offset[hidden : 2 * hidden])
        else:
            candidate = (r * h) @ output_weight.T + offset[hidden : 2 * hidden]
        h = (1 - z) * outer(by_input[1] + candidate) + z * h
        steps.append(h)
    return _kept(steps, output_sequence), h


def _lstm_direction(
    x: Array,
    h: Array,
    c: Array,
    weights: tuple[Array, Array],
    bias: Array | None,
    peephole: Array | None,
    activations: tuple[str, str, str],
    clip: Any,
) -> tuple[list[Array], Array, Array]:
    """One pass. Gates in the order input, forget, output, cell."""
    gate_activation, cell_activation, output_activation = (_activation(name) for name in activations)
    p_i, p_f, p_o = (np.float32(0),) * 3 if peephole is None else np.split(peephole, 3)
    steps = []
    for by_input in _projected(x, weights[0], bias):
        i, f, o, z = np.split(by_input + h @ weights[1].T, 4, 1)
        c = gate_activation(f + p_f * c) * c + gate_activation(i + p_i * c) * cell_activation(z)
        c = c if clip is None else np.clip(c, -float(clip), float(clip))
        h = gate_activation(o + p_o * c) * output_activation(c)
        steps.append(h)
    return steps, h, c


def _lstm(
    x: Array,
    initial_h: Array,
    initial_c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array | None = None,
    peephole: Array | None = None,
    weight_ih_back: Array | None = None,
    weight_hh_back: Array | None = None,
    bias_back: Array | None = None,
    peephole_back: Array | None = None,
    direction: str = "forward",
    output_sequence: Any = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: Any = None,
) -> tuple[Array, Array, Array]:
    """Hidden states (all, or the last), the last hidden and the last cell state."""
    chosen(direction, ("forward", "reverse", "bidirectional"))
    activations = recurrent_activation, cell_activation, activation
    hidden = weight_hh.shape[1]
    first = _lstm_direction(
        x[::-1] if direction == "reverse" else x, initial_h[:, :hidden], initial_c[:, :hidden],
        (weight_ih, weight_hh), bias, peephole, activations, clip,
    )  # fmt: skip
    if direction != "bidirectional":
        return _kept(first[0], output_sequence), first[1], first[2]
    if weight_ih_back is None or weight_hh_back is None:
        raise ValueError("a bidirectional layer without its backward weights")
    second = _lstm_direction(
        x[::-1], initial_h[:, hidden:], initial_c[:, hidden:], (weight_ih_back, weight_hh_back), bias_back,
        peephole_back, activations, clip,
    )  # fmt: skip
    backward = second[0][::-1] if output_sequence else second[0][-1:]
    sequence = np.concatenate([_kept(first[0], output_sequence), np.stack(backward)], -1)
    return sequence, np.concatenate([first[1], second[1]], 1), np.concatenate([first[2], second[2]], 1)


MEANINGS = {
    "rnn": Meaning(_rnn, allowed=FLOATS),
    "gru": Meaning(_gru, allowed=FLOATS),
    "lstm": Meaning(_lstm, allowed=FLOATS),
}
