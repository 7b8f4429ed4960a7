"""How far a payer is trusted: numbers alone, for any standing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.payments.credit import (
    CreditPolicy,
    Record,
    Standing,
    check_credit,
    limit_wei,
    secured_wei,
    unsecured_wei,
)
from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.primitives import Wei

amounts = st.integers(0, 100).map(Wei)
standings = st.builds(
    Standing,
    deposit_final_wei=amounts,
    deposit_latest_wei=amounts,
    claimed_wei=amounts,
    withdrawing_wei=amounts,
    payer_balance_wei=amounts,
)
policies = st.builds(CreditPolicy, unsecured_wei=amounts, unsecured_total_wei=amounts, min_deposit_wei=amounts)
records = st.builds(
    Record, unsecured_today_wei=amounts, unsecured_today_total_wei=amounts, has_defaulted=st.booleans()
)


@given(standings)
def test_a_deposit_counts_as_far_as_neither_reorg_nor_withdrawal_takes_it_away(standing: Standing) -> None:
    secured = secured_wei(standing)
    after = min(standing.deposit_final_wei, standing.deposit_latest_wei) - standing.withdrawing_wei
    assert secured == max(after, standing.claimed_wei, 0)
    more = replace(standing, withdrawing_wei=Wei(standing.withdrawing_wei + 1))
    assert secured_wei(more) <= secured


@given(standings, policies, records)
def test_credit_is_for_first_contact_of_those_who_can_pay_and_have_paid(
    standing: Standing, policy: CreditPolicy, record: Record
) -> None:
    credit = unsecured_wei(standing, policy, record)
    assert 0 <= credit <= max(0, policy.unsecured_wei - record.unsecured_today_wei)
    assert credit <= max(0, policy.unsecured_total_wei - record.unsecured_today_total_wei)
    if credit:
        assert not record.has_defaulted
        assert standing.deposit_final_wei == standing.withdrawing_wei == 0
        assert max(standing.payer_balance_wei, standing.deposit_latest_wei) >= policy.min_deposit_wei


@given(standings, policies, records, amounts, amounts)
def test_what_is_within_the_limit_passes_and_a_wei_more_does_not(
    standing: Standing, policy: CreditPolicy, record: Record, charged: Wei, needed: Wei
) -> None:
    limit = limit_wei(standing, policy, record, charged_wei=charged)
    assert limit in (secured_wei(standing), charged + unsecured_wei(standing, policy, record))
    if needed <= limit:
        assert check_credit(standing, policy, record, charged_wei=charged, needed_wei=needed) == limit
    else:
        with pytest.raises(PaymentRequiredError, match=f"this request needs {needed} wei, {limit} are covered"):
            check_credit(standing, policy, record, charged_wei=charged, needed_wei=needed)


@given(policies, records)
def test_a_day_of_receipts_on_credit_is_never_more_than_the_policy_allows(
    policy: CreditPolicy, record: Record
) -> None:
    """Spend all the credit that is left, again and again: it is spent once."""
    able = Standing(payer_balance_wei=policy.min_deposit_wei)
    fresh, charged = replace(record, unsecured_today_wei=Wei(0), has_defaulted=False), 0
    for _ in range(5):
        limit = limit_wei(able, policy, fresh, charged_wei=Wei(charged))
        spent = max(0, limit - charged)
        charged += spent
        fresh = replace(
            fresh,
            unsecured_today_wei=Wei(fresh.unsecured_today_wei + spent),
            unsecured_today_total_wei=Wei(fresh.unsecured_today_total_wei + spent),
        )
    assert charged <= policy.unsecured_wei
