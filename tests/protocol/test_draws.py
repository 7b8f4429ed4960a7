"""Drawn points: they lie where the money lies, and a false part of a list costs more than it gains."""

from collections.abc import Callable, Sequence
from math import sqrt

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from support.signed import NODE, account, claim_record, digest, digests, uints

from openledger_protocol.constants import PPM
from openledger_protocol.draws import Point, drawn_points
from openledger_protocol.payouts import lapse_fee_wei
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_WEI, AdapterId, Address, DatanetId, Digest, Wei
from openledger_protocol.settlement import NOBODY, ClaimRecord, Payout, Pot

ANN, BEN, LIAR = account(1), account(2), account(3)
NUM_DRAWS = 4
NUM_LISTS = 1_000


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


def seed(number: int) -> Digest:
    return Digest("0x" + keccak(number.to_bytes(32, "big")).hex())


def points_of_all_lists(claim: ClaimRecord, payouts: Sequence[Payout]) -> list[list[Point]]:
    return [drawn_points(seed(number), claim, payouts, NUM_DRAWS) for number in range(NUM_LISTS)]


CLAIM = record((3_000, 300), (7_000, 700))
HONEST = [
    *entries(0, 3_000, (ANN, 400_000), (BEN, 600_000)),
    *entries(1, 7_000, (ZERO_ADDRESS, 100_000), (ANN, 700_000), (NOBODY, 200_000)),
]


def test_a_point_is_drawn_by_hand() -> None:
    def number(*words: int | str) -> int:
        raw = b"".join((int(w, 16) if isinstance(w, str) else w).to_bytes(32, "big") for w in words)
        return int.from_bytes(keccak(raw), "big")

    for draw, point in enumerate(drawn_points(seed(1), CLAIM, HONEST, 8)):
        random = number(seed(1), NODE, 7, draw)
        pot = int(random % 1_000 >= 300)
        place = number(random) % (PPM * (3_000, 7_000)[pot])
        before = 0
        for payout in HONEST:
            if payout.pot == pot and before <= place < before + payout.weight:
                assert point == Point(pot=pot, account=payout.account, offset=place - before)
            before += payout.weight if payout.pot == pot else 0


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
    assert {point.pot for points in points_of_all_lists(claim, payouts) for point in points} == drawn


def is_near(count: int, of: int, chance: float) -> bool:
    """True if a count is within three standard errors of its expected value."""
    return abs(count - of * chance) <= 3 * sqrt(of * chance * (1 - chance))


@pytest.mark.parametrize(
    ("pot", "owner", "chance"),
    [(0, ANN, 0.12), (0, BEN, 0.18), (1, ZERO_ADDRESS, 0.07), (1, ANN, 0.49), (1, NOBODY, 0.14)],
)
def test_an_entry_is_drawn_with_the_chance_of_its_money(pot: int, owner: str, chance: float) -> None:
    points = [point for points in points_of_all_lists(CLAIM, HONEST) for point in points]
    hits = sum((point.pot, point.account) == (pot, owner) for point in points)
    assert is_near(hits, NUM_LISTS * NUM_DRAWS, chance)


def moved_everywhere(ppm: int) -> list[Payout]:
    """A part of each pot moved to an account that no receipt names."""
    return [
        *entries(0, 3_000, (ANN, PPM - ppm), (LIAR, ppm)),
        *entries(1, 7_000, (BEN, PPM - ppm), (LIAR, ppm)),
    ]


def moved_in_one_pot(ppm: int) -> list[Payout]:
    """The same money, all out of the smaller pot."""
    part = ppm * 10 // 3
    return [*entries(0, 3_000, (ANN, PPM - part), (LIAR, part)), *entries(1, 7_000, (BEN, PPM))]


@pytest.mark.parametrize("moved", [moved_everywhere, moved_in_one_pot])
@pytest.mark.parametrize("percent", [1, 5, 10, 30])
def test_a_moved_part_is_drawn_as_often_as_the_design_says(
    percent: int, moved: Callable[[int], list[Payout]]
) -> None:
    payouts = moved(percent * 10_000)
    found = sum(LIAR in {point.account for point in points} for points in points_of_all_lists(CLAIM, payouts))
    assert is_near(found, NUM_LISTS, 1 - (1 - percent / 100) ** NUM_DRAWS)


@given(st.integers(1, PPM - 1), st.integers(2, 2**100))
def test_a_moved_part_costs_at_least_twice_its_gain_whatever_its_size(ppm: int, pots_wei: int) -> None:
    """A liar draws again until no false point is drawn, and pays the lapse fee each time.

    With p = 1 − (1 − f)^K that is p / (1 − p) fees in expectation. Exact, in integers, without the fee's rounding.
    """
    missed, whole = (PPM - ppm) ** NUM_DRAWS, PPM**NUM_DRAWS
    fee_wei = lapse_fee_wei(record((pots_wei, pots_wei)))
    loss = (whole - missed) * (fee_wei + 1) * PPM  # times missed · PPM, as the gain
    assert loss >= 2 * ppm * pots_wei * missed


@pytest.mark.parametrize("percent", [5, 10, 30])
def test_liars_lose_in_the_mean_of_a_thousand_claims(percent: int) -> None:
    """Played out: each claim is drawn again, for the fee, until no false point is drawn."""
    payouts, fee_wei = moved_everywhere(percent * 10_000), lapse_fee_wei(CLAIM)
    numbers, paid_wei = iter(range(10**6)), 0
    for _ in range(NUM_LISTS):
        while any(point.account == LIAR for point in drawn_points(seed(next(numbers)), CLAIM, payouts, NUM_DRAWS)):
            paid_wei += fee_wei
    gained_wei = NUM_LISTS * percent * 1_000 // 100
    assert paid_wei > 2 * gained_wei
