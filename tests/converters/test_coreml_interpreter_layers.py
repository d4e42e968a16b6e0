"""The interpreter's products, attention, recurrent layers and box selection."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from coreml_programs import Case, Results, check, mb

RNG = np.random.default_rng(3)
Array = np.ndarray


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def random(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def product(a: Array, b: Array) -> Array:
    """The matrix product of the last two axes, term by term."""
    return (a.astype(np.float64)[..., :, :, None] * b.astype(np.float64)[..., None, :, :]).sum(-2)


def products() -> Iterator[Case]:
    x, y = random(2, 1, 3, 4), random(5, 4, 2)
    both = (15, 18)
    yield Case("matmul broadcast", lambda x, y: mb.matmul(x=x, y=y), (x, y), product(x, y), both)
    turned = (np.swapaxes(x, -1, -2).copy(), np.swapaxes(y, -1, -2).copy())
    yield Case(
        "matmul transposed",
        lambda x, y: mb.matmul(x=x, y=y, transpose_x=True, transpose_y=True),
        turned,
        product(x, y),
        both,
    )
    yield Case(
        "matmul of a vector",
        lambda x, y: mb.matmul(x=x, y=y),
        (x[0, 0, 0], y[0]),
        product(x[0, 0, :1], y[0])[0],
    )
    yield Case(
        "matmul int",
        lambda x, y: mb.matmul(x=x, y=y),
        (np.array([[1, 2]], np.int32), np.array([[3], [-4]], np.int32)),
        np.array([[-5]], np.int32),
        rtol=0,
        atol=0,
    )
    w, b = random(6, 4), random(6)
    yield Case("linear", lambda x: mb.linear(x=x, weight=w, bias=b), (x[0],), product(x[0], w.T) + b, both)
    yield Case(
        "linear without bias",
        lambda x: mb.linear(x=x, weight=w),
        (x[0, 0, 0],),
        w.astype(np.float64) @ x[0, 0, 0],
        both,
    )
    p, q = random(2, 3, 1, 4), random(1, 4, 5, 2)
    wanted = np.zeros((2, 3, 5, 2))
    for n, c, h, u in np.ndindex(*wanted.shape):
        wanted[n, c, h, u] = sum(float(p[n, c, 0, i]) * q[0, i, h, u] for i in range(4))
    yield Case(
        "einsum 4", lambda p, q: mb.einsum(values=(p, q), equation="bijk,bkjl->bijl"), (p, q), wanted, both
    )
    yield Case(
        "einsum 3", lambda p, q: mb.einsum(values=(p, q), equation="chw,whr->chr"), (p[0], q[0]), wanted[0]
    )


def attention(q: Array, k: Array, v: Array, added: Array) -> Array:
    scores = product(q, np.swapaxes(k, -1, -2)) / math.sqrt(q.shape[-1]) + added
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return product(e / e.sum(-1, keepdims=True), v)


def attentions() -> Iterator[Case]:
    q, k, v = random(2, 3, 4, 8), random(2, 3, 5, 8), random(2, 3, 5, 6)
    sdpa = lambda q, k, v, **mask: mb.scaled_dot_product_attention(query=q, key=k, value=v, **mask)  # noqa: E731
    yield Case("attention", sdpa, (q, k, v), attention(q, k, v, np.zeros(1)))
    mask = random(4, 5)
    yield Case(
        "attention added mask",
        lambda q, k, v, m: sdpa(q, k, v, attn_mask=m),
        (q, k, v, mask),
        attention(q, k, v, mask),
    )
    keep = (RNG.uniform(size=(2, 1, 4, 5)) < 0.6) | (np.arange(5) == 0)
    yield Case(
        "attention bool mask",
        lambda q, k, v, m: sdpa(q, k, v, attn_mask=mb.cast(x=m, dtype="bool")),
        (q, k, v, keep.astype(np.int32)),
        attention(q, k, v, np.where(keep, 0, -np.inf)),
    )


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


def gru_steps(x: Array, h: Array, w: Array, r: Array, b: Array, c: Array | None) -> list[Array]:
    """The documentation's formulas; with `c`, the input's bias, the reset gate comes after the product."""
    sigmoid = ACTIVATIONS["sigmoid"]
    (w_r, w_o, w_z), (r_r, r_o, r_z), (b_r, b_o, b_z) = np.split(w, 3), np.split(r, 3), np.split(b, 3)
    c_r, c_o, c_z = np.zeros((3, len(h[0]))) if c is None else np.split(c, 3)
    steps = []
    for row in x:
        reset = sigmoid(row @ w_r.T + c_r + h @ r_r.T + b_r)
        update = sigmoid(row @ w_z.T + c_z + h @ r_z.T + b_z)
        by_state = (reset * h) @ r_o.T + b_o if c is None else reset * (h @ r_o.T + b_o)
        h = (1 - update) * np.tanh(row @ w_o.T + c_o + by_state) + update * h
        steps.append(h)
    return steps


def lstm_steps(
    x: Array, h: Array, c: Array, w: Array, r: Array, b: Array, p: Array, outer: str, clip: float
) -> tuple[list[Array], Array, Array]:
    sigmoid = ACTIVATIONS["sigmoid"]
    w_i, w_f, w_o, w_z = np.split(w, 4)
    r_i, r_f, r_o, r_z = np.split(r, 4)
    b_i, b_f, b_o, b_z = np.split(b, 4)
    p_i, p_f, p_o = np.split(p, 3)
    steps = []
    for row in x:
        i = sigmoid(row @ w_i.T + h @ r_i.T + b_i + p_i * c)
        f = sigmoid(row @ w_f.T + h @ r_f.T + b_f + p_f * c)
        c = np.clip(f * c + i * np.tanh(row @ w_z.T + h @ r_z.T + b_z), -clip, clip)
        h = sigmoid(row @ w_o.T + h @ r_o.T + b_o + p_o * c) * ACTIVATIONS[outer](c)
        steps.append(h)
    return steps, h, c


def recurrences() -> Iterator[Case]:
    sequence, batch, size, hidden = 4, 2, 3, 5
    x, h, c = random(sequence, batch, size), random(batch, hidden), random(batch, hidden)
    w, r, b = random(hidden, size), random(hidden, hidden), random(hidden)
    w3, r3, b3 = random(3 * hidden, size), random(3 * hidden, hidden), random(3 * hidden)
    for direction, rows in {"forward": x, "reverse": x[::-1]}.items():
        state, steps = h, []
        for row in rows:
            state = np.maximum(row @ w.T + state @ r.T + b, 0)
            steps.append(state)
        yield Case(
            f"rnn {direction}",
            lambda x, h, d=direction: mb.rnn(
                x=x,
                initial_h=h,
                weight_ih=w,
                weight_hh=r,
                bias=b,
                direction=d,
                output_sequence=True,
                activation="relu",
            ),
            (x, h),
            [np.stack(steps), state],
            (15, 18),
        )
        steps = gru_steps(rows, h, w3, r3, b3, None)
        yield Case(
            f"gru {direction}",
            lambda x, h, d=direction, w=w3, r=r3, b=b3: mb.gru(
                x=x, initial_h=h, weight_ih=w, weight_hh=r, bias=b, direction=d, output_sequence=True
            ),
            (x, h),
            [np.stack(steps), steps[-1]],
            (15, 18),
        )
    c3 = random(3 * hidden)
    steps = gru_steps(x, h, w3, r3, b3, c3)
    yield Case(
        "gru reset after",
        lambda x, h: mb.gru(
            x=x, initial_h=h, weight_ih=w3, weight_hh=r3, bias=b3, input_bias=c3, reset_after=True
        ),
        (x, h),
        [steps[-1][None], steps[-1]],
    )
    w4, r4, b4, p = (
        random(4 * hidden, size),
        random(4 * hidden, hidden),
        random(4 * hidden),
        random(3 * hidden),
    )
    for outer in ACTIVATIONS:
        steps, last, memory = lstm_steps(x[::-1], h, c, w4, r4, b4, p, outer, 0.6)
        yield Case(
            f"lstm {outer}",
            lambda x, h, c, a=outer: mb.lstm(
                x=x,
                initial_h=h,
                initial_c=c,
                weight_ih=w4,
                weight_hh=r4,
                bias=b4,
                peephole=p,
                direction="reverse",
                output_sequence=True,
                activation=a,
                clip=0.6,
            ),
            (x, h, c),
            [np.stack(steps), last, memory],
            (15, 18),
        )
    w5, r5, h2, c2 = (
        random(4 * hidden, size),
        random(4 * hidden, hidden),
        random(batch, 2 * hidden),
        random(batch, 2 * hidden),
    )
    no_bias, no_peephole = np.zeros(4 * hidden), np.zeros(3 * hidden)
    ahead = lstm_steps(x, h2[:, :hidden], c2[:, :hidden], w4, r4, b4, no_peephole, "tanh", np.inf)
    back = lstm_steps(x[::-1], h2[:, hidden:], c2[:, hidden:], w5, r5, no_bias, no_peephole, "tanh", np.inf)
    for everything in (True, False):
        kept = (
            (np.stack(ahead[0]), np.stack(back[0][::-1])) if everything else (ahead[1][None], back[1][None])
        )
        yield Case(
            f"lstm bidirectional {everything}",
            lambda x, h, c, e=everything: mb.lstm(
                x=x,
                initial_h=h,
                initial_c=c,
                weight_ih=w4,
                weight_hh=r4,
                bias=b4,
                weight_ih_back=w5,
                weight_hh_back=r5,
                direction="bidirectional",
                output_sequence=e,
            ),
            (x, h2, c2),
            [np.concatenate(kept, -1), np.hstack([ahead[1], back[1]]), np.hstack([ahead[2], back[2]])],
        )


def boxes() -> Iterator[Case]:
    corners = f32([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]])
    scores = f32([[-3.5], [9.4], [2.3], [0.7]])
    yield Case(
        "nms of Core ML's tests",
        lambda b, s: mb.non_maximum_suppression(
            boxes=b, scores=s, iou_threshold=0.2, score_threshold=0.4, max_boxes=2, per_class_suppression=True
        ),
        (corners, scores),
        [corners[:, 1:3], scores[:, 1:3], np.array([[1, 2]], np.int32), np.array([2], np.int32)],
        (15, 16),
    )
    # 0 and 1 overlap by 1/3, 2 is apart; 1 is of another class than 0
    three = f32([[5, 5, 4, 4], [7, 5, 4, 4], [20, 20, 2, 2]])
    classes = f32([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    for per_class, kept in {False: [0, 2], True: [0, 1, 2]}.items():
        found = np.full(4, -1, np.int32)
        found[: len(kept)] = kept
        chosen, values = np.zeros((4, 4), np.float32), np.zeros((4, 2), np.float32)
        chosen[: len(kept)], values[: len(kept)] = three[0, kept], classes[0, kept]
        yield Case(
            f"nms by class {per_class}",
            lambda b, s, p=per_class: mb.non_maximum_suppression(
                boxes=b, scores=s, iou_threshold=0.3, max_boxes=4, per_class_suppression=p
            ),
            (three.transpose(0, 2, 1).copy(), classes.transpose(0, 2, 1).copy()),
            [chosen.T[None], values.T[None], found[None]],
            (17, 18),
        )


CASES = [*products(), *attentions(), *recurrences(), *boxes()]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(CASES, tmp_path_factory.mktemp("packages"))


@pytest.mark.parametrize(("case", "ios"), [(c, ios) for c in CASES for ios in c.ios], ids=str)
def test_case(case: Case, ios: int, results: Results) -> None:
    check(case, results.of(case, ios))
