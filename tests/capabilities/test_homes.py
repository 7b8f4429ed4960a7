"""Two homes that nobody can dial meet at a relay, which reads nothing of what they say."""

import trio
from support.peers import LOOPBACK, echo, seed

from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Path
from openledger_node.p2p.transports.libp2p import open_transport

ECHO = "/openledger/test/echo/1"


async def test_two_homes_talk_through_a_relay() -> None:
    relay = open_transport(identity=seed("relay"), listen=LOOPBACK, serve_rendezvous=False, serve_relay=True)
    ada, ben = (open_transport(identity=seed(name), listen=(), serve_rendezvous=False) for name in ("ada", "ben"))
    ben.handle(ECHO, echo)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for peer in (relay, ada, ben):
                await nursery.start(peer.run)
            for home in (ada, ben):
                await home.connect(relay.addresses[0])
            place = await ben.reserve(relay.peer_id)
            await ada.connect(place.address)
            assert ada.path_to(ben.peer_id) is Path.RELAYED
            messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
            await messages.send({"words": "good morning"})
            assert await messages.receive() == {"words": "good morning"}
            nursery.cancel_scope.cancel()
