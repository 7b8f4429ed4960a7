"""A lane's running tab: what is owed grows with live streams, and lost receipts explain a gap once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import digest, uints

from openledger_protocol.lane_tab import Tab
from openledger_protocol.primitives import RequestId, Wei

A, B = RequestId(digest("a")), RequestId(digest("b"))


def test_live_streams_are_owed_beside_what_receipts_charged() -> None:
    tab = Tab(charged_wei=Wei(100))
    assert tab.run_up(A, Wei(5)) == 105
    assert tab.run_up(B, Wei(7)) == 112
    assert tab.run_up(A, Wei(6)) == tab.owed_wei == 113
    assert tab.needed_wei(A, Wei(10)) == 100 + 10 + 7
    assert tab.needed_wei(RequestId(digest("c")), Wei(1)) == 114


def test_a_receipt_charges_its_amount_whatever_its_stream_had_reserved() -> None:
    tab = Tab(charged_wei=Wei(100))
    tab.run_up(A, Wei(50))
    tab.run_up(B, Wei(7))
    assert tab.settle(A, Wei(20)) == 120
    assert (tab.owed_wei, tab.running) == (127, {B: 7})


def test_a_stream_that_ends_without_a_receipt_is_forgotten_or_may_have_been_charged() -> None:
    tab = Tab(charged_wei=Wei(100))
    tab.run_up(A, Wei(50))
    tab.run_up(B, Wei(7))
    tab.drop(A)
    tab.lose(B)
    assert (tab.owed_wei, tab.lost_wei) == (100, 7)


@pytest.mark.parametrize(
    ("charged", "is_found", "lost"), [(99, False, 7), (100, True, 7), (103, True, 4), (107, True, 0), (108, False, 7)]
)
def test_lost_receipts_explain_no_more_than_was_delivered(charged: int, is_found: bool, lost: int) -> None:
    """A node can't charge for a broken stream what it never delivered."""
    tab = Tab(charged_wei=Wei(100), lost_wei=Wei(7))
    assert tab.find_lost(Wei(charged)) == is_found
    assert (tab.charged_wei, tab.lost_wei) == (charged if is_found else 100, lost)


@given(st.lists(st.tuples(uints(20), uints(20)), max_size=8))
def test_what_was_lost_is_found_once(gaps: list[tuple[int, int]]) -> None:
    tab = Tab()
    for number, (delivered, claimed) in enumerate(gaps):
        request = RequestId("0x" + number.to_bytes(32, "big").hex())
        tab.run_up(request, Wei(delivered))
        tab.lose(request)
        tab.find_lost(Wei(tab.charged_wei + claimed))
    assert tab.charged_wei + tab.lost_wei == sum(delivered for delivered, _ in gaps)
