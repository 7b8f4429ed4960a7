"""The pass that builds an index of signals: its bound of memory, and an order that asks for it."""

import pytest

from openledger_node.factory.order import order_from
from openledger_node.factory.signal_pass import rows_within
from openledger_protocol.errors import MalformedError


@pytest.mark.parametrize(
    ("lengths", "num_tokens", "count"),
    [([5, 5, 5], 15, 3), ([5, 5, 5], 14, 2), ([9, 1, 1], 9, 1), ([9, 1, 1], 8, 0), ([], 8, 0)],
)
def test_statistics_use_no_more_rows_than_fit_even_if_the_longest_are_chosen(
    lengths: list[int], num_tokens: int, count: int
) -> None:
    assert rows_within(lengths, num_tokens) == count


def test_an_order_may_ask_for_signals() -> None:
    assert order_from({"signals": True}).signals
    assert not order_from({}).signals
    with pytest.raises(MalformedError, match="signals is"):
        order_from({"signals": "yes"})
