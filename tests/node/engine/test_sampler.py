"""The next token: a pure function, the softmax in the long run, and the same numbers in every version."""

from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.engine.backend import Draw
from openledger_node.engine.sampler import Logits, draw, gumbel_noise, kept_ids
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


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 2**32))
def test_a_token_is_a_function_of_logits_parameters_and_position(seed: int, position: int) -> None:
    params = replace(WARM, seed=seed)
    first = sample(LOGITS, params, position)
    sample(LOGITS[::-1], replace(params, seed=seed ^ 1), position + 1)  # what else is drawn leaves no trace
    assert sample(LOGITS.copy(), params, position) == first


CHI_SQUARE_999 = {2: 13.8, 4: 18.5}
"""By degrees of freedom: a right sampler is over it once in a thousand choices of the seeds below."""


def is_softmax(drawn: list[int], allowed: list[int], temperature: float = 1.0) -> bool:
    """Pearson's test: does the softmax over `allowed` explain how often each token was drawn?"""
    weights = np.exp(LOGITS[allowed].astype(np.float64) / temperature)
    expected = len(drawn) * weights / weights.sum()
    counts = np.bincount(drawn, minlength=len(LOGITS))
    statistic = ((counts[allowed] - expected) ** 2 / expected).sum()
    return bool(set(drawn) == set(allowed) and statistic < CHI_SQUARE_999[len(allowed) - 1])


def test_positions_of_one_answer_are_drawn_as_the_softmax_says_too() -> None:
    assert is_softmax([sample(LOGITS, WARM, position) for position in range(5_000)], [0, 1, 2, 3, 4])


PROBABILITIES = np.log(np.array([0.1, 0.4, 0.25, 0.05, 0.2])).astype(np.float32)  # of tokens 0 to 4


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 1}, [1]),
        ({"top_k": 2}, [1, 2]),
        ({"top_k": 5}, [0, 1, 2, 3, 4]),
        ({"top_k": 500}, [0, 1, 2, 3, 4]),
        ({"top_p": 1e-9}, [1]),
        ({"top_p": 0.39}, [1]),
        ({"top_p": 0.41}, [1, 2]),
        ({"top_p": 0.84}, [1, 2, 4]),
        ({"top_p": 0.96}, [0, 1, 2, 3, 4]),
        ({"min_p": 0.12}, [0, 1, 2, 3, 4]),
        ({"min_p": 0.13}, [0, 1, 2, 4]),
        ({"min_p": 0.51}, [1, 2]),
        ({"min_p": 1.0}, [1]),
        ({"top_k": 3, "min_p": 0.51}, [1, 2]),
        ({"top_k": 2, "min_p": 0.1}, [1, 2]),
        ({"top_k": 3, "top_p": 0.7}, [1, 2]),  # of the three that are left, 1 and 2 have 0.76
        ({"min_p": 0.13, "top_p": 0.7}, [1, 2, 4]),  # of the four that are left, 1 and 2 have 0.68
    ],
)
def test_top_k_then_min_p_then_top_p_choose_who_may_be_drawn(changes: dict[str, Any], kept: list[int]) -> None:
    assert list(kept_ids(PROBABILITIES, replace(WARM, **changes))) == kept


def test_of_equal_tokens_the_lower_ids_are_kept() -> None:
    equal = np.zeros(6, dtype=np.float32)
    assert list(kept_ids(equal, replace(WARM, top_k=2))) == [0, 1]
    assert list(kept_ids(equal, replace(WARM, top_p=0.5))) == [0, 1, 2]
    assert list(kept_ids(equal, replace(WARM, min_p=1.0))) == [0, 1, 2, 3, 4, 5]


LOGIT = st.floats(-50, 50, width=32)


@given(
    logits=st.lists(LOGIT, min_size=1, max_size=12),
    temperature=st.floats(0.01, 2),
    top_k=st.integers(0, 14),
    top_p=st.floats(0.001, 1),
    min_p=st.floats(0, 1),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_token_is_always_drawn_and_always_one_that_is_kept(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float, seed: int
) -> None:
    row = np.array(logits, dtype=np.float32)
    params = SamplingParams(max_tokens=1, seed=seed, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    kept = kept_ids(row, params)
    assert len(kept) >= 1
    assert int(row.argmax()) in kept
    assert sample(row, params, 3) in kept


@pytest.mark.parametrize("changes", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}], ids=str)
@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-308, 5e-324])
def test_a_temperature_close_to_0_takes_the_likeliest_token(temperature: float, changes: dict[str, Any]) -> None:
    # Under 1e-306 logits / temperature overflow: a wrong token, or an error that ends the engine for everybody.
    params = replace(WARM, temperature=temperature, **changes)
    assert {sample(LOGITS * 10, params, position) for position in range(20)} == {1}


@pytest.mark.parametrize("changes", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}], ids=str)
def test_a_token_that_is_ruled_out_is_never_drawn(changes: dict[str, Any]) -> None:
    masked = np.array([-np.inf, 0.0, -np.inf, 0.1, -np.inf], dtype=np.float32)
    drawn = {sample(masked, replace(WARM, **changes), position) for position in range(100)}
    assert drawn == {1, 3}
