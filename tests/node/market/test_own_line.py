"""While this node hears nobody at all, its own line is at fault, and no seller is blamed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from support.market_world.market import Market, open_market
from support.market_world.terms import NETWORK, peer_id_of, wallet_of

from openledger_node.ledger.sellers import SellerRecord
from openledger_node.market.own_line import ANSWER_S, PEERS_MIN, OwnLine
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_protocol.errors import UnavailableError

NAMES = {"a": 0.5, "b": 1.0, "c": 1.0, "d": 1.0}


def record_of(market: Market, name: str) -> SellerRecord:
    return market.buyer.ledger.sellers.find(wallet_of(name))


def drop_line(market: Market) -> None:
    """Lose all connections of the buyer at once, as when its Wi-Fi goes."""
    for peer_id in market.buyer.transport.connected():
        market.buyer.transport.cut(peer_id)


def cut_off(market: Market, name: str) -> None:
    market.buyer.transport.cut(peer_id_of(name))


async def ask_while(market: Market, fail: Callable[[Market], None]) -> None:
    """Ask for a long answer, and let something happen at its first text."""
    seen: list[str] = []

    def show(text: str) -> None:
        if not seen:
            fail(market)
        seen.append(text)

    await market.ask("on...", max_tokens=60, show=show)


async def test_a_seller_whose_stream_ends_with_all_connections_is_not_blamed(tmp_path: Path) -> None:
    async with open_market(tmp_path, NAMES) as market:
        await ask_while(market, drop_line)
        record = record_of(market, "a")
    assert (record.aborted, record.failures, record.defaults) == (0, 0, 0)


async def test_a_seller_that_leaves_alone_is_blamed(tmp_path: Path) -> None:
    async with open_market(tmp_path, NAMES) as market:
        await ask_while(market, lambda market: cut_off(market, "a"))
        record = record_of(market, "a")
    assert (record.aborted, record.failures) == (1, 0)


async def test_a_seller_that_is_silent_on_a_dead_line_is_not_blamed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """The connections still seem to be there: nothing closes them when a router loses its line."""
    async with open_market(tmp_path, NAMES) as market:

        async def say_nothing(*_: object) -> None:
            await trio.sleep_forever()

        for seller in market.sellers.values():
            seller.bidder._find = say_nothing  # type: ignore[assignment]  # nothing comes back
        for name in NAMES:
            await market.buyer.transport.connect(market.sellers[name].transport.addresses[0])
        line = market.buyer.requester._line
        line.beside = lambda _: frozenset(map(peer_id_of, "cd"))  # type: ignore[method-assign]  # two others

        async def open_nothing(*_: object) -> trio.abc.Stream:
            await trio.sleep_forever()
            raise AssertionError

        line._transport.open_stream = open_nothing  # type: ignore[method-assign]
        with pytest.raises(UnavailableError, match="check this machine's connection"):
            await market.ask("hello")
        records = [record_of(market, name) for name in NAMES]
    assert [record.num_answers for record in records] == [0] * len(NAMES)


class Line(MemoryTransport):
    """A node whose line may be dead: its connections stand, and nothing comes."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__(network, PeerId("me"))
        self.is_dead = False
        self.num_opened = 0

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        self.num_opened += 1
        if self.is_dead:
            await trio.sleep_forever()
        return await super().open_stream(peer_id, protocol)


@pytest.mark.parametrize(
    ("num_others", "is_dead", "num_left", "is_gone"),
    [
        (PEERS_MIN - 1, True, 1, False),  # one silent peer says nothing about the line
        (PEERS_MIN, False, PEERS_MIN, False),  # they refuse the protocol, so they are there
        (PEERS_MIN, True, PEERS_MIN, True),
        (PEERS_MIN, False, 0, True),  # all connections are lost
        (9, True, 1, True),
        (9, False, 1, False),
    ],
)
async def test_the_line_is_gone_if_none_of_several_other_peers_is_heard(
    num_others: int, is_dead: bool, num_left: int, is_gone: bool, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork()
    me, others = Line(network), [MemoryTransport(network, PeerId(f"peer {number}")) for number in range(num_others)]
    line = OwnLine(me, network=NETWORK, salt=b"salt")
    async with trio.open_nursery() as nursery:
        for transport in (me, *others):
            await nursery.start(transport.run)
        for other in others:
            await me.connect(other.addresses[0])
        beside = line.beside((PeerId("a seller"),))
        for other in others[num_left:]:
            me.cut(other.peer_id)
        me.is_dead = is_dead
        began_s = trio.current_time()
        assert await line.is_gone(beside) is is_gone
        assert trio.current_time() - began_s <= ANSWER_S
        assert me.num_opened <= 4
        nursery.cancel_scope.cancel()


async def test_the_asked_sellers_do_not_vouch_for_each_other() -> None:
    network = MemoryNetwork()
    me, seller = Line(network), MemoryTransport(network, PeerId("seller"))
    async with trio.open_nursery() as nursery:
        await nursery.start(me.run)
        await nursery.start(seller.run)
        await me.connect(seller.addresses[0])
        assert OwnLine(me, network=NETWORK, salt=b"").beside((PeerId("seller"),)) == frozenset()
        nursery.cancel_scope.cancel()
