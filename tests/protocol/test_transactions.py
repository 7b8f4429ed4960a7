"""Transactions of ours: which state may follow which, nonces, and what may be paid."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_protocol.chain import Block, ContractCall, Fees
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_DIGEST, Wei
from openledger_protocol.transactions import (
    NEXT,
    GasPrice,
    Intent,
    OutboxLimits,
    Transaction,
    Variant,
    bumped_price,
    day_start_s,
    fee_cap_wei,
    fee_caps_wei,
    first_price,
    gas_limit_from_estimate,
    is_stuck,
    may_follow,
    next_nonce,
)

NO_CAP = Wei(10**30)
INTENT = Intent(key="a", kind="claim", summary="a claim", sender=ZERO_ADDRESS, call=ContractCall(to=ZERO_ADDRESS))
wei = st.integers(0, 10**15).map(Wei)
prices = st.builds(
    lambda tip, more: GasPrice(fee_max_wei=Wei(tip + more), tip_max_wei=Wei(tip)), st.integers(0, 10**12), wei
)


def price(fee_max: int, tip_max: int) -> GasPrice:
    return GasPrice(fee_max_wei=Wei(fee_max), tip_max_wei=Wei(tip_max))


def fees(base: int, tip: int) -> Fees:
    return Fees(base_wei=Wei(base), tip_wei=Wei(tip))


def test_nothing_is_sent_before_its_bytes_are_stored_and_nothing_is_signed_without_a_nonce() -> None:
    assert may_follow("signed") == {"reserved"}
    assert may_follow("reserved") == {"intended"}
    assert may_follow("sent") == {"signed", "mined", "reverted"}


@pytest.mark.parametrize(
    ("chain_mined", "journal_max", "expected"),
    [(0, None, 0), (7, None, 7), (7, 6, 7), (7, 9, 10), (7, 3, 7), (0, 0, 1)],
    ids=["new", "no journal", "all mined", "three in flight", "journal is old", "first in flight"],
)
def test_the_next_nonce_is_above_the_chains_and_the_journals(
    chain_mined: int, journal_max: int | None, expected: int
) -> None:
    assert next_nonce(chain_mined, journal_max) == expected


def test_the_first_price_has_room_for_twice_the_base_fee() -> None:
    assert first_price(fees(30, 2), gas_limit=10, cap_wei=NO_CAP) == price(62, 2)


def test_a_price_is_cut_to_its_cap_while_that_pays_what_is_asked_now() -> None:
    assert first_price(fees(30, 2), gas_limit=10, cap_wei=Wei(400)) == price(40, 2)
    assert first_price(fees(30, 2), gas_limit=10, cap_wei=Wei(320)) == price(32, 2)
    assert first_price(fees(30, 2), gas_limit=10, cap_wei=Wei(319)) is None


def test_a_bump_follows_the_market_where_that_is_more_and_is_none_over_the_cap() -> None:
    assert bumped_price(price(62, 2), fees(100, 9), gas_limit=10, cap_wei=NO_CAP) == price(209, 9)
    assert bumped_price(price(80, 8), fees(1, 1), gas_limit=10, cap_wei=Wei(900)) == price(90, 9)
    assert bumped_price(price(80, 8), fees(1, 1), gas_limit=10, cap_wei=Wei(899)) is None


@given(prices, wei, wei, st.integers(21_000, 30_000_000), st.integers(0, 10**24))
def test_a_bump_raises_both_fees_by_an_eighth_and_never_over_the_cap(
    before: GasPrice, base: Wei, tip: Wei, gas_limit: int, cap: int
) -> None:
    after = bumped_price(before, Fees(base_wei=base, tip_wei=tip), gas_limit=gas_limit, cap_wei=Wei(cap))
    if after is None:
        assert before.fee_max_wei * 9 * gas_limit > cap * 8 or (before.fee_max_wei + 2) * gas_limit > cap
        return
    assert after.fee_max_wei * 8 >= before.fee_max_wei * 9
    assert after.tip_max_wei * 8 >= before.tip_max_wei * 9
    assert after.fee_max_wei > before.fee_max_wei
    assert after.tip_max_wei > before.tip_max_wei
    assert after.tip_max_wei <= after.fee_max_wei
    assert after.fee_max_wei * gas_limit <= cap


def test_a_tenth_of_what_is_at_risk_may_be_paid_and_the_plain_cap_where_that_is_more() -> None:
    limits = OutboxLimits(fee_max_wei=Wei(1_000))
    assert fee_cap_wei(Wei(9_999), limits) == 1_000
    assert fee_cap_wei(Wei(50_000), limits) == 5_000


def test_whatever_is_before_a_transaction_with_a_deadline_may_cost_as_much_as_the_dearest_of_those() -> None:
    def waiting(id: int, at_risk: int, deadline_s: int | None = 1) -> Transaction:
        intent = replace(INTENT, value_at_risk_wei=Wei(at_risk), deadline_s=deadline_s)
        return Transaction(id=id, intent=intent, state="signed")

    rows = [waiting(1, 0), waiting(2, 100), waiting(3, 900), waiting(4, 5_000, None), waiting(5, 0)]
    assert fee_caps_wei(rows, OutboxLimits(fee_max_wei=Wei(1))) == {1: 90, 2: 90, 3: 90, 4: 500, 5: 1}


def test_the_gas_limit_leaves_a_quarter_to_spare_and_no_less_than_new_votes_take() -> None:
    assert gas_limit_from_estimate(400_000, b"") == 500_000
    assert gas_limit_from_estimate(60_000, b"") == 110_000


@pytest.mark.parametrize(
    ("gas", "data", "limit"),
    [(0, b"", 50_000), (21_000, b"\x00\x01", 71_000), (1, b"\x00" + b"\x01" * 999, 60_970), (10**9, b"", 16_777_216)],
)
def test_no_estimate_makes_a_transaction_that_every_endpoint_refuses(gas: int, data: bytes, limit: int) -> None:
    assert gas_limit_from_estimate(gas, data) == limit


@pytest.mark.parametrize(
    ("blocks", "seconds", "expected"),
    [
        (3, 30, True),
        (2, 300, False),
        (300, 29, False),
        (0, 0, False),
        (-64, -768, False),  # the endpoint is behind, or on another branch
        (-65, 0, True),  # it was sent at a head that never was
        (0, -769, True),
    ],
)
def test_a_variant_is_stuck_when_blocks_and_seconds_have_passed(blocks: int, seconds: int, expected: bool) -> None:
    variant = Variant(hash=ZERO_DIGEST, raw=b"", price=price(1, 1), sent_block=100, sent_s=5_000)
    head = Block(number=100 + blocks, hash=ZERO_DIGEST, parent_hash=ZERO_DIGEST, timestamp_s=5_000 + seconds)
    assert is_stuck(variant, head, OutboxLimits()) is expected


def test_what_was_never_sent_is_not_stuck() -> None:
    head = Block(number=10**6, hash=ZERO_DIGEST, parent_hash=ZERO_DIGEST, timestamp_s=10**9)
    assert not is_stuck(Variant(hash=ZERO_DIGEST, raw=b"", price=price(1, 1)), head, OutboxLimits())


def test_a_transaction_may_cost_what_its_dearest_variant_says() -> None:
    cheap, dear = (Variant(hash=ZERO_DIGEST, raw=b"", price=price(fee, 1)) for fee in (10, 12))
    signed = Transaction(id=1, intent=INTENT, state="signed", nonce=0, gas_limit=100, variants=(cheap, dear))
    assert signed.fee_max_wei == 1_200
    assert Transaction(id=1, intent=INTENT, state="intended").fee_max_wei == 0
    assert [state for state in NEXT if replace(signed, state=state).is_over] == ["final", "failed", "refused"]


def test_a_day_begins_at_midnight_of_chain_time() -> None:
    assert [day_start_s(at) for at in (0, 86_399, 86_400, 100_000)] == [0, 0, 86_400, 86_400]
