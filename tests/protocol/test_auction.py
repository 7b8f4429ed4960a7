"""Who serves a call is a matter of price, time and trust, and of nothing else."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.offers import BID, CALL, bid
from support.signed import digest

from openledger_protocol.auction import (
    Bid,
    Speed,
    award,
    cost_max_wei,
    expected_cost,
    expected_time_ms,
    trust_ppm,
    why_not,
)
from openledger_protocol.constants import PPM
from openledger_protocol.payments import price_wei
from openledger_protocol.primitives import RequestId, Wei

peer_ids = st.sampled_from(["peer a", "peer b", "peer c", "peer d", "peer e"])
prices = st.integers(0, 2_100).map(Wei)
close_bids = st.builds(
    lambda peer, reliability, price_in, price_out, **changes: bid(
        peer, reliability, price_in=price_in, price_out=price_out, **changes
    ),
    peer_ids,
    st.sampled_from([1, 500_000, 800_000, 800_001, PPM]),
    prices,
    prices,
    ttft_ms=st.integers(0, 300),
    tokens_per_s=st.integers(1, 60),
    context_max=st.sampled_from([163, 164, 2_048]),
    queue=st.integers(0, 2),
)


@given(st.lists(close_bids, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(bids: list[Bid], random: object) -> None:
    shuffled = list(bids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' own random
    assert award(CALL, shuffled) == award(CALL, bids)


@given(st.lists(close_bids, max_size=8))
def test_the_ranking_holds_each_acceptable_peer_once_from_the_cheapest_on(bids: list[Bid]) -> None:
    ranked = award(CALL, bids)
    costs = [expected_cost(entry, CALL) for entry in ranked]
    equals = [cost for cost in costs if cost * 100 <= min(costs) * 103]
    assert sorted(costs[: len(equals)]) == sorted(equals)
    assert costs[len(equals) :] == sorted(costs[len(equals) :])
    accepted = [entry for entry in bids if why_not(CALL, entry) is None]
    assert sorted(entry.peer_id for entry in ranked) == sorted({entry.peer_id for entry in accepted})
    for entry in ranked:
        own = [expected_cost(other, CALL) for other in accepted if other.peer_id == entry.peer_id]
        assert expected_cost(entry, CALL) == min(own)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (bid(id=RequestId(digest("9"))), "for request 0x9999"),
        (bid(price_in=Wei(1_001)), "asks 1001 wei per 1000 tokens of the prompt, over 1000"),
        (bid(price_out=Wei(2_001)), "asks 2001 wei per 1000 tokens of the answer, over 2000"),
        (bid(context_max=163), "has a context of 163 tokens, and 164 are needed"),
        (bid(tokens_per_s=0), "makes no token in a second"),
        (bid(trust_ppm=0), "is not trusted at all"),
    ],
)
def test_a_bid_that_the_call_can_not_take_is_left_out_with_its_reason(refused: Bid, reason: str) -> None:
    assert (why_not(CALL, refused) or "").startswith(reason)
    assert award(CALL, [refused]) == []
    assert why_not(CALL, bid(price_in=Wei(1_000), price_out=Wei(2_000), context_max=164)) is None


def test_the_cost_is_exact() -> None:
    one = Bid(peer_id="a", message=BID, trust_ppm=800_000)
    assert expected_cost(one, CALL) == Fraction((100 * 900 + 64 * 1_800 + 1) * (120 + 1_600 + 1_000) * 10 * 5, 8 * 4)
    assert cost_max_wei(one, CALL) == 206  # 205.2, rounded up
    assert cost_max_wei(one, CALL) - price_wei(100, 64, BID.terms) in (0, 1)


def test_the_requesters_estimate_replaces_the_bidders_word() -> None:
    slow = Speed(ttft_ms=Fraction(200), tokens_per_s=Fraction(1, 2))
    liar = replace(bid("liar", ttft_ms=0, tokens_per_s=10**6), speed=slow)
    assert expected_time_ms(liar, CALL) == 200 + 64 * 2_000
    assert award(CALL, [liar, bid("honest")]) == [bid("honest"), liar]


# ---- equals, newcomers and explorers


def winners(*bids: Bid, explorer: str | None = None, num_calls: int = 400) -> Counter[str]:
    """Count the winners over many calls."""
    won: Counter[str] = Counter()
    for number in range(num_calls):
        id = RequestId(f"0x{number:064x}")
        asked = [replace(each, message=replace(each.message, id=id)) for each in bids]
        won[award(replace(CALL, id=id), asked, explorer)[0].peer_id] += 1
    return won


def test_of_four_within_three_percent_none_wins_over_two_calls_of_five() -> None:
    won = winners(
        *(bid(name, price_in=Wei(0), price_out=Wei(1_800 + 13 * place)) for place, name in enumerate("abcd"))
    )
    assert won.keys() == set("abcd")
    assert max(won.values()) <= 160


def test_a_seller_with_fewer_than_three_answers_costs_a_quarter_more_and_gets_small_chunks() -> None:
    known, new = bid("known", num_measured=3), bid("new", num_measured=2)
    assert expected_cost(new, CALL) * 4 == expected_cost(known, CALL) * 5
    assert why_not(CALL, bid(num_measured=2, chunk_tokens=33)) == (
        "wants 33 tokens paid ahead, and a seller with fewer than 3 answers here gets at most 32: "
        "see [market] credit_tokens_max"
    )
    assert why_not(CALL, bid(num_measured=3, chunk_tokens=33)) is None


@pytest.mark.parametrize(("price_out", "goes_to"), [(1_566, "b"), (1_565, "a")])
def test_a_conversation_stays_with_its_seller_while_it_costs_fifteen_percent_more_at_most(
    price_out: int, goes_to: str
) -> None:
    """`b` asks 1,800 for the answer's tokens, and both the same for the prompt's."""
    call, usual = replace(CALL, tokens_in=0), {"num_measured": 3, "price_in": Wei(1)}
    bids = [bid("a", price_out=Wei(price_out), **usual), bid("b", price_out=Wei(1_800), **usual)]
    for explorer in (None, "a"):
        ranked = award(call, bids, explorer, "b")
        assert [entry.peer_id for entry in ranked] == [goes_to, "ab".replace(goes_to, "")]
    assert award(call, bids, None, "nobody")[0].peer_id == "a"


# ---- trust


def test_trust_is_the_square_of_the_lower_bound_of_a_beta_distribution() -> None:
    """The bound of Beta(a, 1) is the a-th root of one fifth."""
    for whole in range(32):
        assert trust_ppm(whole=whole) == int(1_000 * 0.2 ** (1 / (4 + whole))) ** 2
    # Beta(4, 2): P[Binomial(5, x) ≥ 4] = 5x⁴ − 4x⁵
    bound = trust_ppm(whole=0, failed=1) ** 0.5 / 1_000
    assert 5 * bound**4 - 4 * bound**5 <= 0.2 < 5 * (bound + 0.001) ** 4 - 4 * (bound + 0.001) ** 5
