"""What strangers try with the provider records and the places of a bootstrap node, over real libp2p."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time

import pytest
import trio
from support.peers import LOOPBACK, echo, opener, seed, until
from support.provided import NET, adapter, signed

from openledger_node.p2p import budget
from openledger_node.p2p.provider_records import RecordStore, serve_providers
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Path, PeerId, Transport
from openledger_node.p2p.transports.libp2p import inbound, open_transport
from openledger_node.p2p.transports.libp2p.transport import Libp2pTransport
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import ErrorMessage
from openledger_protocol.wire.providers import ProvidersMessage, PutRecords, StoredRecords, decode, encode

ECHO = "/openledger/test/echo/1"
PROTOCOL = wire_name(NET, "providers")
LORA = adapter("lora")


@asynccontextmanager
async def a_point(
    *names: str, places: int = 64
) -> AsyncIterator[tuple[Libp2pTransport, RecordStore, list[Transport]]]:
    """A bootstrap node, its store, and peers that are connected with it."""
    point = open_transport(
        identity=seed("point"), listen=LOOPBACK, serve_rendezvous=True, inbound_max=places, is_bootstrap=True
    )
    peers = [opener("libp2p")(name) for name in names]
    async with trio.open_nursery() as nursery:
        store = serve_providers(point, NET)
        point.handle(ECHO, echo)
        await nursery.start(point.run)
        for peer in peers:
            await nursery.start(peer.run)
            await peer.connect(point.addresses[0])
        yield point, store, peers
        nursery.cancel_scope.cancel()


async def put(peer: Transport, point: Transport, *records: bytes) -> ProvidersMessage:
    async with await peer.open_stream(point.peer_id, PROTOCOL) as stream:
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        await messages.send(encode(PutRecords(records=records)))
        return decode(await messages.receive())


def now(name: str, number: object = "lora", **changes: object) -> bytes:
    issued_s = int(time())
    return signed(name, adapter(number), **{"issued_s": issued_s, "expires_s": issued_s + 3_600, **changes})


async def test_nobody_puts_over_a_relay() -> None:
    async with a_point("relay", "sybil") as (point, _, (_, sybil)), trio.open_nursery() as nursery:
        relay = open_transport(identity=seed("a relay"), listen=LOOPBACK, serve_rendezvous=False, serve_relay=True)
        home = open_transport(identity=seed("home"), listen=(), serve_rendezvous=False)
        serve_providers(home, NET)
        for peer in (relay, home):
            await nursery.start(peer.run)
        await home.connect(relay.addresses[0])
        place = await home.reserve(relay.peer_id)
        behind = open_transport(identity=seed("behind"), listen=(), serve_rendezvous=False)
        await nursery.start(behind.run)
        await behind.connect(place.address)
        answer = await put(behind, home, now("behind"))
        assert behind.path_to(home.peer_id) is Path.RELAYED, "neither of them listens"
        assert isinstance(answer, ErrorMessage)
        assert "direct connection" in answer.message
        assert await put(sybil, point, now("sybil")) == StoredRecords(count=1)
        nursery.cancel_scope.cancel()


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The IP address that the next peer comes from: `{"next": HOST}`."""
    host = {"next": "9.9.9.9"}
    monkeypatch.setattr(inbound, "remote_host", lambda _: host["next"])
    return host


async def test_a_full_point_makes_room_for_a_newcomer_and_keeps_the_sellers(
    nursery: trio.Nursery, addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All places are taken by peers of as many networks; the buyer that has been idle longest makes room."""
    monkeypatch.setattr(budget, "EVICT_AFTER_S", 0.2)
    topic = "/openledger/test-net/news/1"
    point = open_transport(
        identity=seed("point"), listen=LOOPBACK, serve_rendezvous=False, inbound_max=10, is_bootstrap=True
    )
    point.subscribe(topic, lambda *_: True)
    await nursery.start(point.run)
    peers = [opener("libp2p")(f"peer {number}") for number in range(6)]  # of 10 places, 4 are for known peers
    for number, peer in enumerate(peers):
        await nursery.start(peer.run)
        addresses["next"] = f"8.8.{number}.8"
        await peer.connect(point.addresses[0])
    await until(lambda: len(point.connected()) == 6)
    peers[0].subscribe(topic, lambda *_: True)
    with trio.fail_after(10):
        while not point._publishers.has(peers[0].peer_id):
            await peers[0].publish(topic, f"I sell {trio.current_time()}".encode())
            await trio.sleep(0.1)
    await trio.sleep(0.3)
    newcomer = opener("libp2p")("newcomer")
    await nursery.start(newcomer.run)
    addresses["next"] = "7.7.7.7"
    await newcomer.connect(point.addresses[0])
    await until(lambda: newcomer.peer_id in point.connected() and len(point.connected()) == 6)
    assert PeerId(peers[0].peer_id) in point.connected()
