"""A peer in a process of its own, and what strangers do to it: it lives, and serves whoever comes after at once."""

import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
import trio
from node.p2p.raw_gossip import GOSSIPSUB, PEER_ID_PREFIX, field, message, prefixed, rpc, varint
from support.peers import opener
from support.processes.living_peer import DEAF, ECHO, RAISING, TOPIC, LivingPeer

from openledger_node.errors import NetworkError
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId, Transport

pytestmark = pytest.mark.process
RENDEZVOUS, IDENTIFY_PUSH, PING = "/rendezvous/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"
HONEST_S = 1.0
SLOW_MACHINE = 3.0  # other programs run beside the tests, and for each of them as much again
RSS_GROWTH_MAX = 64 << 20
ORIGIN = PEER_ID_PREFIX + bytes(32)
names = count()


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingPeer]:
    with LivingPeer(tmp_path_factory.mktemp("victim"), "test-net") as peer:
        trio.run(honest_visit, peer)  # the first one of all takes longer
        yield peer


@pytest.fixture(autouse=True)
def lives_on(victim: LivingPeer) -> Iterator[None]:
    before = rss_bytes(victim)
    yield
    assert victim.process.poll() is None, "it has died"
    assert trio.run(honest_visit, victim) < HONEST_S * SLOW_MACHINE * max(1.0, os.getloadavg()[0])
    assert rss_bytes(victim) - before < RSS_GROWTH_MAX


def rss_bytes(victim: LivingPeer) -> int:
    status = Path(f"/proc/{victim.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@asynccontextmanager
async def stranger() -> AsyncIterator[Transport]:
    peer = opener("libp2p")(f"stranger {next(names)}")
    async with trio.open_nursery() as nursery:
        await nursery.start(peer.run)
        yield peer
        nursery.cancel_scope.cancel()


async def honest_visit(victim: LivingPeer) -> float:
    """How long it takes to dial, to open a stream and to be answered."""
    async with stranger() as peer:
        began_s = time.monotonic()
        await peer.connect(victim.address)
        messages = MessageStream(await peer.open_stream(PeerId(victim.peer_id), ECHO))
        await messages.send({"n": 1})
        assert await messages.receive() == {"n": 1}
        return time.monotonic() - began_s


async def send_to(victim: LivingPeer, protocol: str, *contents: bytes) -> None:
    """One stranger; each content on a stream of its own."""
    async with stranger() as peer:
        await peer.connect(victim.address)
        for content in contents:
            with suppress(NetworkError, trio.BrokenResourceError):  # as it may, too
                stream = await peer.open_stream(PeerId(victim.peer_id), protocol)
                await stream.send_all(content)
                with trio.move_on_after(0.2):
                    while await stream.receive_some():
                        pass


async def test_garbage_on_streams_of_every_protocol(victim: LivingPeer) -> None:
    await send_to(victim, RAISING, *[b"x"] * 20)
    no_msgpack = (3).to_bytes(4, "big") + b"\xc1\xc1\xc1"
    await send_to(victim, ECHO, b"\xff" * 4, (1 << 20).to_bytes(4, "big"), no_msgpack, b"", bytes(100_000))
    lengths = (varint(1 << 40), varint(1 << 20) + bytes(1000), prefixed(b"\xff" * 50), b"\xff" * 100, prefixed(b""))
    for protocol in (GOSSIPSUB, RENDEZVOUS, IDENTIFY_PUSH, PING):
        await send_to(victim, protocol, *lengths)
    await send_to(
        victim,
        GOSSIPSUB,
        rpc(message(b"nobody", b"x", TOPIC, key=b"no key", signature=b"none")),
        rpc(message(ORIGIN, b"x", TOPIC, TOPIC, "/other", signature=bytes(64))),
        rpc(message(ORIGIN, bytes(60_000), signature=bytes(64))),
        prefixed(field(3, field(1, field(1, TOPIC.encode()) + field(2, b"no hex")))),
        prefixed(field(3, field(3, field(1, b"/topic/nobody/has")))),
        prefixed(b"".join(field(1, b"\x08\x01" + field(2, b"/topic/%d" % number)) for number in range(2_000))),
    )


MUXER_FRAMES = (
    b"\xff" * 12,
    bytes([0, 0, 0, 1, 0, 0, 0, 3, 0x7F, 0xFF, 0xFF, 0xFF]),  # 2 GiB of data
    bytes([0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 4]) + b"data",  # for a stream that is not there
    bytes([0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]) * 300,  # the same stream opened again and again
    bytes([0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),  # go away
    bytes([0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]) * 2000,  # pings
)


async def test_connections_that_break_the_rules_of_the_muxer(victim: LivingPeer) -> None:
    for frame in MUXER_FRAMES:
        async with stranger() as peer:
            await peer.connect(victim.address)
            [connection] = peer._swarm.get_connections()  # type: ignore[attr-defined]
            with trio.move_on_after(2):
                await connection.muxed_conn.secured_conn.write(frame)
                await trio.sleep(0.2)


async def test_two_hundred_connections_that_stay_half_open(victim: LivingPeer) -> None:
    _, _, host, _, port, *_ = victim.address.split("/")
    with ExitStack() as stack:
        for number in range(200):
            raw = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            if number % 2:
                raw.sendall(b"\x13/multistream/1.0.0\n\x07/noise\n")
        assert await honest_visit(victim) < HONEST_S * SLOW_MACHINE


async def test_three_hundred_streams_of_one_peer_leave_room_for_another(victim: LivingPeer) -> None:
    async with stranger() as peer:
        await peer.connect(victim.address)
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(_try_to_open, peer, victim)
        assert await honest_visit(victim) < HONEST_S * SLOW_MACHINE


async def _try_to_open(peer: Transport, victim: LivingPeer) -> None:
    with suppress(NetworkError):
        await peer.open_stream(PeerId(victim.peer_id), DEAF)
