"""A filter that promises adapters which its seller does not have."""

from pathlib import Path

import pytest
from support.market_world.market import open_market
from support.market_world.terms import word

from openledger_node.market.call_memory import MISSED_PEERS_MAX, MISSES_MAX, MISSES_S, FilterMisses
from openledger_protocol.bloom import make_filter
from openledger_protocol.errors import ProtocolError
from openledger_protocol.primitives import ZERO_ADDRESS, AdapterId, Digest
from openledger_protocol.registry import RegistryEntry

ADAPTERS = [AdapterId(word(f"adapter {number}")) for number in range(MISSES_MAX + 1)]


def test_a_missed_adapter_is_not_believed_again_and_after_three_none_is_for_an_hour() -> None:
    now = [0.0]
    misses = FilterMisses(lambda: now[0])
    misses.note("a", ADAPTERS[0])
    assert [misses.believes("a", adapter) for adapter in ADAPTERS[:2]] == [False, True]
    for adapter in ADAPTERS[1:MISSES_MAX]:
        misses.note("a", adapter)
    assert not misses.believes("a", ADAPTERS[MISSES_MAX])
    assert misses.believes("b", ADAPTERS[0])
    now[0] = MISSES_S + 1
    assert misses.believes("a", ADAPTERS[0])


def test_the_same_miss_twice_counts_once_and_peers_are_bounded() -> None:
    misses = FilterMisses(lambda: 0.0)
    for _ in range(MISSES_MAX):
        misses.note("a", ADAPTERS[0])
    assert misses.believes("a", ADAPTERS[1])
    for number in range(MISSED_PEERS_MAX):
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
    assert heard == ADAPTERS[:MISSES_MAX]
