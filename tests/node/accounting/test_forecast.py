"""A week's range is of the node's own whole days, exact to the wei, and nothing with a short history."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.accounting.work_report import HISTORY_DAYS_MIN, WINDOW_DAYS, weekly_range


def days_of(net: list[int]) -> list[dict[str, Any]]:
    return [{"day": f"day {number}", "net_wei": str(wei)} for number, wei in enumerate(net)]


def test_the_range_is_the_lowest_and_the_highest_seven_days_in_a_row() -> None:
    found = weekly_range(days_of([0] * 7 + [10**30] * 7 + [-5] + [10**40]), num_history=15)
    assert (found["history_days"], found["windows"]) == (15, 9)
    assert (found["low_wei"], found["high_wei"]) == ("0", str(7 * 10**30))


def test_today_is_not_over_and_counts_in_no_window() -> None:
    found = weekly_range(days_of([1] * 14 + [10**18]), num_history=14)
    assert (found["low_wei"], found["median_wei"], found["high_wei"]) == ("7", "7", "7")


@pytest.mark.parametrize("num_history", [-1, 0, HISTORY_DAYS_MIN - 1])
def test_a_short_history_has_no_range_and_says_what_is_missing(num_history: int) -> None:
    found = weekly_range(days_of([1] * 31), num_history=num_history)
    assert (found["low_wei"], found["high_wei"], found["windows"]) == (None, None, 0)
    assert found["history_days"] == max(0, num_history)
    assert found["history_days_min"] == HISTORY_DAYS_MIN


def test_days_before_the_first_request_are_no_history() -> None:
    found = weekly_range(days_of([10**18] * 10 + [1] * 20 + [0]), num_history=20)
    assert (found["low_wei"], found["high_wei"]) == ("7", "7")


@given(net=st.lists(st.integers(-(10**27), 10**27), min_size=HISTORY_DAYS_MIN + 1, max_size=31))
def test_every_week_of_the_history_lies_in_the_range(net: list[int]) -> None:
    found = weekly_range(days_of(net), num_history=len(net) - 1)
    weeks = [sum(net[begin : begin + WINDOW_DAYS]) for begin in range(len(net) - WINDOW_DAYS)]
    assert int(found["low_wei"]) == min(weeks)
    assert int(found["high_wei"]) == max(weeks)
    assert int(found["low_wei"]) <= int(found["median_wei"]) <= int(found["high_wei"])
