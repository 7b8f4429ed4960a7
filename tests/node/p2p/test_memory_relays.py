"""Homes, relays and holes in a network in memory, on which everything above the transport is tested."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from support.peers import echo
from trio.testing import MockClock

from openledger_node.errors import NetworkError
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Path, PeerId
from openledger_node.p2p.transports.memory import PUNCH_S, MemoryNetwork, MemoryTransport

ECHO = "/openledger/test/echo/1"


@asynccontextmanager
async def a_network(*, can_be_punched: bool = False) -> AsyncIterator[tuple[MemoryTransport, ...]]:
    """A relay, and two homes that are linked with it."""
    network = MemoryNetwork()
    relay = MemoryTransport(network, PeerId("relay"), serve_relay=True, listen=("/ip4/8.0.0.1/tcp/4001",))
    homes = [
        MemoryTransport(
            network, PeerId(name), listen=(f"/ip4/8.0.1.{n}/tcp/4001",), is_home=True, can_be_punched=can_be_punched
        )
        for n, name in enumerate(("ada", "ben"), 1)
    ]
    async with trio.open_nursery() as nursery:
        for peer in (relay, *homes):
            await nursery.start(peer.run)
        for home in homes:
            home.handle(ECHO, echo)
            await home.connect(relay.addresses[0])
        yield relay, *homes
        nursery.cancel_scope.cancel()


async def test_a_home_is_reached_over_a_relay_and_by_no_other_way(autojump_clock: MockClock) -> None:
    async with a_network() as (relay, ada, ben):
        for attempt in (
            ada.connect(ben.addresses[0]),
            ada.open_stream(ben.peer_id, ECHO),
            ada.probe(ben.addresses[0]),
        ):
            with pytest.raises(NetworkError):
                await attempt
        place = await ben.reserve(relay.peer_id)
        assert ben.relays == (place.address,)
        assert await ada.connect(place.address) == ben.peer_id
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        await messages.send({"n": 1})
        assert await messages.receive() == {"n": 1}
        await trio.sleep(2 * PUNCH_S)
        assert (ada.path_to(ben.peer_id), ben.path_to(ada.peer_id)) == (Path.RELAYED, Path.RELAYED)
        assert (ben.seen_host(ada.peer_id), relay.seen_host(ada.peer_id)) == ("", "8.0.1.1")


async def test_two_homes_that_can_be_punched_are_soon_connected_directly(autojump_clock: MockClock) -> None:
    async with a_network(can_be_punched=True) as (relay, ada, ben):
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        await trio.sleep(2 * PUNCH_S)
        assert ada.path_to(ben.peer_id) is Path.PUNCHED
        relay.disconnect(ben.peer_id)
        assert ada.path_to(ben.peer_id) is Path.PUNCHED


async def test_a_relay_that_leaves_takes_its_circuits_and_places_along(autojump_clock: MockClock) -> None:
    async with a_network() as (relay, ada, ben):
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        relay.disconnect(ben.peer_id)
        assert (ben.relays, ada.path_to(ben.peer_id), ben.path_to(ada.peer_id)) == ((), None, None)


async def test_a_full_relay_and_a_peer_that_is_none_give_no_place(autojump_clock: MockClock) -> None:
    async with a_network() as (relay, ada, ben):
        relay.reservations_max = 1
        await ada.reserve(relay.peer_id)
        await ada.reserve(relay.peer_id)
        with pytest.raises(NetworkError, match="no place"):
            await ben.reserve(relay.peer_id)
        with pytest.raises(NetworkError, match="serves no relay"):
            await relay.reserve(ada.peer_id)


async def test_a_forwarded_port_is_reached_and_told(autojump_clock: MockClock) -> None:
    async with a_network() as (relay, ada, _):
        forwarded = "/ip4/8.0.1.1/tcp/7001"
        ada._network.open_at[forwarded] = ada.peer_id
        await relay.probe(f"{forwarded}/p2p/{ada.peer_id}")
        with pytest.raises(NetworkError):
            await relay.probe(f"{forwarded}/p2p/ben")
        ada.set_addresses(mapped=(forwarded,), withheld=frozenset({"/ip4/8.0.1.1/tcp/4001"}))
        assert ada.addresses == (f"{forwarded}/p2p/ada",)
