"""What strangers try with the provider records and the places of a bootstrap node, over real libp2p."""

from time import time

import pytest
import trio
from node.p2p.provided import NET, adapter, signed
from support.peers import LOOPBACK, opener, seed, until

from openledger_node.p2p import budget
from openledger_node.p2p.provider_records import serve_providers
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Path, PeerId, Transport
from openledger_node.p2p.transports.libp2p import inbound, open_transport
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import ErrorMessage
from openledger_protocol.wire.providers import ProvidersMessage, PutRecords, StoredRecords, decode, encode

PROTOCOL = wire_name(NET, "providers")


async def put(peer: Transport, point: Transport, record: bytes) -> ProvidersMessage:
    async with await peer.open_stream(point.peer_id, PROTOCOL) as stream:
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        await messages.send(encode(PutRecords(records=(record,))))
        return decode(await messages.receive())


async def test_nobody_puts_over_a_relay(nursery: trio.Nursery) -> None:
    open_peer, issued_s = opener("libp2p"), int(time())
    relay = open_peer("relay", serve_relay=True)
    home, behind = (open_peer(name, is_home=True) for name in ("home", "behind"))
    serve_providers(home, NET)
    serve_providers(relay, NET)
    for peer in (relay, home, behind):
        await nursery.start(peer.run)
    await home.connect(relay.addresses[0])
    await behind.connect((await home.reserve(relay.peer_id)).address)
    record = signed("behind", adapter("lora"), issued_s=issued_s, expires_s=issued_s + 3_600)
    answer = await put(behind, home, record)
    assert behind.path_to(home.peer_id) is Path.RELAYED, "neither of them listens"
    assert isinstance(answer, ErrorMessage)
    assert "direct connection" in answer.message
    assert await put(behind, relay, record) == StoredRecords(count=1)


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
