"""Epochs and deadlines, each at its last second and the one after."""

import pytest

from openledger_protocol.epoch import (
    GuardianPause,
    Windows,
    check_withdraw_delay,
    epoch_at,
    is_claimable_epoch,
    propose_until_s,
    ready_at_s,
    show_until_s,
    withdrawal_s,
)
from openledger_protocol.errors import MalformedError

WINDOWS = Windows(
    epoch_s=30,
    propose_s=31,
    window_s=10,
    redraw_blocks=16,
    contest_s=30,
    judge_s=60,
    pause_max_s=32,
    pause_gap_s=60,
    unbonding_s=90,
    withdraw_delay_min_s=10,
    withdraw_delay_max_s=3_600,
    withdraw_period_s=604_800,
)


@pytest.mark.parametrize(("timestamp_s", "epoch"), [(0, 0), (29, 0), (30, 1), (59, 1), (1_700_000_000, 56_666_666)])
def test_an_epoch_is_the_time_divided(timestamp_s: int, epoch: int) -> None:
    assert epoch_at(timestamp_s, WINDOWS) == epoch


@pytest.mark.parametrize(
    ("epoch", "timestamp_s", "expected"),
    [(2, 60, True), (2, 89, True), (2, 90, True), (2, 119, True), (2, 120, False), (2, 59, False), (0, 0, True)],
)
def test_an_epoch_can_be_claimed_in_itself_and_in_the_next(epoch: int, timestamp_s: int, expected: bool) -> None:
    assert is_claimable_epoch(epoch, timestamp_s, WINDOWS) == expected


def test_deadlines_hang_on_what_happened_before() -> None:
    assert propose_until_s(1_000, WINDOWS) == 1_031
    assert ready_at_s(1_000, WINDOWS) == 1_010
    assert show_until_s(1_010, WINDOWS) == 1_041
    assert withdrawal_s(1_000, 40, WINDOWS) == (1_040, 605_840)


@pytest.mark.parametrize(
    ("from_s", "until_s", "expected"),
    [
        (1_010, 1_020, 1_041),
        (990, 1_020, 1_051),
        (1_031, 1_040, 1_040),
        (1_032, 1_040, 1_031),
        (900, 1_000, 1_031),
    ],
    ids=["within", "since before", "in the last second", "just after", "before"],
)
def test_a_pause_moves_a_time_limit_along(from_s: int, until_s: int, expected: int) -> None:
    pause = GuardianPause(from_s=from_s, until_s=until_s)
    assert propose_until_s(1_000, WINDOWS, pause) == show_until_s(1_000, WINDOWS, pause) == expected


@pytest.mark.parametrize("delay_s", [10, 3_600])
def test_a_delay_at_its_bounds_passes(delay_s: int) -> None:
    check_withdraw_delay(delay_s, WINDOWS)


@pytest.mark.parametrize("delay_s", [9, 3_601])
def test_a_delay_that_the_contract_would_not_take_is_refused(delay_s: int) -> None:
    with pytest.raises(MalformedError, match=f"delayed by 10 to 3600 s, not by {delay_s} s"):
        check_withdraw_delay(delay_s, WINDOWS)
