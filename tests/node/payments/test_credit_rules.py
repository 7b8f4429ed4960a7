"""How far a channel is trusted: numbers alone, for any standing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.payments.credit import Standing, check_credit, limit_wei, secured_wei, unsecured_wei
from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.primitives import Wei

amounts = st.integers(0, 100).map(Wei)
standings = st.builds(
    Standing,
    deposit_final_wei=amounts,
    deposit_latest_wei=amounts,
    claimed_wei=amounts,
    withdrawing_wei=amounts,
)


@given(standings)
def test_a_deposit_counts_as_far_as_neither_reorg_nor_withdrawal_takes_it_away(standing: Standing) -> None:
    secured = secured_wei(standing)
    after = min(standing.deposit_final_wei, standing.deposit_latest_wei) - standing.withdrawing_wei
    assert secured == max(after, standing.claimed_wei, 0)
    more = replace(standing, withdrawing_wei=Wei(standing.withdrawing_wei + 1))
    assert secured_wei(more) <= secured


@given(standings, amounts)
def test_credit_is_for_a_deposit_in_the_latest_block_until_it_is_final(standing: Standing, most: Wei) -> None:
    credit = unsecured_wei(standing, most)
    assert 0 <= credit <= most
    if credit:
        assert standing.deposit_final_wei == 0
        assert credit <= standing.deposit_latest_wei - standing.withdrawing_wei


@given(standings, amounts, amounts)
def test_what_is_within_the_limit_passes_and_a_wei_more_does_not(standing: Standing, most: Wei, needed: Wei) -> None:
    limit = limit_wei(standing, most)
    assert limit == max(secured_wei(standing), unsecured_wei(standing, most))
    if needed <= limit:
        assert check_credit(standing, most, needed_wei=needed) == limit
    else:
        with pytest.raises(PaymentRequiredError, match=f"this request needs {needed} wei, {limit} are covered"):
            check_credit(standing, most, needed_wei=needed)
