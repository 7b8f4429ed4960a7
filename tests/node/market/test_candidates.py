"""The sellers that a call goes to: known ones, promising ones, and others by lot."""

from collections import Counter
from dataclasses import replace

import pytest
from support.market_world.seller import ad_of
from support.market_world.terms import TERMS, priced, wallet_of, word

from openledger_node.ledger.sellers import AnswerSpeed, SellerRecord
from openledger_node.market.candidates import Wanted, candidates, explorer, without_defaulted
from openledger_node.p2p.transport import PeerId
from openledger_protocol.advertisement import Advertisement
from openledger_protocol.auction import is_exploring
from openledger_protocol.primitives import BASE_ONLY, Address, RequestId


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


def measured(tokens_per_s: int, num_answers: int = 9) -> SellerRecord:
    sample = AnswerSpeed(ttft_ms=100, num_tokens=100, stream_ms=100_000 // tokens_per_s)
    record = SellerRecord()
    for _ in range(num_answers):
        record = record.after("successes", now_ns=0, sample=sample)
    return record


def records_of(offers: list[Advertisement], **known: SellerRecord) -> dict[Address, SellerRecord]:
    return {ad.wallet: known.get(ad.peer_id.replace(" ", "_"), SellerRecord()) for ad in offers}


def test_the_two_best_known_come_first() -> None:
    offers = [*ads(20), *ads(20, 0.1)]
    known = {"peer_3_at_1": measured(50), "peer_4_at_1": measured(60), "peer_5_at_1": measured(9)}
    for number in USUAL[:20]:
        ordered = candidates(offers, records_of(offers, **known), wanted(number))
        assert [ad.peer_id for ad in ordered[:2]] == ["peer 4 at 1", "peer 3 at 1"]
        assert sorted(ad.peer_id for ad in ordered) == sorted(ad.peer_id for ad in offers)


@pytest.mark.parametrize("number", [USUAL[0], EXPLORING[0]])
def test_the_seller_of_the_conversation_the_best_known_and_an_explorer_are_called_first(number: int) -> None:
    offers = ads(20)
    known = {"peer_3_at_1": measured(50), "peer_4_at_1": measured(60)}
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
    records = {ad.wallet: measured(50, 3 + place) for place, ad in enumerate(offers)}
    assert {explorer(offers, records, wanted(number)) for number in EXPLORING} == {offers[0].peer_id}
    assert {explorer(offers, records, wanted(number)) for number in USUAL} == {None}
    ordered = candidates(offers, records, wanted(EXPLORING[0]))
    assert offers[0] in ordered[:3]
    assert explorer([], {}, wanted(EXPLORING[0])) is None


def test_no_call_explores_a_seller_that_is_too_dear_to_win() -> None:
    offers = [*ads(3, 2), *ads(3)]
    records = {ad.wallet: measured(50, 9 if ad.peer_id.endswith("at 1") else 0) for ad in offers}
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
    forgiven = measured(50, num_answers=8).after("failures", now_ns=0, is_default=True)
    records = records_of(offers, peer_0_at_1=owing, peer_1_at_1=forgiven)
    assert without_defaulted(offers, records, wanted(USUAL[0])) == offers[1:]
    assert without_defaulted(offers[:1], records, wanted(USUAL[0])) == offers[:1]
    all_known = records | {ad.wallet: measured(50) for ad in offers[2:]}
    exploring = wanted(EXPLORING[0])
    assert explorer(offers, all_known, exploring) == offers[0].peer_id
    assert without_defaulted(offers, all_known, exploring) == offers
