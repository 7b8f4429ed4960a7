"""Counts of what a node carries for others, over libp2p itself."""

import trio
from support.peers import LOOPBACK, echo, opener, seed, tune_in, until

from openledger_node.p2p.budget import ConnectionBudget
from openledger_node.p2p.dialback import DialbackServer, ask_to_dial
from openledger_node.p2p.envelopes import GossipVerdict
from openledger_node.p2p.scopes import Scope
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.tally import Counted, Level, Reason, TrafficTally
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.libp2p import open_transport

ECHO, TOPIC, DIALBACK = "/openledger/test/echo/1", "/openledger/test/news/1", "/openledger/test/dialback/1"


def point(tally: TrafficTally):  # type: ignore[no-untyped-def]
    """A peer that serves others and counts."""
    return open_transport(
        identity=seed("point"), listen=LOOPBACK, serve_rendezvous=True, serve_relay=True, tally=tally
    )


async def test_circuits_their_bytes_registrations_and_dialbacks_are_counted(nursery: trio.Nursery) -> None:
    tally, open_peer = TrafficTally(), opener("libp2p")
    node, ada, home = point(tally), open_peer("ada"), open_peer("home", is_home=True)
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


async def test_messages_are_counted_by_verdict_and_once_each(nursery: trio.Nursery) -> None:
    tally, ada = TrafficTally(), opener("libp2p")("ada")
    node = point(tally)
    verdicts = {b"good": GossipVerdict.PASS, b"stale": GossipVerdict.IGNORE, b"forged": GossipVerdict.REJECT}
    judged: list[bytes] = []

    def judge(_: PeerId, content: bytes) -> GossipVerdict:
        judged.append(content)
        return verdicts.get(content, GossipVerdict.PASS)

    heard = node.subscribe(TOPIC, judge)
    ada.subscribe(TOPIC, lambda *_: True)
    for peer in (node, ada):
        await nursery.start(peer.run)
    await ada.connect(node.addresses[0])
    await tune_in(ada, TOPIC, heard)
    for content in (b"good", b"good", b"stale", b"forged"):
        await ada.publish(TOPIC, content)
    await until(lambda: "rejected" in tally.counts(Counted.GOSSIP))
    assert judged.count(b"good") == 1
    assert tally.counts(Counted.GOSSIP) == {"passed": len(judged) - 2, "ignored": 1, "rejected": 1}


async def test_refused_connections_are_counted(nursery: trio.Nursery) -> None:
    tally = TrafficTally()
    node = point(tally)
    await nursery.start(node.run)
    node._barred.bar(PeerId("x"), "127.0.0.1")
    node._barred._bar("127.0.0.1")
    parts = node.addresses[0].split("/")
    async with await trio.open_tcp_stream(parts[2], int(parts[4])) as stream:
        with trio.fail_after(5):
            assert await stream.receive_some(1) == b""
    assert tally.counts(Counted.REFUSAL) == {Reason.BARRED: 1}


def test_connections_are_counted_by_kind() -> None:
    budget = ConnectionBudget(connected=lambda: [PeerId(name) for name in "abcd"])
    budget.let_in(PeerId("a"), "9.9.9.9")
    budget.let_in(PeerId("b"), "", is_relayed=True)
    budget.note_dialled(PeerId("c"), is_kept=True, is_relayed=True)
    budget.note_dialled(PeerId("d"), is_kept=False)
    budget.note_dialled(PeerId("gone"), is_kept=False)
    assert budget.count_by_kind() == {"inbound": 1, "relayed": 1, "kept": 1, "called": 1}
