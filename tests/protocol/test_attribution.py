"""Shares are integers that sum exactly, and no trick with rows or accounts moves them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import account, digest, uints

from openledger_protocol.attribution import RowScore, Share, check_shares, shares_from_scores, split
from openledger_protocol.constants import CLUSTERS_MAX, PPM
from openledger_protocol.errors import AttributionError
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId, Wei

D1, D2 = DatanetId(digest("1")), DatanetId(digest("2"))
A, B = account(0xA), account(0xB)


def row(cluster: int, owner: Address, score: int) -> RowScore:
    return RowScore(cluster=cluster, account=owner, score=score)


def share(ppm: int, owner: Address = A, datanet: DatanetId = D1) -> Share:
    return Share(datanet_id=datanet, account=owner, ppm=ppm)


def shares_of(*rows: RowScore) -> dict[Address, int]:
    return {share.account: share.ppm for share in shares_from_scores(D1, rows)}


@st.composite
def ppms(draw: st.DrawFn) -> list[int]:
    cuts = sorted(draw(st.lists(st.integers(min_value=0, max_value=PPM), max_size=8)))
    return [right - left for left, right in zip([0, *cuts], [*cuts, PPM], strict=True)]


rows = st.lists(st.tuples(st.integers(0, 30), uints(64)), max_size=60).map(
    lambda pairs: [row(cluster, account(cluster % 7 + 1), score) for cluster, score in pairs]
)


@given(uints(128), ppms())
def test_the_parts_sum_to_the_whole_and_none_is_a_wei_off(total: int, shares_ppm: list[int]) -> None:
    parts = split(Wei(total), shares_ppm)
    assert sum(parts) == total
    assert all(0 <= part - total * ppm // PPM <= 1 for part, ppm in zip(parts, shares_ppm, strict=True))


@pytest.mark.parametrize("shares_ppm", [[], [PPM - 1], [PPM + 1], [PPM + 1, -1]])
def test_shares_that_are_not_the_whole_divide_nothing(shares_ppm: Sequence[int]) -> None:
    with pytest.raises(AttributionError, match=r"the shares sum to \d+ ppm, not to 1000000, or one is negative"):
        split(Wei(5), shares_ppm)


@given(rows)
def test_shares_from_any_scores_add_up(scored: list[RowScore]) -> None:
    shares = shares_from_scores(D1, scored)
    check_shares(shares, {D1})
    assert len(shares) <= CLUSTERS_MAX


@given(st.lists(uints(32), min_size=1, max_size=CLUSTERS_MAX), st.integers(1, 9))
def test_splitting_data_over_accounts_gains_nothing(scores: list[int], parts: int) -> None:
    """What one account earns with its rows, several earn together, to one millionth each."""
    own = [row(cluster, A, score) for cluster, score in enumerate(scores)]
    spread = [row(cluster, account(100 + cluster % parts), score) for cluster, score in enumerate(scores)]
    rival = row(99, account(1), 2**31)
    alone = shares_of(*own, rival).get(A, 0)
    together = sum(ppm for owner, ppm in shares_of(*spread, rival).items() if owner != account(1))
    assert abs(together - alone) <= parts


@pytest.mark.parametrize("scored", [[row(1, A, -1)], [row(1, A, 1), row(1, B, 1)], [row(1, A, 1), row(1, A, -1)]])
def test_a_negative_score_or_a_cluster_of_two_owners_is_refused(scored: list[RowScore]) -> None:
    with pytest.raises(AttributionError, match="cluster 1 has a negative score or two first owners"):
        shares_from_scores(D1, scored)


def test_shares_of_several_datanets_pass_in_their_order() -> None:
    check_shares([share(1, A), share(PPM - 1, B), share(PPM, ZERO_ADDRESS, D2)], [D1, D2])
    check_shares([], [])


def test_accounts_ascend_by_their_number_whatever_the_case_of_their_letters() -> None:
    lower, upper = sorted((Address("0x" + "a" * 40), Address("0x" + "B" * 40)), key=str.lower)
    check_shares([share(1, lower), share(PPM - 1, upper)], [D1])


@pytest.mark.parametrize(
    ("shares", "datanets", "message"),
    [
        ([share(1, B), share(PPM - 1, A)], [D1], "shares ascend"),
        ([share(PPM, A, D2), share(PPM, A, D1)], [D1, D2], "shares ascend"),
        ([share(500_000), share(500_000)], [D1], "shares ascend"),
        ([share(0, A), share(PPM, B)], [D1], "a share is over zero"),
        ([share(PPM)], [], "of 1 Datanets, not of the adapter's 0"),
        ([share(PPM)], [D2], "not of the adapter's 1"),
        ([share(PPM)], [D1, D2], "of 1 Datanets, not of the adapter's 2"),
        ([], [D1], "of 0 Datanets, not of the adapter's 1"),
        ([share(PPM - 1)], [D1], f"Datanet {D1} sum to 999999 ppm, not to 1000000"),
        ([share(1), share(PPM, B)], [D1], f"Datanet {D1} sum to 1000001 ppm"),
    ],
)
def test_shares_are_refused_with_their_reason(shares: list[Share], datanets: list[DatanetId], message: str) -> None:
    with pytest.raises(AttributionError, match=message):
        check_shares(shares, datanets)
