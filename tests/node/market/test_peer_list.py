"""The list of peers says who sells, who is called, who wins, and why not."""

from functools import partial
from pathlib import Path

from support.market_world.market import open_market
from support.market_world.seller import ad_of
from support.market_world.terms import BASE, TERMS, peer_id_of, priced, wallet_of

from openledger_node.market.board import Listed
from openledger_node.market.call_memory import ASKED_MAX, AskedSeller, AskedSellers
from openledger_node.market.overview import SellerStanding, adapter_to_plain, both, peer_to_plain, with_sellers
from openledger_node.p2p.connections import KnownPeer
from openledger_node.p2p.transport import PeerId
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.auction import trust_ppm
from openledger_protocol.primitives import AdapterId

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
    for number in range(ASKED_MAX + 1):
        asked.note(PeerId(f"peer {number}"), has_won=False, why="too dear")
    assert asked.find(PeerId("peer 0")) == AskedSeller()
    asked.note(PeerId("peer 1"), has_won=True, why=None)
    assert asked.find(PeerId("peer 1")) == AskedSeller(num_asked=2, num_won=1)
