"""Shares by signals change little where the scores do: rounding on another machine can't move the pay."""

from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import account, digest

from openledger_protocol.attribution import RowScore, Share, check_shares, shares_from_signal_scores
from openledger_protocol.constants import (
    PPM,
    SIGNAL_ACCOUNTS_MAX,
    SIGNAL_FLOOR_PARTS,
    SURE_SCORE,
)
from openledger_protocol.errors import AttributionError
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId
from openledger_protocol.signals import shares_distance_ppm

D = DatanetId(digest("1"))
A, B = account(0xA), account(0xB)


def row(cluster: int, owner: Address, score: int) -> RowScore:
    return RowScore(cluster=cluster, account=owner, score=score)


def shares_of(*rows: RowScore) -> dict[Address, int]:
    return {share.account: share.ppm for share in shares_from_signal_scores(D, rows)}


def of_owners(scores: list[int]) -> list[Share]:
    """Shares of rows that each have an owner."""
    return shares_from_signal_scores(D, [row(n, account(n + 1), score) for n, score in enumerate(scores)])


# ---- the rule


def test_a_receipt_has_room_and_who_finds_none_takes_its_part_from_all() -> None:
    many = [row(n, account(n + 1), SURE_SCORE) for n in range(SIGNAL_ACCOUNTS_MAX)]
    assert len(shares_of(*many)) == SIGNAL_ACCOUNTS_MAX
    last = account(99)
    weak = row(99, last, SURE_SCORE // SIGNAL_FLOOR_PARTS + SURE_SCORE // 100)
    found = shares_of(*many, weak)
    assert len(found) == SIGNAL_ACCOUNTS_MAX + 1
    assert last not in found
    assert 0 < found[ZERO_ADDRESS] < PPM // 1_000
    assert shares_of(*many, row(99, last, SURE_SCORE)) == {ZERO_ADDRESS: PPM}


@pytest.mark.parametrize("rows", [[row(1, A, -1)], [row(1, A, 1), row(1, B, 1)]])
def test_a_negative_score_or_a_cluster_of_two_owners_is_refused(rows: list[RowScore]) -> None:
    with pytest.raises(AttributionError, match="cluster 1 has a negative score or two first owners"):
        shares_from_signal_scores(D, rows)


# ---- its continuity

near_any_limit = st.one_of(
    st.integers(0, 4),
    st.integers(0, 2 * SURE_SCORE),
    st.builds(lambda part, off: max(SURE_SCORE * part // 8 + off, 0), st.integers(0, 12), st.integers(-9, 9)),
)


@given(st.lists(near_any_limit, min_size=1, max_size=60), st.integers(0, SURE_SCORE // 500), st.integers(0, 2**32))
def test_shares_move_by_no_more_than_a_bound_times_the_change_of_any_score(
    scores: list[int], most: int, seed: int
) -> None:
    """Whatever the scores: also between equals, at the floor, at no evidence, and where a receipt has no room.

    Each row counts by y = 8·score − best, which moves by 9 times as much. Half of what moves among rows is at most
    18·Σy/Σy², and Σy/Σy² is at most (1 + √rows)/2 by the best row's y, which is 7 times its score. The part for rows
    moves by one more. Accounts without room take as much from all others as they move.
    """
    random = Random(seed)
    moved = [max(score + random.randint(-most, most), 0) for score in scores]
    each = 1 + (1 + sqrt(len(scores))) * (SIGNAL_FLOOR_PARTS + 1) / (SIGNAL_FLOOR_PARTS - 1)
    bound = each * (1 + (len(scores) > SIGNAL_ACCOUNTS_MAX) * SIGNAL_ACCOUNTS_MAX) * most / SURE_SCORE
    shares = of_owners(scores), of_owners(moved)
    for found in shares:
        check_shares(found, {D})
        assert len(found) <= SIGNAL_ACCOUNTS_MAX + 1
    assert shares_distance_ppm(*shares) <= bound * PPM + len(scores)
