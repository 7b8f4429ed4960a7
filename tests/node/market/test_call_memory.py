"""What a node remembers of calls: those it heard, what was asked for, filters that lied, and unreached peers."""

from functools import partial
from pathlib import Path

import pytest
from support.market_world.market import open_market
from support.market_world.seller import ad_of
from support.market_world.terms import BASE, TERMS, peer_id_of, priced, wallet_of, word

from openledger_node.market import call_memory
from openledger_node.market.bid_history import KEPT_MAX, KEPT_S, CallBook
from openledger_node.market.board import Listed
from openledger_node.market.call_memory import AskedSeller, AskedSellers, FilterMisses, UnreachedPeers
from openledger_node.market.demand import HOUR_S, KEY_LENGTH_MAX, KEYS_MAX, ROWS_MAX, Demand
from openledger_node.market.overview import SellerStanding, adapter_to_plain, both, peer_to_plain, with_sellers
from openledger_node.p2p.connections import KnownPeer
from openledger_node.p2p.transport import PeerId
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.auction import trust_ppm
from openledger_protocol.bloom import make_filter
from openledger_protocol.errors import ProtocolError, UnavailableError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, ZERO_ADDRESS, AdapterId, Digest, RequestId, Wei
from openledger_protocol.registry import RegistryEntry

FIVE_WEI = Terms(price_in_wei=Wei(2), price_out_wei=Wei(3))


def request(number: int) -> RequestId:
    return RequestId(f"0x{number:064x}")


def test_a_call_is_one_row_whatever_becomes_of_it_for_an_hour_and_a_flood_leaves_the_newest() -> None:
    now = [0.0]
    book = CallBook(lambda: now[0])
    book.note(request(1), BASE_ONLY, "bid", terms=FIVE_WEI)
    book.note(request(1), BASE_ONLY, "lost", reason="another bid was better: 1 wei in, 2 out, first token in 9 ms")
    book.note(request(2), BASE_ONLY, "lost", reason="the requester left without a word", terms=FIVE_WEI)
    found = [(call.fate, call.price_wei, call.winner_price_wei) for call in book.last_hour()]
    assert found == [("lost", 5, 3), ("lost", 5, None)]
    now[0] = KEPT_S + 1
    for number in range(3, KEPT_MAX + 5):
        book.note(request(number), BASE_ONLY, "refused")
    calls = book.last_hour()
    assert (len(calls), calls[0].request_id) == (KEPT_MAX, request(5))


def test_calls_are_counted_by_hour_for_a_day_most_first() -> None:
    now = [10 * HOUR_S + 5.0]
    demand = Demand(lambda: now[0])
    for hour, keys in enumerate(("aab", "b", "bb")):
        now[0] = (10 + hour) * HOUR_S + 5.0
        for key in keys:
            demand.note(key)
    rows = demand.day()
    assert [(row.key, row.count, row.by_hour[-3:]) for row in rows] == [("b", 4, (1, 1, 2)), ("a", 2, (2, 0, 0))]
    now[0] = (10 + 24) * HOUR_S
    assert [(row.key, row.by_hour[:2]) for row in demand.day()] == [("b", (1, 2))]
    now[0] += 2 * HOUR_S
    assert demand.day() == ()


def test_made_up_names_are_bounded_and_printable_and_do_not_push_out_what_is_really_asked_for() -> None:
    demand = Demand(lambda: 0.0)
    for _ in range(2):
        demand.note("harbour")
    for number in range(3 * KEYS_MAX):
        demand.note(f"made up {number}")
    demand.note("\x1b[2J" + "x" * 10_000)
    assert (demand.day()[0].key, demand.day()[0].count) == ("harbour", 2)
    assert (len(demand._counts), len(demand.day())) == (KEYS_MAX, ROWS_MAX)
    assert list(demand._counts)[-1] == " [2J" + "x" * (KEY_LENGTH_MAX - 4)


ADAPTERS = [AdapterId(word(f"adapter {number}")) for number in range(call_memory.MISSES_MAX + 1)]


def test_a_missed_adapter_is_not_believed_again_and_after_three_none_is_for_an_hour() -> None:
    now = [0.0]
    misses = FilterMisses(lambda: now[0])
    misses.note("a", ADAPTERS[0])
    assert [misses.believes("a", adapter) for adapter in ADAPTERS[:2]] == [False, True]
    for adapter in ADAPTERS[1 : call_memory.MISSES_MAX]:
        misses.note("a", adapter)
    assert not misses.believes("a", ADAPTERS[call_memory.MISSES_MAX])
    assert misses.believes("b", ADAPTERS[0])
    now[0] = call_memory.MISSES_S + 1
    assert misses.believes("a", ADAPTERS[0])


def test_the_same_miss_twice_counts_once_and_peers_are_bounded() -> None:
    misses = FilterMisses(lambda: 0.0)
    for _ in range(call_memory.MISSES_MAX):
        misses.note("a", ADAPTERS[0])
    assert misses.believes("a", ADAPTERS[1])
    for number in range(call_memory.MISSED_PEERS_MAX):
        misses.note(f"peer {number}", ADAPTERS[0])
    assert misses.believes("a", ADAPTERS[0]), "it was noted longest ago"


async def test_a_seller_without_what_its_filter_holds_is_called_for_it_once(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"promises": 1}) as market:
        chain, seller = market.chain, market.sellers["promises"]
        root, base = Digest(word("root")), seller.state.base
        entry = RegistryEntry(owner=ZERO_ADDRESS, base=base, artifact=root, index_root=root, datanets=())
        chain.entries = dict.fromkeys(ADAPTERS, entry)
        assert market.buyer.ads.learn(seller.ad(seq=1 << 62, cold=make_filter(ADAPTERS), num_cold=len(ADAPTERS)))
        for number, adapter in enumerate([ADAPTERS[0], ADAPTERS[0], *ADAPTERS[1:]]):
            with pytest.raises(ProtocolError):
                await market.ask("hello", name=f"r{number}", adapter=adapter, model="a")
        heard = [call.adapter for call in seller.bidder.book.last_hour()]
    assert heard == ADAPTERS[: call_memory.MISSES_MAX]


A = peer_id_of("a")


async def test_a_seller_that_is_not_reached_has_not_failed_and_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"gone": 0.5, "here": 1}) as market:
        market.sellers["gone"].vanish()
        for name in ("r1", "r2"):
            assert market.names_of(await market.ask("hello", name=name)) == ["here"]
        record = market.buyer.ledger.sellers.find(wallet_of("gone"))
        assert (record.failures, record.unreached, record.num_answers) == (0, 1, 0)


async def test_if_nobody_is_reached_the_own_connection_is_named_and_no_seller_blamed(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"a": 1, "b": 1, "c": 1}) as market:
        for seller in market.sellers.values():
            seller.vanish()
        with pytest.raises(UnavailableError, match="none of 3 sellers was reached: check this machine's connection"):
            await market.ask("hello")
        records = [market.buyer.ledger.sellers.find(wallet_of(name)) for name in "abc"]
    assert [(record.failures, record.unreached) for record in records] == [(0, 0)] * 3


def test_rests_double_up_to_ten_minutes_and_end_when_the_peer_is_reached() -> None:
    now = [0.0]
    unreached = UnreachedPeers(lambda: now[0])
    for number in range(8):
        unreached.note(A)
        length_s = min(call_memory.REST_S * 2**number, call_memory.REST_S_MAX)
        now[0] += length_s - 1
        assert unreached.is_resting(A)
        now[0] += 1
        assert not unreached.is_resting(A)
    unreached.note(A)
    unreached.forget(A)
    assert not unreached.is_resting(A)
    for number in range(call_memory.RESTS_MAX + 1):
        unreached.note(peer_id_of("a") if number == 0 else f"peer {number}")  # type: ignore[arg-type]  # any text
    assert not unreached.is_resting(A)


A, B = peer_id_of("a"), peer_id_of("b")


def test_a_seller_that_is_known_by_its_advertisement_alone_is_listed() -> None:
    known = KnownPeer(peer_id=A, address="/x", learned_from="bootstrap", is_connected=True)
    found = with_sellers([known], [ad_of("a"), ad_of("b")])
    assert [(peer.peer_id, peer.learned_from, peer.is_connected) for peer in found] == [
        (A, "bootstrap", True),
        (B, "advertisement", False),
    ]
    assert found[1].address == ad_of("b").addresses[0]


def test_an_adapter_is_listed_with_who_has_it_in_memory_and_the_price_where_it_is_loaded_first() -> None:
    adapter = OfferedAdapter(id=AdapterId("0x" + "ab" * 32), name="harbour")
    listed = Listed(adapter=adapter, base=BASE, num_nodes=3)
    warm = ad_of("a", warm=(adapter,))
    cold = [ad_of(name, warm=(), terms=TERMS, terms_max=priced(TERMS, times)) for name, times in (("b", 3), ("c", 2))]
    show = partial(adapter_to_plain, listed, base_name=None, is_our_base=True, is_here=False)
    found = show([warm, *cold])
    assert (found["num_sellers"], found["num_in_memory"]) == (3, 1)
    assert int(found["price_wei"]) == both(TERMS)
    assert int(found["price_cold_wei"]) == both(priced(TERMS, 2))
    assert show([warm])["price_cold_wei"] is None


async def test_the_list_says_who_was_called_who_won_and_why_the_others_did_not(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"cheap": 1, "dear": 2, "gone": 1}) as market:
        market.chain.unbonded.add(wallet_of("gone"))
        await market.ask("hello")
        requester, sellers = market.buyer.requester, market.buyer.ledger.sellers
        listed = {}
        for name in market.sellers:
            ad, peer_id = ad_of(name), peer_id_of(name)
            standing = SellerStanding(
                record=sellers.find(ad.wallet), worth=requester.worth_of(ad), asked=requester.asked.find(peer_id)
            )
            peer = KnownPeer(peer_id=peer_id, address="", learned_from="inbound", is_connected=True)
            listed[name] = peer_to_plain(peer, ad, base=BASE, standing=standing)["seller"]
    cheap, dear, gone = (listed[name] for name in ("cheap", "dear", "gone"))
    assert [(one["num_asked"], one["num_won"]) for one in (cheap, dear, gone)] == [(1, 1), (1, 0), (0, 0)]
    assert (cheap["why_not"], cheap["num_whole"], cheap["trust_ppm"]) == (None, 1, trust_ppm(whole=1))
    assert dear["why_not"].startswith(f"another bid was better: {TERMS.price_in_wei} wei in")
    assert (gone["bonded_wei"], gone["measured_tokens_per_s"]) == ("0", None)
    assert cheap["measured_tokens_per_s"] > 0


def test_only_the_peers_that_were_called_most_recently_are_remembered() -> None:
    asked = AskedSellers()
    for number in range(call_memory.ASKED_MAX + 1):
        asked.note(PeerId(f"peer {number}"), has_won=False, why="too dear")
    assert asked.find(PeerId("peer 0")) == AskedSeller()
    asked.note(PeerId("peer 1"), has_won=True, why=None)
    assert asked.find(PeerId("peer 1")) == AskedSeller(num_asked=2, num_won=1)
