"""Which sellers are called, and whose bid wins: no claim of speed counts that measurements do not support."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import permutations

import pytest
from support.market_world.seller import ad_of
from support.market_world.terms import TERMS, priced, wallet_of, word
from support.offers import CALL

from openledger_node.ledger.sellers import MEASURED_MAX, AnswerSpeed, SellerRecord
from openledger_node.market.calls import ReceivedBid
from openledger_node.market.candidates import Wanted, candidates, explorer, without_defaulted
from openledger_node.market.ranking import bounds_for, estimate, rank_bids
from openledger_node.p2p.transport import PeerId
from openledger_protocol.advertisement import Advertisement
from openledger_protocol.auction import Speed, is_exploring
from openledger_protocol.constants import NEWCOMER_CHUNK_MAX
from openledger_protocol.primitives import BASE_ONLY, Address, RequestId, Wei
from openledger_protocol.wire.market import Call

from .conftest import received_bid

# ---- the sellers that a call goes to: known ones, promising ones, and others by lot


def wanted(number: int = 0) -> Wanted:
    return Wanted(id=RequestId(word(f"call {number}")), adapter=BASE_ONLY, tokens_in=10, tokens_max=100)


EXPLORING = [number for number in range(400) if is_exploring(wanted(number).id)]
USUAL = [number for number in range(400) if number not in EXPLORING]


def ads(count: int, times: float = 1) -> list[Advertisement]:
    """Offers of so many wallets; only their peer ids and wallets differ."""
    first = ad_of("seller", terms=priced(TERMS, times))
    replaced = []
    for number in range(count):
        changes = {"peer_id": f"peer {number} at {times}", "wallet": wallet_of(f"{number} at {times}")}
        replaced.append(ad_of("seller", terms=first.terms, **changes))
    return replaced


def record(ttft_ms: int, tokens_per_s: int, answers: int = 1) -> SellerRecord:
    sample = AnswerSpeed(ttft_ms=ttft_ms, num_tokens=64, stream_ms=64_000 // tokens_per_s)
    found = SellerRecord()
    for _ in range(answers):
        found = found.after("successes", now_ns=0, sample=sample)
    return found


def records_of(offers: list[Advertisement], **known: SellerRecord) -> dict[Address, SellerRecord]:
    return {ad.wallet: known.get(ad.peer_id.replace(" ", "_"), SellerRecord()) for ad in offers}


def test_the_two_best_known_come_first() -> None:
    offers = [*ads(20), *ads(20, 0.1)]
    known = {"peer_3_at_1": record(100, 50, 9), "peer_4_at_1": record(100, 60, 9), "peer_5_at_1": record(100, 9, 9)}
    for number in USUAL[:20]:
        ordered = candidates(offers, records_of(offers, **known), wanted(number))
        assert [ad.peer_id for ad in ordered[:2]] == ["peer 4 at 1", "peer 3 at 1"]
        assert sorted(ad.peer_id for ad in ordered) == sorted(ad.peer_id for ad in offers)


def test_of_known_sellers_the_trusted_come_first_and_equals_take_turns() -> None:
    offers, fast = ads(9), record(100, 50, 9)
    failed = fast.after("failures", now_ns=0)
    records = records_of(offers, peer_3_at_1=failed, peer_4_at_1=fast, peer_5_at_1=record(100, 49, 9))
    records |= {offers[6].wallet: record(10, 500)}  # one answer proves nothing
    first = [[ad.peer_id for ad in candidates(offers, records, wanted(number))[:2]] for number in USUAL[:20]]
    assert {name for names in first for name in names} == {"peer 4 at 1", "peer 5 at 1"}
    assert len({names[0] for names in first}) == 2


def test_of_unknown_sellers_one_that_has_failed_is_not_called_first_for_its_price() -> None:
    offers = [*ads(9), *ads(1, 0.9)]
    records = records_of(offers) | {offers[-1].wallet: SellerRecord().after("failures", now_ns=0)}
    assert all(candidates(offers, records, wanted(number))[0] != offers[-1] for number in USUAL[:3])
    assert all(candidates(offers, records_of(offers), wanted(number))[0] == offers[-1] for number in USUAL[:3])


@pytest.mark.parametrize("number", [USUAL[0], EXPLORING[0]])
def test_the_seller_of_the_conversation_the_best_known_and_an_explorer_are_called_first(number: int) -> None:
    offers = ads(20)
    known = {"peer_3_at_1": record(100, 50, 9), "peer_4_at_1": record(100, 60, 9)}
    records = records_of(offers, **known)
    first = candidates(offers, records, wanted(number), PeerId("peer 9 at 1"))[:3]
    third = explorer(offers, records, wanted(number)) or "peer 3 at 1"
    assert [ad.peer_id for ad in first] == ["peer 9 at 1", "peer 4 at 1", third]
    again = candidates(offers, records, wanted(number), PeerId("peer 4 at 1"))
    assert len({ad.peer_id for ad in again}) == len(again) == 20


def test_cheap_offers_take_two_places_and_the_lot_decides_over_the_others() -> None:
    offers = [*ads(20), *ads(20, 0.001)]
    called: Counter[str] = Counter()
    for number in USUAL[:200]:
        called.update(ad.peer_id for ad in candidates(offers, records_of(offers), wanted(number))[:8])
    usual = [called[ad.peer_id] for ad in offers[:20]]
    assert min(usual) >= 10, "each seller at the usual price is asked"
    assert sum(usual) >= 200 * 2


def test_one_call_in_twenty_goes_to_the_seller_with_the_fewest_answers() -> None:
    offers = ads(10)
    records = {ad.wallet: record(100, 50, 3 + place) for place, ad in enumerate(offers)}
    assert {explorer(offers, records, wanted(number)) for number in EXPLORING} == {offers[0].peer_id}
    assert {explorer(offers, records, wanted(number)) for number in USUAL} == {None}
    assert explorer(offers, records, replace(wanted(EXPLORING[0]), is_wary=True)) is None
    ordered = candidates(offers, records, wanted(EXPLORING[0]))
    assert offers[0] in ordered[:3]
    assert explorer([], {}, wanted(EXPLORING[0])) is None


def test_no_call_explores_a_seller_that_is_too_dear_to_win() -> None:
    offers = [*ads(3, 2), *ads(3)]
    records = {ad.wallet: record(100, 50, 9 if ad.peer_id.endswith("at 1") else 0) for ad in offers}
    assert {explorer(offers, records, wanted(number)) for number in EXPLORING} <= {ad.peer_id for ad in offers[3:]}


@pytest.mark.parametrize("number", [USUAL[0], EXPLORING[0]])
def test_two_hundred_peers_of_one_wallet_leave_places_for_others(number: int) -> None:
    thief = wallet_of("thief")
    sybils = [ad_of("seller", peer_id=f"sybil {n}", wallet=thief, terms=priced(TERMS, 0.01)) for n in range(200)]
    offers = [*sybils, *ads(3)]
    ordered = candidates(offers, {ad.wallet: SellerRecord() for ad in offers}, wanted(number))
    assert {ad.wallet for ad in ordered[:4]} == {ad.wallet for ad in offers}
    assert len(ordered) == 203


def test_strangers_get_one_place_for_a_low_price_and_none_after_one_has_left_the_request_unanswered() -> None:
    """Of 100 at the usual price and 7 at half of it, a call of eight would otherwise have two cheap ones at least."""
    offers = [*ads(100), *ads(7, 0.5)]
    cheap = {ad.peer_id for ad in offers[100:]}
    records = records_of(offers)
    num_cheap = {True: 0, False: 0}
    for number in USUAL[:100]:
        for is_wary in num_cheap:
            called = candidates(offers, records, replace(wanted(number), is_wary=is_wary))[:8]
            num_cheap[is_wary] += len(cheap & {ad.peer_id for ad in called})
    assert 100 <= num_cheap[False] < 170
    assert num_cheap[True] < 70


def test_sellers_that_owe_an_answer_are_left_out_unless_all_do_and_come_back_as_explorers() -> None:
    offers = ads(4)
    owing = SellerRecord().after("failures", now_ns=0, is_default=True)
    forgiven = record(100, 50, 8).after("failures", now_ns=0, is_default=True)
    records = records_of(offers, peer_0_at_1=owing, peer_1_at_1=forgiven)
    assert without_defaulted(offers, records, wanted(USUAL[0])) == offers[1:]
    assert without_defaulted(offers[:1], records, wanted(USUAL[0])) == offers[:1]
    all_known = records | {ad.wallet: record(100, 50, 9) for ad in offers[2:]}
    exploring = wanted(EXPLORING[0])
    assert explorer(offers, all_known, exploring) == offers[0].peer_id
    assert without_defaulted(offers, all_known, exploring) == offers


# ---- whose bid wins, by estimates of a seller's speed


CEILING = Wei(10**18)
OPEN_CALL = replace(CALL, price_in_max=CEILING, price_out_max=CEILING)


def speed(ttft_ms: int, tokens_per_s: int) -> Speed:
    return Speed(ttft_ms=Fraction(ttft_ms), tokens_per_s=Fraction(tokens_per_s))


def best(call: Call, bids: list[ReceivedBid], records: dict[Address, SellerRecord] | None = None) -> str:
    unknown = {bid.message.wallet: SellerRecord() for bid in bids}
    return rank_bids(call, bids, {**unknown, **(records or {})})[0].peer_id


def test_a_seller_that_is_slow_and_says_so_is_bought_from_where_its_price_makes_up_for_it() -> None:
    slow = received_bid("slow", times=0.3, tokens_per_s=20)
    assert best(OPEN_CALL, [slow, received_bid("fast")], {wallet_of("slow"): record(120, 20, 9)}) == "slow"


def test_a_claim_weighs_as_much_as_three_measured_answers() -> None:
    bounds = speed(0, 10**9)
    for answers in (1, 3, 9):
        found = estimate(speed(100, 40), record(400, 10, answers), bounds, 0)
        assert found.ttft_ms == Fraction(3 * 100 + answers * 400, 3 + answers)
        assert found.tokens_per_s == Fraction(3 * 40 + answers * 10, 3 + answers)


def test_a_claim_within_its_bounds_is_believed_of_a_newcomer_and_no_better_one() -> None:
    bounds = speed(100, 50)
    assert estimate(speed(150, 40), SellerRecord(), bounds, 0) == speed(150, 40)
    assert estimate(speed(1, 10**6), SellerRecord(), bounds, 0) == bounds


def test_a_seller_that_is_truly_faster_than_others_earns_its_speed() -> None:
    found = estimate(speed(10, 400), record(10, 400, MEASURED_MAX - 1), speed(100, 50), 0)
    assert found.tokens_per_s > 360
    assert found.ttft_ms < 20


def test_no_first_token_comes_before_two_round_trips() -> None:
    assert estimate(speed(1, 40), record(1, 40), speed(0, 40), 30).ttft_ms == 60
    near, far = received_bid("near", ttft_ms=0, round_trip_ms=1), received_bid("far", ttft_ms=0, round_trip_ms=900)
    assert best(OPEN_CALL, [far, near]) == "near"


def test_bounds_are_the_better_quartile_of_what_was_measured_at_others() -> None:
    records = {wallet_of(f"{number}"): record(100 * number, 10 * number) for number in (1, 2, 4, 5, 8)}
    own = {wallet_of("own"): record(900, 1), wallet_of("new"): SellerRecord()}
    found = bounds_for(wallet_of("own"), {}, {**records, **own})
    assert found == speed(200, 50)


def test_a_slow_seller_that_was_measured_first_does_not_hold_others_at_its_speed() -> None:
    claims = {wallet_of(name): speed(100, 40) for name in ("slow", "a", "b")}
    assert bounds_for(wallet_of("a"), claims, {wallet_of("slow"): record(10_000, 1)}) == speed(100, 40)


def test_a_claim_that_own_measurements_bear_out_is_not_bounded_by_a_slower_seller() -> None:
    records = {wallet_of("fast"): record(100, 40), wallet_of("slow"): record(10_000, 1)}
    claims = {wallet: speed(100, 40) for wallet in records}
    assert bounds_for(wallet_of("fast"), claims, records) == speed(100, 40)


def test_before_any_measurement_bounds_are_the_medians_of_the_claims() -> None:
    claims = {wallet_of("a"): speed(10, 900), wallet_of("b"): speed(100, 40), wallet_of("liar"): speed(0, 10**9)}
    assert bounds_for(wallet_of("liar"), claims, {}) == speed(10, 900)
    more = {wallet_of(name): speed(100, 40) for name in ("c", "d")}
    assert bounds_for(wallet_of("liar"), claims | more, {}) == speed(100, 40)
    del claims[wallet_of("a")]
    assert bounds_for(wallet_of("liar"), claims, {}) == speed(100, 40)  # of two, the slower


def test_many_bids_of_one_wallet_move_the_medians_as_one() -> None:
    liars = [received_bid(f"liar {n}", wallet="liar", times=2, ttft_ms=0, tokens_per_s=10**9) for n in range(7)]
    assert best(OPEN_CALL, [*liars, received_bid("honest")]) == "honest"


def test_a_seller_that_has_failed_or_wants_much_paid_ahead_as_a_newcomer_loses() -> None:
    failed = {wallet_of("failed"): SellerRecord().after("failures", now_ns=0)}
    assert best(OPEN_CALL, [received_bid("failed"), received_bid("other", times=1.1)], failed) == "other"
    greedy = received_bid("greedy", times=0.5, chunk_tokens=NEWCOMER_CHUNK_MAX + 1)
    assert best(OPEN_CALL, [greedy, received_bid("other")]) == "other"
    assert best(OPEN_CALL, [greedy, received_bid("other")], {wallet_of("greedy"): record(120, 50, 9)}) == "greedy"


def test_the_order_of_arrival_does_not_matter() -> None:
    bids = [received_bid("a"), received_bid("b", ttft_ms=0), received_bid("c", wallet="a", tokens_per_s=90)]
    assert len({best(OPEN_CALL, list(order)) for order in permutations(bids)}) == 1
