"""Counts of what a node carries for others, over libp2p itself."""

import trio
from support.peers import LOOPBACK, echo, opener, seed

from openledger_node.p2p.dialback import DialbackServer, ask_to_dial
from openledger_node.p2p.scopes import Scope
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.tally import Counted, Level, Reason, TrafficTally
from openledger_node.p2p.transports.libp2p import open_transport

ECHO, DIALBACK = "/openledger/test/echo/1", "/openledger/test/dialback/1"


async def test_circuits_their_bytes_registrations_and_dialbacks_are_counted(nursery: trio.Nursery) -> None:
    tally, open_peer = TrafficTally(), opener("libp2p")
    node = open_transport(
        identity=seed("point"), listen=LOOPBACK, serve_rendezvous=True, serve_relay=True, tally=tally
    )
    ada, home = open_peer("ada"), open_peer("home", is_home=True)
    node.handle(DIALBACK, DialbackServer(node, scope=Scope.MACHINE, tally=tally).serve)
    home.handle(ECHO, echo)
    await nursery.start(node.run)
    for peer in (ada, home):
        await nursery.start(peer.run)
        await peer.connect(node.addresses[0])
    assert tally.level(Level.CONNECTIONS) == {"inbound": 2, "relayed": 0, "kept": 0, "called": 0}
    await ada.find_peers(node.peer_id, "test-net")
    assert tally.level(Level.REGISTRATIONS) == {"": 1}
    port = int(ada.addresses[0].split("/")[4])
    assert (await ask_to_dial(ada, DIALBACK, node.peer_id, (port,))).open == (port,)
    assert tally.counts(Counted.DIALBACK) == {"reached": 1}

    place = await home.reserve(node.peer_id)
    buyer = open_peer("buyer", is_home=True)
    await nursery.start(buyer.run)
    await buyer.connect(place.address)
    assert (tally.level(Level.RESERVATIONS), tally.level(Level.CIRCUITS)) == ({"": 1}, {"": 1})
    messages = MessageStream(await buyer.open_stream(home.peer_id, ECHO))
    await messages.send({"text": "x" * 5_000})
    await messages.receive()
    assert tally.total(Counted.CIRCUIT) == 2, "a test of the place by its holder, and the connection"
    assert 10_000 < tally.total(Counted.RELAYED_BYTES) < 20_000


async def test_a_barred_address_is_refused_before_its_handshake(nursery: trio.Nursery) -> None:
    tally = TrafficTally()
    node = open_transport(identity=seed("point"), listen=LOOPBACK, serve_rendezvous=False, tally=tally)
    await nursery.start(node.run)
    node._barred._bar("127.0.0.1")
    port = int(node.addresses[0].split("/")[4])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        assert await stream.receive_some(1) == b""
    assert tally.counts(Counted.REFUSAL) == {Reason.BARRED: 1}
