"""Sellers are reached directly if possible, over a relay otherwise, and adapter files never over a relay."""

from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.seller import ad_of
from support.market_world.terms import peer_id_of
from support.peers import say_nothing

from openledger_node.errors import NetworkError
from openledger_node.market.reachable import DIRECT_S, PUNCH_S, directness, open_directly_to, open_to
from openledger_node.p2p.transport import Path, relay_of
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_protocol.advertisement import Advertisement

pytestmark = pytest.mark.usefixtures("autojump_clock")

PROTOCOL = "/openledger/test/1"
SELLER = peer_id_of("seller")
ROUTER = "/ip4/8.8.4.4/tcp/4001"
DEAD = "/ip4/8.8.8.8/tcp/4001"


class World:
    """A buyer, a relay, and a seller behind a router with a place at the relay."""

    def __init__(self, nursery: trio.Nursery, **router: Any) -> None:
        self.network = MemoryNetwork()
        self.nursery = nursery
        self.buyer = MemoryTransport(self.network, peer_id_of("buyer"), is_home=True, **router)
        self.relay = MemoryTransport(self.network, peer_id_of("relay"), serve_relay=True)
        self.seller = MemoryTransport(self.network, SELLER, is_home=True, **router)

    async def start(self) -> None:
        for transport in (self.relay, self.buyer, self.seller):
            await self.nursery.start(transport.run)
        self.seller.handle(PROTOCOL, say_nothing)
        await self.seller.connect(self.relay.addresses[0])
        await self.seller.reserve(self.relay.peer_id)

    def ad(self, *addresses: str) -> Advertisement:
        full = tuple(f"{address}/p2p/{SELLER}" for address in addresses)
        return ad_of("seller", addresses=full, relays=tuple(map(relay_of, self.seller.relays)))


async def a_world(nursery: trio.Nursery, **router: Any) -> World:
    world = World(nursery, **router)
    await world.start()
    return world


@pytest.fixture
async def world(nursery: trio.Nursery) -> World:
    return await a_world(nursery)


async def test_a_seller_behind_a_router_is_reached_over_its_relay(world: World) -> None:
    await open_to(world.buyer, world.ad(), PROTOCOL)
    assert world.buyer.path_to(SELLER) is Path.RELAYED
    assert trio.current_time() < DIRECT_S


async def test_an_address_of_its_own_is_dialled_before_a_relay(world: World) -> None:
    world.network.open_at[ROUTER] = SELLER
    await open_to(world.buyer, world.ad(DEAD, ROUTER), PROTOCOL)
    assert world.buyer.path_to(SELLER) is Path.DIRECT


async def test_a_silent_address_delays_the_relay_by_a_moment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, ad = world.buyer.connect, world.ad(DEAD)

    async def connect_slowly(address: str, **more: Any) -> object:
        if address.startswith(DEAD):
            await trio.sleep(10)
        return await connect(address, **more)

    monkeypatch.setattr(world.buyer, "connect", connect_slowly)
    await open_to(world.buyer, ad, PROTOCOL)
    assert world.buyer.path_to(SELLER) is Path.RELAYED
    assert trio.current_time() < DIRECT_S + 0.1


async def test_a_seller_whose_relay_has_gone_is_not_reached(world: World) -> None:
    ad = world.ad()
    world.seller.disconnect(world.relay.peer_id)
    with pytest.raises(NetworkError, match="can be reached"):
        await open_to(world.buyer, ad, PROTOCOL)
    assert SELLER not in world.buyer.connected()


async def test_after_a_punch_the_next_stream_is_direct(nursery: trio.Nursery) -> None:
    world = await a_world(nursery, can_be_punched=True)
    await open_to(world.buyer, world.ad(), PROTOCOL)
    await open_directly_to(world.buyer, world.ad(), PROTOCOL)
    assert world.buyer.path_to(SELLER) is Path.PUNCHED
    assert trio.current_time() < 2


async def test_where_no_punch_comes_files_are_not_sent_and_the_operator_is_told_what_helps(world: World) -> None:
    with pytest.raises(NetworkError, match=r"files are not sent over relays\. Forward a TCP port"):
        await open_directly_to(world.buyer, world.ad(), PROTOCOL)
    assert PUNCH_S <= trio.current_time() < PUNCH_S + 1


async def test_direct_peers_come_before_those_that_only_relays_lead_to(world: World) -> None:
    assert directness(world.buyer, world.ad(ROUTER)) == 1
    assert directness(world.buyer, world.ad()) == 2
    await open_to(world.buyer, world.ad(), PROTOCOL)
    assert directness(world.buyer, world.ad(ROUTER)) == 2
    world.buyer.disconnect(SELLER)
    world.network.open_at[ROUTER] = SELLER
    await open_to(world.buyer, world.ad(ROUTER), PROTOCOL)
    assert directness(world.buyer, world.ad()) == 0
