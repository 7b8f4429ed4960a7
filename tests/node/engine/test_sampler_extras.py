"""Penalties, masks and probabilities: each as it is defined, and with each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from openledger_node.engine.backend import Draw, Mask
from openledger_node.engine.sampler import LOGPROB_MIN, draw, largest, penalised
from openledger_protocol.inference import SamplingParams

LOGITS = np.array([1.0, 3.0, 2.0, -1.0, 2.0], dtype=np.float32)


def how(
    *, output: Sequence[int] = (), prompt: Sequence[int] = (), allowed: Sequence[int] | None = None, **changes: Any
) -> Draw:
    sampling = SamplingParams(**{"max_tokens": 1, "seed": 1, "temperature": 0, **changes})
    mask = None if allowed is None else Mask(lambda: words(allowed, 5))
    return Draw(sampling=sampling, position=0, output_ids=output, prompt_ids=prompt, allowed=mask)


def words(ids: Sequence[int], size: int) -> NDArray[np.uint32]:
    mask = np.zeros(-(-size // 32), dtype=np.uint32)
    for token_id in ids:
        mask[token_id // 32] |= np.uint32(1 << token_id % 32)
    return mask


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
