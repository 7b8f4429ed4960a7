"""The conditions on which the simulated network stands: latency, loss, uplinks and partitions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from openledger_node.errors import NetworkError
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import Conditions, MemoryNetwork, MemoryTransport
from openledger_node.p2p.transports.memory.network import DIAL_TIMEOUT_S

TOPIC = "/openledger/test/news/1"
ECHO = "/openledger/test/echo/1"
Received = dict[PeerId, list[bytes]]


def conditions(**changes: Any) -> Conditions:
    return Conditions(**{"random": Random(7), "latency_s": lambda _, __: 0.05, **changes})


@asynccontextmanager
async def peers_under(
    given: Conditions, count: int, *, links: int
) -> AsyncIterator[tuple[MemoryNetwork, list[MemoryTransport], Received]]:
    """Peers that all hear the topic, each linked with the next ones around a ring; and what each has received."""
    network = MemoryNetwork(conditions=given)
    peers = [MemoryTransport(network, PeerId(f"peer{number}")) for number in range(count)]
    received: Received = {peer.peer_id: [] for peer in peers}
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        for peer in peers:
            await nursery.start(peer.run)
            nursery.start_soon(note_all, peer, received)
        for place, peer in enumerate(peers):
            for other in range(1, links + 1):
                await peer.connect(peers[(place + other) % count].addresses[0])
        await trio.sleep(3)
        yield network, peers, received
        nursery.cancel_scope.cancel()


async def note_all(peer: MemoryTransport, received: Received) -> None:
    async for gossip in peer.subscribe(TOPIC, lambda _, __: True):
        received[peer.peer_id].append(gossip.content)


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def test_what_is_lost_is_asked_for_after_the_next_heartbeat(autojump_clock: MockClock) -> None:
    async with peers_under(conditions(loss=0.6), 40, links=8) as (network, peers, received):
        await peers[0].publish(TOPIC, b"news")
        await trio.sleep(5)
        num_informed = sum(received[peer.peer_id] == [b"news"] for peer in peers[1:])
        assert num_informed == 39
        assert sum(each.num_controls for each in network.traffic.values()) > 0


async def test_a_stream_takes_its_round_trips_and_the_uplink_its_time(autojump_clock: MockClock) -> None:
    async def echo(_: PeerId, stream: trio.abc.Stream) -> None:
        await stream.send_all(await stream.receive_some())

    given = conditions(uplink_bytes_per_s=1_000.0)
    async with peers_under(given, 2, links=0) as (network, peers, _):
        peers[1].handle(ECHO, echo)
        began_s = trio.current_time()
        await peers[0].connect(peers[1].addresses[0])
        assert trio.current_time() - began_s == pytest.approx(0.3)  # three round trips
        stream = await peers[0].open_stream(peers[1].peer_id, ECHO)
        assert trio.current_time() - began_s == pytest.approx(0.4)
        await stream.send_all(bytes(940))  # a second on the uplink, with its headers
        assert await stream.receive_some() == bytes(940)
        assert trio.current_time() - began_s == pytest.approx(2.5)
        assert network.traffic[peers[0].peer_id].sent_bytes == 1_000


async def test_nothing_goes_between_the_parts_of_a_network_until_it_heals(autojump_clock: MockClock) -> None:
    async with peers_under(conditions(), 12, links=4) as (network, peers, received):
        network.part([peer.peer_id for peer in peers[:6]])
        await peers[0].publish(TOPIC, b"news")
        await trio.sleep(5)
        assert [len(received[peer.peer_id]) for peer in peers] == [0, *[1] * 5, *[0] * 6]
        began_s = trio.current_time()
        with pytest.raises(NetworkError, match="does not answer"):
            await peers[0].connect(peers[7].addresses[0])
        assert trio.current_time() - began_s == DIAL_TIMEOUT_S
        network.heal()
        await peers[0].connect(peers[7].addresses[0])
        assert peers[7].peer_id in peers[0].connected()
