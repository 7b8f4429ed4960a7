"""The quick sampler against the slow one: the same token, with float64 over the whole vocabulary and a full sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.random_logits import logits_of

from openledger_node.engine import sampler
from openledger_node.engine.backend import Draw
from openledger_node.engine.sampler import Logits, draw, gumbel_noise, kept_ids
from openledger_protocol.inference import SamplingParams


def slow_kept(logits: Logits, params: SamplingParams) -> list[int]:
    """What top_k, then min_p, then top_p leave, likeliest first: the definition."""
    scaled = logits.astype(np.float64) / params.temperature
    order = np.argsort(-scaled, kind="stable")
    if params.top_k:
        order = order[: params.top_k]
    weights = np.exp(scaled[order] - scaled[order[0]])
    order = order[weights >= params.min_p]
    weights = weights[: len(order)]
    if params.top_p < 1:
        reached = np.cumsum(weights) / weights.sum()
        order = order[: int(np.searchsorted(reached, params.top_p)) + 1]
    return [int(token_id) for token_id in order]


def slow_sample(logits: Logits, params: SamplingParams, position: int) -> int:
    kept = slow_kept(logits, params)
    scores = logits.astype(np.float64) / params.temperature + gumbel_noise(params.seed, position, len(logits))
    return kept[int(scores[kept].argmax())]


SHAPES = ["flat", "normal", "peaked", "certain", "ties", "ruled out", "huge"]


rows = st.builds(logits_of, st.sampled_from(SHAPES), st.integers(1, 3_000), st.integers(0, 2**32))
samplings = st.builds(
    SamplingParams,
    max_tokens=st.just(1),
    seed=st.integers(0, 2**64 - 1),
    temperature=st.floats(1e-6, 2) | st.sampled_from([0.7, 1.0]),
    top_k=st.just(0) | st.integers(1, 4_000),
    min_p=st.just(0.0) | st.floats(0, 1) | st.floats(1e-300, 1e-3),
    top_p=st.just(1.0) | st.floats(0.001, 1),
)


@given(row=rows, params=samplings, position=st.integers(0, 2**40))
def test_the_quick_sampler_draws_what_the_slow_one_does(row: Logits, params: SamplingParams, position: int) -> None:
    assert draw(row, Draw(sampling=params, position=position)).token == slow_sample(row, params, position)


def test_a_cut_that_float32_can_not_tell_is_made_in_float64() -> None:
    # A thousand equal tokens: each step of top_p is a thousandth, and the sum in float32 errs.
    row = np.zeros(1_000, dtype=np.float32)
    for count in range(1, 1_000, 37):
        for top_p in (count / 1_000 - 1e-9, count / 1_000 + 1e-9):
            params = SamplingParams(max_tokens=1, seed=1, top_p=top_p)
            assert list(kept_ids(row, params)) == sorted(slow_kept(row, params))


NOISE_AT_MOST = -np.log(-np.log1p(-(2.0**-53)))


def test_the_highest_draw_of_the_generator_is_finite_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = np.array([2**64 - 1, 2**63, 0], dtype=np.uint64)
    monkeypatch.setattr(sampler, "_raw", lambda seed, position, size: raw[:size])
    assert gumbel_noise(0, 0, 3)[0] == pytest.approx(NOISE_AT_MOST)
    params = SamplingParams(max_tokens=1, seed=0)
    for low, winner in ((-20.0, 0), (-38.0, 1), (-np.inf, 1)):
        row = np.array([low, 0.0, -3.0], dtype=np.float32)
        assert draw(row, Draw(sampling=params, position=0)).token == winner
