"""The next token: a pure function, the softmax in the long run, and the same numbers in every version."""

from collections.abc import Sequence
from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.random_logits import logits_of

from openledger_node.engine import sampler
from openledger_node.engine.backend import Draw, Mask
from openledger_node.engine.sampler import LOGPROB_MIN, Logits, draw, gumbel_noise, kept_ids, largest, penalised
from openledger_node.engine.taps import GROUPS, TOP_TOKENS, likeliest
from openledger_protocol.inference import SamplingParams

WARM = SamplingParams(max_tokens=1, seed=1, temperature=1.0)
LOGITS = np.array([1.0, 3.0, 2.0, -1.0, 2.0], dtype=np.float32)
MASK = 2**64 - 1


def sample(logits: Logits, params: SamplingParams, position: int) -> int:
    return draw(logits, Draw(sampling=params, position=position)).token


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    """Philox 4x64 with ten rounds, as Salmon et al. (2011) give it, in plain integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        left, right = c0 * 0xD2E7470EE14C6C93, c2 * 0xCA5A826395121157
        c0, c1, c2, c3 = (right >> 64) ^ c1 ^ k0, right & MASK, (left >> 64) ^ c3 ^ k1, left & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return [c0, c1, c2, c3]


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
@pytest.mark.parametrize("position", [0, 1, 2047, 2**40])
def test_noise_is_philox_of_seed_position_and_token_id(seed: int, position: int) -> None:
    # Four token ids a block; the generator counts up before it draws, so the first block is number 1.
    draws = [draw for block in (1, 2, 3) for draw in philox((block, position, 0, 0), (seed, 0))]
    expected = [-log(-log(((draw >> 11) + 0.5) * 2.0**-53)) for draw in draws]
    assert gumbel_noise(seed, position, 12) == pytest.approx(expected, rel=1e-12)


def test_temperature_0_takes_the_likeliest_token_and_of_equals_the_first() -> None:
    cold = replace(WARM, temperature=0)
    assert sample(LOGITS, cold, 0) == 1
    assert sample(np.array([1, 5, 5, 2], dtype=np.float32), cold, 0) == 1


CHI_SQUARE_999 = 18.5
"""For four degrees of freedom: a right sampler is over it once in a thousand choices of the seed."""


def test_positions_of_one_answer_are_drawn_as_the_softmax_says() -> None:
    counts = np.bincount([sample(LOGITS, WARM, position) for position in range(2_000)])
    weights = np.exp(LOGITS.astype(np.float64))
    expected = 2_000 * weights / weights.sum()
    assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARE_999


PROBABILITIES = np.log(np.array([0.1, 0.4, 0.25, 0.05, 0.2])).astype(np.float32)  # of tokens 0 to 4


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [1, 2]),
        ({"top_p": 0.41}, [1, 2]),
        ({"min_p": 0.12}, [0, 1, 2, 3, 4]),
        ({"min_p": 0.13}, [0, 1, 2, 4]),
        ({"top_k": 3, "min_p": 0.51}, [1, 2]),
        ({"top_k": 3, "top_p": 0.7}, [1, 2]),  # of the three that are left, 1 and 2 have 0.76
        ({"min_p": 0.13, "top_p": 0.7}, [1, 2, 4]),  # of the four that are left, 1 and 2 have 0.68
    ],
)
def test_top_k_then_min_p_then_top_p_choose_who_may_be_drawn(changes: dict[str, Any], kept: list[int]) -> None:
    assert list(kept_ids(PROBABILITIES, replace(WARM, **changes))) == kept


@pytest.mark.parametrize("changes", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}], ids=str)
@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-308, 5e-324])
def test_a_temperature_close_to_0_takes_the_likeliest_token(temperature: float, changes: dict[str, Any]) -> None:
    # Under 1e-306 logits / temperature overflow: a wrong token, or an error that ends the engine for everybody.
    params = replace(WARM, temperature=temperature, **changes)
    assert {sample(LOGITS * 10, params, position) for position in range(20)} == {1}


# ---- the same token as float64 over the whole vocabulary and a full sort give


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
    assert sample(row, params, position) == slow_sample(row, params, position)


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
    for low, winner in ((-20.0, 0), (-38.0, 1), (-np.inf, 1)):
        row = np.array([low, 0.0, -3.0], dtype=np.float32)
        assert sample(row, WARM, 0) == winner


# ---- penalties, masks and probabilities


def how(
    *, output: Sequence[int] = (), prompt: Sequence[int] = (), allowed: Sequence[int] | None = None, **changes: Any
) -> Draw:
    sampling = SamplingParams(**{"max_tokens": 1, "seed": 1, "temperature": 0, **changes})
    word = np.array([sum(1 << token_id for token_id in allowed or ())], dtype=np.uint32)
    mask = None if allowed is None else Mask(lambda: word)
    return Draw(sampling=sampling, position=0, output_ids=output, prompt_ids=prompt, allowed=mask)


@pytest.mark.parametrize(
    ("draws", "expected"),
    [
        (how(frequency_penalty=0.5, output=[1, 1, 2]), [1, 2, 1.5, -1, 2]),
        (how(presence_penalty=0.5, output=[1, 1, 2]), [1, 2.5, 1.5, -1, 2]),
        (how(presence_penalty=0.5, frequency_penalty=0.25, output=[1, 1, 2]), [1, 2, 1.25, -1, 2]),
        (how(frequency_penalty=-1, output=[3]), [1, 3, 2, 0, 2]),
        (how(frequency_penalty=2, presence_penalty=2, prompt=[1, 2]), [1, 3, 2, -1, 2]),  # the answer's tokens only
        (how(repetition_penalty=2, output=[1, 1], prompt=[3, 0]), [0.5, 1.5, 2, -2, 2]),
        (how(repetition_penalty=0.5, prompt=[1]), [1, 6, 2, -1, 2]),
        (how(repetition_penalty=2, presence_penalty=1, output=[1]), [1, 0.5, 2, -1, 2]),  # repetition first
        (how(frequency_penalty=2), [1, 3, 2, -1, 2]),
    ],
)
def test_penalties_are_taken_off_as_defined(draws: Draw, expected: list[float]) -> None:
    assert list(penalised(LOGITS, draws)) == expected


def test_penalties_leave_the_logits_as_they_were() -> None:
    row = LOGITS.copy()
    draw(row, how(frequency_penalty=2, repetition_penalty=2, output=[1], prompt=[2], allowed=[1]))
    assert (row == LOGITS).all()


@pytest.mark.parametrize("changes", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}, {"temperature": 0}], ids=str)
@pytest.mark.parametrize("penalty", [1e-38, 1e-40, 1e-300, 5e-324])
def test_the_smallest_repetition_penalty_repeats_and_makes_no_logit_infinite(
    penalty: float, changes: dict[str, Any]
) -> None:
    # With an infinite logit no token wins: an error, that would end the engine for everybody.
    tried = how(repetition_penalty=penalty, prompt=[1, 4], **{"temperature": 1, **changes})
    assert np.isfinite(penalised(LOGITS, tried)).all()
    assert draw(LOGITS, tried).token in (1, 4)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_only_allowed_tokens_are_drawn(temperature: float) -> None:
    for seed in range(40):
        for allowed in ([3], [0, 3], [0, 2, 4]):
            changes = {"seed": seed, "temperature": temperature}
            assert draw(LOGITS, how(allowed=allowed, **changes)).token in allowed


@pytest.mark.parametrize("changes", [{"top_k": 1}, {"top_p": 0.01}, {"min_p": 1.0}], ids=str)
def test_the_mask_comes_before_the_cuts(changes: dict[str, Any]) -> None:
    # Else top_k=1 would keep token 1 alone, which is not allowed, and nothing would be left.
    assert draw(LOGITS, how(allowed=[0, 3], temperature=1.0, **changes)).token == 0


def test_probabilities_are_the_models_own_whatever_the_parameters_are() -> None:
    expected = np.log(np.exp(LOGITS.astype(np.float64)) / np.exp(LOGITS.astype(np.float64)).sum())
    drawn = draw(LOGITS, how(logprobs=3, temperature=0.1, frequency_penalty=2, output=[1, 1], allowed=[3, 0]))
    assert drawn.token == 0
    assert drawn.logprob == pytest.approx(expected[0], abs=1e-6)
    assert [token_id for token_id, _ in drawn.top] == [1, 2, 4]  # of equals the lower id first
    assert [chance for _, chance in drawn.top] == pytest.approx(expected[[1, 2, 4]], abs=1e-6)


def test_a_token_that_the_model_rules_out_has_a_number_too() -> None:
    row = np.array([0.0, -np.inf], dtype=np.float32)
    assert draw(row, how(logprobs=2)).top == ((0, 0.0), (1, LOGPROB_MIN))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(1, 35))
def test_the_largest_are_those_that_a_stable_sort_puts_first(values: list[int], count: int) -> None:
    row = np.array(values, dtype=np.float32)
    assert list(largest(row, count)) == sorted(np.argsort(-row, kind="stable")[:count])


# ---- the likeliest tokens of a step for taps: those of a sort of the whole vocabulary


@pytest.mark.parametrize("vocabulary", [6, TOP_TOKENS, 260, GROUPS, GROUPS + 7, 49_152])
@pytest.mark.parametrize("distinct", [3, 1_000_000])
def test_the_likeliest_tokens_come_in_order_and_equal_ones_by_their_ids(vocabulary: int, distinct: int) -> None:
    logits = np.random.default_rng(vocabulary).integers(0, distinct, (3, vocabulary)).astype(np.float32)
    ids, found = likeliest(logits)
    expected = np.argsort(-logits, axis=1, kind="stable")[:, :TOP_TOKENS]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(found, np.take_along_axis(logits, expected, axis=1))


def test_all_of_one_group_may_be_the_likeliest() -> None:
    logits = np.zeros((1, 100 * GROUPS), np.float32)
    logits[0, 5::GROUPS] = np.arange(100, 0, -1)  # they share a group
    assert likeliest(logits)[0][0].tolist() == [5 + GROUPS * place for place in range(TOP_TOKENS)]


def test_an_overflowed_row_has_as_many_as_any_other() -> None:
    logits = np.zeros((2, 2 * GROUPS), np.float32)
    logits[0] = np.nan
    ids, _ = likeliest(logits)
    assert ids.shape == (2, TOP_TOKENS)
