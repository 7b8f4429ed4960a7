"""Who serves a call is a matter of price, time and reliability, and of nothing else."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.offers import BID, CALL, bid, bid_messages, calls
from support.signed import digest

from openledger_protocol.auction import (
    Bid,
    Speed,
    award,
    cost_max_wei,
    expected_cost,
    expected_time_ms,
    reliability_ppm,
    why_not,
)
from openledger_protocol.constants import PPM
from openledger_protocol.payments import Terms, price_wei
from openledger_protocol.primitives import RequestId, Wei
from openledger_protocol.wire.market import Call

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
wild_bids = st.builds(Bid, peer_id=st.text(max_size=5), message=bid_messages, reliability_ppm=st.integers(0, PPM))


@given(st.lists(close_bids, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(bids: list[Bid], random: object) -> None:
    shuffled = list(bids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' own random
    assert award(CALL, shuffled) == award(CALL, bids)


@given(st.lists(close_bids, max_size=8))
def test_the_ranking_holds_each_acceptable_peer_once_from_the_cheapest_on(bids: list[Bid]) -> None:
    ranked = award(CALL, bids)
    costs = [expected_cost(entry, CALL) for entry in ranked]
    assert costs == sorted(costs)
    accepted = [entry for entry in bids if why_not(CALL, entry) is None]
    assert sorted(entry.peer_id for entry in ranked) == sorted({entry.peer_id for entry in accepted})
    for entry in ranked:
        own = [expected_cost(other, CALL) for other in accepted if other.peer_id == entry.peer_id]
        assert expected_cost(entry, CALL) == min(own)


@given(calls, st.lists(wild_bids, max_size=6), st.data())
def test_the_winner_is_within_the_ceilings_of_any_call(call: Call, bids: list[Bid], data: st.DataObject) -> None:
    matching = [replace(entry, message=replace(entry.message, id=call.id)) for entry in bids]
    for entry in award(call, data.draw(st.permutations([*bids, *matching]))):
        assert entry.message.id == call.id
        assert entry.message.terms.price_in_wei <= call.price_in_max
        assert entry.message.terms.price_out_wei <= call.price_out_max
        assert entry.message.context_max >= call.tokens_in + call.tokens_max


@given(st.lists(close_bids, min_size=1, max_size=6, unique_by=lambda entry: entry.peer_id), st.data())
def test_cheaper_or_faster_or_more_reliable_never_ranks_worse(bids: list[Bid], data: st.DataObject) -> None:
    ranked = award(CALL, bids)
    if not ranked:
        return
    chosen = data.draw(st.sampled_from(ranked))
    better = data.draw(st.sampled_from(list(improved(chosen))))
    after = award(CALL, [better if entry is chosen else entry for entry in bids])
    assert after.index(better) <= ranked.index(chosen)


def improved(entry: Bid) -> list[Bid]:
    message, terms = entry.message, entry.message.terms
    lower_in = Terms(price_in_wei=Wei(max(0, terms.price_in_wei - 1)), price_out_wei=terms.price_out_wei)
    lower_out = Terms(price_in_wei=terms.price_in_wei, price_out_wei=Wei(terms.price_out_wei // 2))
    return [
        replace(entry, message=replace(message, terms=lower_in)),
        replace(entry, message=replace(message, terms=lower_out)),
        replace(entry, message=replace(message, ttft_ms=message.ttft_ms // 2)),
        replace(entry, message=replace(message, tokens_per_s=message.tokens_per_s + 1)),
        replace(entry, reliability_ppm=min(PPM, entry.reliability_ppm + 1)),
    ]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (bid("a", price_out=Wei(1_799)), bid("b")),
        (bid("a", price_in=Wei(899)), bid("b")),
        (bid("a", ttft_ms=119), bid("b")),
        (bid("a", tokens_per_s=41), bid("b")),
        (bid("a", 800_001), bid("b")),
        (bid("a", price_in=Wei(0), price_out=Wei(0), ttft_ms=1), bid("b", price_in=Wei(0), price_out=Wei(0))),
        (bid("a", price_in=Wei(0), price_out=Wei(0), ttft_ms=9_999), bid("b")),
        (bid("a", 1_000_000, price_in=Wei(1_000), price_out=Wei(2_000)), bid("b", 800_000)),
    ],
    ids=[
        "price out",
        "price in",
        "first token",
        "speed",
        "reliability",
        "free and faster",
        "free",
        "worth its price",
    ],
)
def test_the_better_bid_wins(better: Bid, worse: Bid) -> None:
    for peers in (("a", "b"), ("b", "a")):
        first, second = (replace(entry, peer_id=peer) for entry, peer in zip((better, worse), peers, strict=True))
        assert award(CALL, [second, first]) == [first, second]


def test_equal_bids_are_ordered_by_a_hash_that_changes_with_the_request() -> None:
    winners = set()
    for number in range(16):
        id = RequestId(f"0x{number:064x}")
        ranked = award(replace(CALL, id=id), [bid("a", id=id), bid("b", id=id)])
        winners.add(ranked[0].peer_id)
    assert winners == {"a", "b"}


def test_a_peer_that_bids_twice_is_ranked_once_by_its_best() -> None:
    ranked = award(CALL, [bid("a"), bid("b"), bid("a", price_out=Wei(1_000))])
    assert ranked == [bid("a", price_out=Wei(1_000)), bid("b")]


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (bid(id=RequestId(digest("9"))), "for request 0x9999"),
        (bid(price_in=Wei(1_001)), "asks 1001 wei per 1000 tokens of the prompt, over 1000"),
        (bid(price_out=Wei(2_001)), "asks 2001 wei per 1000 tokens of the answer, over 2000"),
        (bid(context_max=163), "has a context of 163 tokens, and 164 are needed"),
        (bid(tokens_per_s=0), "makes no token in a second"),
        (bid(reliability_ppm=0), "has never been reliable"),
    ],
)
def test_a_bid_that_the_call_can_not_take_is_left_out_with_its_reason(refused: Bid, reason: str) -> None:
    assert (why_not(CALL, refused) or "").startswith(reason)
    assert award(CALL, [refused]) == []
    assert why_not(CALL, bid(price_in=Wei(1_000), price_out=Wei(2_000), context_max=164)) is None


def test_the_cost_is_exact() -> None:
    one = Bid(peer_id="a", message=BID, reliability_ppm=800_000)
    assert expected_cost(one, CALL) == Fraction((100 * 900 + 64 * 1_800 + 1) * (120 + 1_600) * 10, 8)
    assert cost_max_wei(one, CALL) == 206  # 205.2, rounded up
    assert cost_max_wei(one, CALL) - price_wei(100, 64, BID.terms) in (0, 1)


def test_a_newcomer_stands_between_the_good_and_the_bad() -> None:
    newcomer = reliability_ppm(successes=0, failures=0)
    assert newcomer == 800_000
    assert reliability_ppm(successes=20, failures=0) > newcomer > reliability_ppm(successes=0, failures=1)
    assert reliability_ppm(successes=20, failures=20) < newcomer


def test_the_requesters_estimate_replaces_the_bidders_word() -> None:
    slow = Speed(ttft_ms=Fraction(200), tokens_per_s=Fraction(1, 2))
    liar = replace(bid("liar", ttft_ms=0, tokens_per_s=10**6), speed=slow)
    assert expected_time_ms(liar, CALL) == 200 + 64 * 2_000
    assert award(CALL, [liar, bid("honest")]) == [bid("honest"), liar]


def test_a_seller_that_is_always_late_sinks_towards_a_third() -> None:
    figures = [reliability_ppm(successes=0, failures=0, late=late) for late in range(200)]
    assert figures == sorted(figures, reverse=True)
    assert 333_333 < figures[-1] < 340_000


counts = st.integers(0, 10**6)


@given(counts, counts, counts, counts)
def test_reliability_moves_as_it_must_and_never_reaches_an_end(good: int, bad: int, aborted: int, late: int) -> None:
    def of(good: int, bad: int, aborted: int, late: int) -> int:
        return reliability_ppm(successes=good, failures=bad, aborted=aborted, late=late)

    here = of(good, bad, aborted, late)
    assert 0 < here < PPM
    assert of(good + 1, bad, aborted, late) >= of(good, bad, aborted + 1, late) >= of(good, bad + 1, aborted, late)
    assert of(good, bad, aborted, late + 1) == of(good + 1, bad + 2, aborted, late)
    assert of(good, bad + 1, aborted, late) <= here <= of(good + 1, bad, aborted, late)
