"""Epochs and deadlines, each at its last second and the one after."""

import pytest
from support.signed import WINDOWS

from openledger_protocol.epoch import (
    check_withdraw_delay,
    propose_until_s,
    ready_at_s,
    show_until_s,
    withdrawal_s,
)
from openledger_protocol.errors import MalformedError


def test_deadlines_hang_on_what_happened_before() -> None:
    assert propose_until_s(1_000, WINDOWS) == 1_031
    assert ready_at_s(1_000, WINDOWS) == 1_010
    assert show_until_s(1_010, WINDOWS) == 1_041
    assert withdrawal_s(1_000, 40, WINDOWS) == (1_040, 605_840)


@pytest.mark.parametrize("delay_s", [10, 3_600])
def test_a_delay_at_its_bounds_passes(delay_s: int) -> None:
    check_withdraw_delay(delay_s, WINDOWS)


@pytest.mark.parametrize("delay_s", [9, 3_601])
def test_a_delay_that_the_contract_would_not_take_is_refused(delay_s: int) -> None:
    with pytest.raises(MalformedError, match=f"delayed by 10 to 3600 s, not by {delay_s} s"):
        check_withdraw_delay(delay_s, WINDOWS)
