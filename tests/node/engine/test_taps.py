"""The likeliest tokens of a step: those of a sort of the whole vocabulary, whatever its size and its ties."""

import numpy as np
import pytest

from openledger_node.engine.taps import GROUPS, TOP_TOKENS, likeliest


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
