"""The sampler: what may be drawn and how often, beside Hugging Face's; the same seed, the same tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.errors import UsageError, UserError
from edgevision.inference.sampling import Sampler, Sampling, distribution, penalized

LOGITS = np.random.default_rng(0).normal(0, 3, 50)


def allowed(sampling):
    tokens, probabilities = distribution(LOGITS, sampling)
    full = np.zeros(50)
    full[tokens] = probabilities
    return full


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"temperature": 0.7}, [("TemperatureLogitsWarper", 0.7)]),
        ({"temperature": 1.0, "top_k": 7}, [("TopKLogitsWarper", 7)]),
        ({"temperature": 1.0, "top_p": 0.8}, [("TopPLogitsWarper", 0.8)]),
        ({"temperature": 1.0, "min_p": 0.1}, [("MinPLogitsWarper", 0.1)]),
        (
            {"temperature": 1.4, "top_k": 20, "top_p": 0.9, "min_p": 0.05},
            [
                ("TemperatureLogitsWarper", 1.4),
                ("TopKLogitsWarper", 20),
                ("TopPLogitsWarper", 0.9),
                ("MinPLogitsWarper", 0.05),
            ],
        ),
    ],
)
def test_what_may_be_drawn_is_what_hugging_face_draws(ours, theirs):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    scores = torch.tensor(LOGITS)[None]
    for name, value in theirs:
        scores = getattr(transformers, name)(value)(None, scores)
    expected = torch.softmax(scores, dim=-1)[0].numpy()
    np.testing.assert_allclose(allowed(Sampling(**ours)), expected, rtol=1e-9, atol=1e-12)


def test_the_repetition_penalty_is_hugging_faces():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    text = [3, 3, 8, 20]
    theirs = transformers.RepetitionPenaltyLogitsProcessor(1.3)(
        torch.tensor([text]), torch.tensor(LOGITS)[None]
    )
    np.testing.assert_allclose(penalized(LOGITS, text, 1.3), theirs[0].numpy())


def test_tokens_are_drawn_as_often_as_they_are_probable():
    sampling = Sampling(temperature=1.2, top_k=5, seed=1)
    sampler = Sampler(sampling)
    drawn = np.bincount([sampler.choose(LOGITS, []) for _ in range(20_000)], minlength=50) / 20_000
    np.testing.assert_allclose(drawn, allowed(sampling), rtol=0, atol=0.015)


def test_a_seed_decides():
    def text(seed, index=0):
        sampler = Sampler(Sampling(temperature=1.0, seed=seed), index)
        return [sampler.choose(LOGITS, []) for _ in range(50)]

    assert text(1) == text(1)
    assert len({tuple(text(1)), tuple(text(2)), tuple(text(1, index=1))}) == 3


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20),
    st.floats(0, 5),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
@settings(deadline=None)
def test_any_logits_give_a_token(logits, temperature, top_p, min_p):
    chosen = Sampler(Sampling(temperature, 3, top_p, min_p, 1.1)).choose(np.array(logits), [0])
    assert 0 <= chosen < len(logits)


def test_temperature_0_is_greedy_and_masked_tokens_never_come():
    assert Sampler(Sampling()).choose(LOGITS, []) == LOGITS.argmax()
    logits = np.where(np.arange(50) == 9, 1.0, -np.inf)
    assert Sampler(Sampling(temperature=5.0)).choose(logits, []) == 9


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(UserError, match="no numbers"):
        Sampler(Sampling()).choose(np.array([0.0, wrong]), [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"repetition_penalty": 0.0},
        {"seed": -1},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong)).replace("_", "-")):
        Sampling(**wrong)
