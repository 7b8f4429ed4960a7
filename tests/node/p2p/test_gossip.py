"""Gossip among strangers: what counts against whom, and what no stranger can hold up."""

import time
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.envelope import seal_record
from libp2p.peer.id import ID
from libp2p.peer.peer_record import PeerRecord
from libp2p.pubsub.pb.rpc_pb2 import RPC
from multiaddr import Multiaddr
from node.p2p.raw_gossip import GOSSIPSUB, PEER_ID_PREFIX, message, prefixed, rpc, score_of, signed
from support.market_world.seller import ad_of, signed_ad
from support.market_world.terms import seed_of
from support.peers import DEADLINE_S, drain, echo, opener, receive, seed, start, tune_in, until
from trio.testing import wait_all_tasks_blocked

from openledger_node.errors import NetworkError
from openledger_node.p2p import bootstrap
from openledger_node.p2p.envelopes import GossipVerdict, judge_envelope
from openledger_node.p2p.flood import CHECKED_PER_S, FloodLimits
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Gossip, PeerId, Transport
from openledger_node.p2p.transports.libp2p import gossip as gossip_module
from openledger_protocol.advertisement import Advertisement, sign_advertisement
from openledger_protocol.peers import peer_id_from_public_key, public_key_of
from openledger_protocol.primitives import Digest

NET = "test-net"
ADS, OTHER, ECHO = f"/openledger/{NET}/ads/0011aabb/2", f"/openledger/{NET}/news/1", "/openledger/test/echo/1"
ADA, BEN = PeerId("ada"), PeerId("ben")


def pass_all(_: PeerId, content: bytes) -> bool:
    return True


def test_only_a_wrong_envelope_counts_against_the_forwarder() -> None:
    ad = signed_ad("ada")
    origin = peer_id_from_public_key(public_key_of(seed_of("ada")))
    broken = ad[:-1] + bytes([ad[-1] ^ 1])
    assert judge_envelope(ADS, origin, ad) is GossipVerdict.PASS
    assert judge_envelope(ADS, "someone else", ad) is GossipVerdict.REJECT
    assert judge_envelope(ADS, origin, broken) is GossipVerdict.REJECT
    assert judge_envelope(ADS, origin, b"junk") is GossipVerdict.REJECT
    assert judge_envelope(ADS, origin, ad + bytes(2048)) is GossipVerdict.REJECT
    assert judge_envelope(OTHER, origin, b"junk") is GossipVerdict.PASS
    newer = ad.replace(b"\xa1v\x01", b"\xa1v\x02", 1)
    assert judge_envelope(ADS, "ada", newer) is GossipVerdict.IGNORE


def test_one_neighbour_has_a_rate_and_leaves_the_others_theirs() -> None:
    now = [0.0]
    limits = FloodLimits(clock=lambda: now[0])
    assert sum(limits.may_pass(ADA) for _ in range(1_000)) == 100
    assert limits.may_pass(BEN)
    now[0] = 1.0
    assert sum(limits.may_pass(ADA) for _ in range(1_000)) == CHECKED_PER_S


def test_a_flood_is_one_of_messages_or_of_bytes() -> None:
    limits = FloodLimits(clock=lambda: 0.0)
    assert not limits.may_send(ADA, num_messages=2_000, num_bytes=1)
    assert not limits.may_send(ADA, num_messages=1, num_bytes=3_000_000)
    assert limits.may_send(ADA, num_messages=1, num_bytes=60_000)


@pytest.fixture
async def ada(nursery: trio.Nursery) -> Transport:
    """A peer that hears the news."""
    peer = opener("libp2p")("ada")
    peer.subscribe(OTHER, pass_all)
    await nursery.start(peer.run)
    return peer


@pytest.fixture
async def stranger(nursery: trio.Nursery, ada: Transport) -> Transport:
    """A neighbour of ada's."""
    peer = opener("libp2p")("stranger")
    await nursery.start(peer.run)
    await peer.connect(ada.addresses[0])
    return peer


async def send_raw(sender: Transport, receiver: Transport, *rpcs: bytes) -> None:
    stream = await sender.open_stream(receiver.peer_id, GOSSIPSUB)
    for content in rpcs:
        await stream.send_all(content)


async def test_a_stranger_with_wrong_signatures_is_cut_off_after_a_few(
    ada: Transport, stranger: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_checked = 0

    def counted(found: object) -> bool:
        nonlocal num_checked
        num_checked += 1
        return is_signed(found)  # type: ignore[arg-type]

    is_signed = gossip_module._is_signed
    monkeypatch.setattr(gossip_module, "_is_signed", counted)
    origin = PEER_ID_PREFIX + bytes(32)
    forged = rpc(*(message(origin, b"%d" % number, OTHER, signature=bytes(64)) for number in range(370)))
    await send_raw(stranger, ada, forged)
    await until(lambda: not ada.connected())
    assert num_checked <= 6
    await until(lambda: not stranger.connected())
    await stranger.connect(ada.addresses[0])  # the handshake succeeds, and then the door is closed
    await until(lambda: not stranger.connected())


@pytest.mark.parametrize("kind", ["junk", "refused by all"])
async def test_a_stranger_silences_no_neighbour(nursery: trio.Nursery, kind: str, tmp_path: Path) -> None:
    homes = [opener("libp2p")(name) for name in ("ada", "ben")]
    stranger = opener("libp2p")("stranger")
    lies = [
        b"lies %d" % number if kind == "junk" else sign_advertisement(live_ad("liar", seq=number), seed_of("liar"))
        for number in range(30)
    ]
    num_lies = [0, 0]

    def accept(which: int, _: PeerId, content: bytes) -> bool:
        num_lies[which] += content in lies
        return content not in lies

    channels = [home.subscribe(ADS, partial(accept, which)) for which, home in enumerate(homes)]
    point = bootstrap.open_bootstrap(tmp_path, ("/ip4/127.0.0.1/tcp/0",))
    await nursery.start(partial(bootstrap.serve, point, network=NET, folder=tmp_path))
    for peer in (*homes, stranger):
        await nursery.start(peer.run)
        await peer.connect(point.addresses[0])
    await until(lambda: len(point.connected()) == 3)
    await tune_in_all(homes, channels)
    liar = seed_of("liar")
    await send_raw(stranger, point, *(rpc(signed(liar, lie, ADS, number=n)) for n, lie in enumerate(lies)))
    await until(lambda: all(heard >= 1 for heard in num_lies) or kind == "junk")
    own = live_ad("ada", peer_id=homes[0].peer_id)
    await homes[0].publish(ADS, sign_advertisement(own, seed("ada")))
    assert (await receive(channels[1])).origin == homes[0].peer_id
    for home in homes:
        assert score_of(home, point.peer_id, ADS) >= 0
    if kind == "junk":
        await until(lambda: score_of(point, stranger.peer_id, ADS) < 0)  # it may have come behind the news


async def tune_in_all(homes: list[Transport], channels: "list[trio.MemoryReceiveChannel[Gossip]]") -> None:
    """Advertise until both have heard of the other."""
    with trio.fail_after(DEADLINE_S):
        for seq in count(1):
            for name, home in zip(("ada", "ben"), homes, strict=True):
                await home.publish(ADS, sign_advertisement(live_ad(name, peer_id=home.peer_id, seq=seq), seed(name)))
            await trio.sleep(0.2)
            if all(channel.statistics().current_buffer_used for channel in channels):
                break
    for channel in channels:
        drain(channel)


def live_ad(name: str, **changes: Any) -> Advertisement:
    """An advertisement that belongs on the topic `ADS` and has not expired."""
    base = Digest("0x0011aabb" + "0" * 56)
    return ad_of(name, **{"at_s": time.time(), "network": NET, "base": base, **changes})


async def test_many_messages_in_one_rpc_leave_time_for_others(nursery: trio.Nursery) -> None:
    ada, stranger, guest = (opener("libp2p")(name) for name in ("ada", "stranger", "guest"))
    news = ada.subscribe(OTHER, pass_all)
    ada.handle(ECHO, echo)
    many = rpc(*(signed(seed("origin"), b"%d" % number, OTHER, number=number) for number in range(400)))
    await start(nursery, stranger, ada, guest)
    messages = MessageStream(await guest.open_stream(ada.peer_id, ECHO))
    await send_raw(stranger, ada, many, many)
    with trio.fail_after(1.5):
        await messages.send({"n": 1})
        assert await messages.receive() == {"n": 1}
    await until(lambda: news.statistics().current_buffer_used >= 100)
    assert news.statistics().current_buffer_used <= 100 + 3 * CHECKED_PER_S
    assert stranger.peer_id in ada.connected()


async def test_a_neighbour_that_floods_is_cut_off(ada: Transport, stranger: Transport) -> None:
    same = rpc(*[signed(seed("origin"), bytes(30_000), OTHER)] * 2)
    with suppress(NetworkError, trio.BrokenResourceError):
        await send_raw(stranger, ada, *[same] * 200)
    await until(lambda: not ada.connected())


def pruned(topic: str, *, proposed: Transport | None = None, address: str = "") -> bytes:
    """An RPC with a PRUNE, which may propose a peer with a signed record of its own addresses."""
    sent = RPC()
    prune = sent.control.prune.add(topicID=topic)
    if proposed:
        keys = create_new_key_pair(seed("ghost"))
        record = PeerRecord(ID.from_string(proposed.peer_id), [Multiaddr(address)], seq=1)
        envelope = seal_record(record, keys.private_key)
        prune.peers.add(
            peerID=ID.from_string(proposed.peer_id).to_bytes(), signedPeerRecord=envelope.marshal_envelope()
        )
    content: bytes = sent.SerializeToString()
    return prefixed(content)


async def test_nobody_makes_a_node_dial_by_proposing_a_peer_or_remember_made_up_topics(
    ada: Transport, stranger: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost, dialled = opener("libp2p")("ghost"), []

    async def connect(peer: object) -> None:
        dialled.append(peer)

    monkeypatch.setattr(ada._host, "connect", connect)  # type: ignore[attr-defined]
    made_up = [pruned(f"made up {number}") for number in range(20)]
    proposed = pruned(OTHER, proposed=ghost, address="/ip4/9.9.9.9/tcp/80")
    await send_raw(stranger, ada, *made_up, proposed, pruned(OTHER))
    await until(lambda: backed_off(ada, OTHER))
    assert not dialled
    assert backed_off(ada) == {OTHER}


def backed_off(peer: Transport, *topics: str) -> set[str]:
    """The topics for which a peer remembers that somebody has left it."""
    router = peer._gossip.router  # type: ignore[attr-defined]
    found = {topic for by_topic in router.graft_flood_tracking.values() for topic in by_topic}
    return found & set(topics) if topics else found


async def test_a_neighbour_that_asks_for_too_many_messages_is_cut_off(ada: Transport, stranger: Transport) -> None:
    """A request has 40 bytes a message, and an answer 2 KiB."""
    wanted = RPC()
    wanted.control.iwant.add(messageIDs=[b"00" * 8] * 1_100)
    await send_raw(stranger, ada, prefixed(wanted.SerializeToString()))
    await until(lambda: not ada.connected())


async def test_a_stream_that_ends_takes_no_subscriptions_that_were_told_on_another(nursery: trio.Nursery) -> None:
    """Two peers that change from a relay to a direct connection have two streams for a while."""
    ada, ben = opener("libp2p")("ada"), opener("libp2p")("ben")
    channel, bens = ada.subscribe(OTHER, pass_all), ben.subscribe(OTHER, pass_all)
    topics = ben._gossip.peer_topics  # type: ignore[attr-defined]
    await start(nursery, ben)
    async with trio.open_nursery() as adas:
        await start(adas, ada)
        await ada.connect(ben.addresses[0])
        await tune_in(ada, OTHER, bens)
        second = await ada.open_stream(ben.peer_id, GOSSIPSUB)
        await second.send_all(prefixed(b"\xff"))  # is no RPC, so the stream is reset
        with suppress(trio.BrokenResourceError):
            await second.receive_some()
        await wait_all_tasks_blocked(0.02)
        assert {str(peer) for peer in topics[OTHER]} == {ada.peer_id}
        await tune_in(ben, OTHER, channel)
        adas.cancel_scope.cancel()
    await until(lambda: not topics)
