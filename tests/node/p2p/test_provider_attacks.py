"""What strangers try with the provider records and the places of a bootstrap node, over real libp2p."""

from time import time

import trio
from node.p2p.provided import NET, adapter, signed
from support.peers import opener

from openledger_node.p2p.provider_records import serve_providers
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Path, Transport
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
