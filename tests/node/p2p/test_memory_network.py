"""The network inside this process under conditions: meshes, latency, loss, partitions, uplinks and floods."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
from support.simulator.seeded import run_seeded
from trio.testing import MockClock

from openledger_node.errors import NetworkError
from openledger_node.p2p.envelopes import GossipVerdict
from openledger_node.p2p.transport import GOSSIP_MEMORY_S, PeerId
from openledger_node.p2p.transports.memory import Conditions, MemoryNetwork, MemoryTransport, Traffic
from openledger_node.p2p.transports.memory.gossip import DEGREE_HIGH, DEGREE_LOW
from openledger_node.p2p.transports.memory.network import DIAL_TIMEOUT_S

TOPIC = "/openledger/test/news/1"
ECHO = "/openledger/test/echo/1"
Received = dict[PeerId, list[bytes]]


def conditions(**changes: Any) -> Conditions:
    return Conditions(**{"random": Random(7), "latency_s": lambda _, __: 0.05, **changes})


@asynccontextmanager
async def peers_under(
    given: Conditions | None, count: int, *, links: int, **options: Any
) -> AsyncIterator[tuple[MemoryNetwork, list[MemoryTransport], Received]]:
    """Peers that all hear the topic, each linked with the next ones around a ring; and what each has received."""
    network = MemoryNetwork(conditions=given)
    peers = [MemoryTransport(network, PeerId(f"peer{number}"), **options) for number in range(count)]
    received: Received = {peer.peer_id: [] for peer in peers}
    async with trio.open_nursery() as nursery:
        if given:
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


# ---- meshes


async def test_each_message_reaches_all_by_meshes_of_six(autojump_clock: MockClock) -> None:
    async with peers_under(conditions(), 40, links=8) as (network, peers, received):
        sizes = [len(peer.gossip._meshes[TOPIC]) for peer in peers]
        assert min(sizes) >= DEGREE_LOW
        assert max(sizes) <= DEGREE_HIGH + 1
        await peers[0].publish(TOPIC, b"news")
        await trio.sleep(2)
        assert all(received[peer.peer_id] == [b"news"] for peer in peers[1:])
        copies = [network.traffic[peer.peer_id].num_copies for peer in peers]
        assert sum(copies) < 40 * 8  # along all links it would be 16 copies each


async def test_what_is_lost_is_asked_for_after_the_next_heartbeat(autojump_clock: MockClock) -> None:
    async with peers_under(conditions(loss=0.6), 40, links=8) as (network, peers, received):
        await peers[0].publish(TOPIC, b"news")
        await trio.sleep(5)
        num_informed = sum(received[peer.peer_id] == [b"news"] for peer in peers[1:])
        assert num_informed == 39
        assert sum(each.num_controls for each in network.traffic.values()) > 0


def test_the_same_seed_gives_the_same_traffic() -> None:
    async def traffic(seed: int) -> list[Traffic]:
        async with peers_under(conditions(loss=0.2, random=Random(seed)), 20, links=6) as (network, peers, _):
            await peers[3].publish(TOPIC, b"news")
            await trio.sleep(5)
            return [network.traffic[peer.peer_id] for peer in peers]

    first, again, other = (run_seeded(seed, traffic, seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("given", [None, conditions()], ids=["at once", "under conditions"])
async def test_a_peer_that_unsubscribes_hears_no_more_and_its_reader_ends(
    given: Conditions | None, autojump_clock: MockClock
) -> None:
    async with peers_under(given, 3, links=1) as (_, peers, received):
        other = "/openledger/test/other/1"
        reader = peers[1].subscribe(other, lambda _, __: True)
        assert peers[0].topics_of_peers()[peers[1].peer_id] == {TOPIC, other}
        peers[1].unsubscribe(other)
        assert [each async for each in reader] == []
        assert peers[0].topics_of_peers()[peers[1].peer_id] == {TOPIC}
        await peers[0].publish(other, b"news")
        await peers[0].publish(TOPIC, b"more")
        await trio.sleep(2)
        assert received[peers[1].peer_id] == [b"more"]
        peers[1].subscribe(other, lambda _, __: True)  # once more


async def test_a_message_is_remembered_for_two_minutes_and_no_longer(autojump_clock: MockClock) -> None:
    async with peers_under(None, 2, links=1) as (_, peers, received):
        for _each in range(2):
            await peers[0].publish(TOPIC, b"news")
        await trio.sleep(GOSSIP_MEMORY_S + 1)
        await peers[0].publish(TOPIC, b"news")
        await trio.sleep(0.1)
        assert received[peers[1].peer_id] == [b"news", b"news"]
        assert len(peers[1].gossip._seen) == 1


async def test_a_neighbour_that_floods_is_cut_off_and_not_let_in_again(autojump_clock: MockClock) -> None:
    async with peers_under(conditions(), 4, links=2) as (_, peers, received):
        for number in range(3_000):
            await peers[0].publish(TOPIC, b"%d" % number)
        await trio.sleep(1)
        assert peers[0].connected() == ()
        with pytest.raises(NetworkError, match="hung up"):
            await peers[0].connect(peers[1].addresses[0])
        assert len(received[peers[2].peer_id]) < 2_000


async def test_a_neighbour_whose_messages_are_wrong_is_not_heard_for_a_while(autojump_clock: MockClock) -> None:
    async with peers_under(conditions(), 2, links=1) as (_, peers, _received):
        peers[1].unsubscribe(TOPIC)
        judged: list[bytes] = []

        def judge(_: PeerId, content: bytes) -> GossipVerdict:
            judged.append(content)
            return GossipVerdict.REJECT

        peers[1].subscribe(TOPIC, judge)
        await trio.sleep(2)
        for number in range(12):
            await peers[0].publish(TOPIC, b"%d" % number)
        await trio.sleep(0.5)
        assert len(judged) == 4


# ---- the way


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


async def test_bytes_are_not_lost_if_a_reader_is_cancelled_while_they_are_on_their_way(
    autojump_clock: MockClock,
) -> None:
    async def send(_: PeerId, stream: trio.abc.Stream) -> None:
        await stream.send_all(b"hello")
        await trio.sleep_forever()

    async with peers_under(conditions(latency_s=lambda _, __: 1.0), 2, links=0) as (_, peers, _received):
        peers[1].handle(ECHO, send)
        stream = await peers[0].open_stream(peers[1].peer_id, ECHO)
        with trio.move_on_after(0.5):
            await stream.receive_some()
        assert await stream.receive_some() == b"hello"


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


# ---- places


async def test_a_peer_with_a_budget_lets_in_no_more_than_it_has_places(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with trio.open_nursery() as nursery:
        door = MemoryTransport(network, PeerId("door"), inbound_max=10)
        await nursery.start(door.run)
        num_in = 0
        for number in range(20):
            peer = MemoryTransport(network, PeerId(f"peer{number}"), host=f"8.0.{number}.1")
            await nursery.start(peer.run)
            try:
                await peer.connect(door.addresses[0])
                num_in += 1
            except NetworkError:
                pass
        assert num_in == len(door.connected()) == 6  # four are reserved for peers that it knows
        nursery.cancel_scope.cancel()


async def test_a_peer_that_was_dialled_for_a_call_is_hung_up_on_when_it_is_idle(autojump_clock: MockClock) -> None:
    async with peers_under(conditions(), 3, links=0, inbound_max=10) as (_, peers, _received):
        await peers[0].connect(peers[1].addresses[0], is_kept=True)
        await peers[0].connect(peers[2].addresses[0])
        await trio.sleep(150)
        assert peers[0].connected() == (peers[1].peer_id,)
