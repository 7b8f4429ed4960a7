"""Drawn points: they lie where the money lies, and a false part of a list costs more than it gains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import account, claim_record, digest, digests, uints

from openledger_protocol.constants import PPM
from openledger_protocol.draws import Point, drawn_points
from openledger_protocol.payouts import lapse_fee_wei
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Address, DatanetId, Digest, Wei
from openledger_protocol.settlement import NOBODY, ClaimRecord, Payout, Pot

ANN, BEN = account(1), account(2)
NUM_DRAWS = 4


def record(*pots: tuple[int, int]) -> ClaimRecord:
    """A claim with pots of (gross, amount)."""
    return claim_record(
        seq=7,
        epoch=3,
        gross_wei=Wei(sum(gross for gross, _ in pots)),
        pots=tuple(
            Pot(
                start_wei=ZERO_WEI,
                adapter_id=AdapterId(digest("a")),
                datanet_id=DatanetId(digest("d")),
                gross_wei=Wei(gross),
                amount_wei=Wei(amount),
            )
            for gross, amount in pots
        ),
    )


def entries(pot: int, gross: int, *parts: tuple[Address, int]) -> list[Payout]:
    """Entries of a pot by (account, ppm of it)."""
    return [Payout(pot=pot, account=owner, weight=gross * ppm) for owner, ppm in parts if ppm]


@given(digests, st.lists(st.tuples(uints(100), uints(64), st.integers(0, PPM)), min_size=1, max_size=4), st.data())
def test_a_point_lies_in_an_entry_of_a_pot_with_money(
    hashed: Digest, pots: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    claim = record(*((gross + 1, amount) for gross, amount, _ in pots))
    listed = data.draw(st.sets(st.integers(0, len(pots) - 1)))
    payouts = [
        payout
        for index, (gross, _, ppm) in enumerate(pots)
        if index in listed
        for payout in entries(index, gross + 1, (ANN, ppm), (BEN, PPM - ppm))
    ]
    weights = {(payout.pot, payout.account): payout.weight for payout in payouts}
    points = drawn_points(hashed, claim, payouts, 16)
    assert len(points) == (16 if listed and any(amount for _, amount, _ in pots) else 0)
    for point in points:
        assert claim.pots[point.pot].amount_wei > 0
        if point.pot in listed:
            assert 0 <= point.offset < weights[point.pot, point.account]
        else:
            assert point == Point(pot=point.pot, account=NOBODY, offset=0)


@pytest.mark.parametrize(("amounts", "drawn"), [((0, 1, 0), {1}), ((1, 1), {0, 1}), ((1, 0, 0, 1), {0, 3})])
def test_each_wei_belongs_to_one_pot_and_none_to_an_empty_one(amounts: tuple[int, ...], drawn: set[int]) -> None:
    claim, payouts = record(*((5, amount) for amount in amounts)), entries(0, 5, (ANN, PPM))
    points = [point for seed in "123456789" for point in drawn_points(digest(seed), claim, payouts, 16)]
    assert {point.pot for point in points} == drawn


@given(st.integers(1, PPM - 1), st.integers(2, 2**100))
def test_a_moved_part_costs_at_least_twice_its_gain_whatever_its_size(ppm: int, pots_wei: int) -> None:
    """A liar draws again until no false point is drawn, and pays the lapse fee each time.

    With p = 1 − (1 − f)^K that is p / (1 − p) fees in expectation. Exact, in integers, without the fee's rounding.
    """
    missed, whole = (PPM - ppm) ** NUM_DRAWS, PPM**NUM_DRAWS
    fee_wei = lapse_fee_wei(record((pots_wei, pots_wei)))
    loss = (whole - missed) * (fee_wei + 1) * PPM  # times missed · PPM, as the gain
    assert loss >= 2 * ppm * pots_wei * missed
