"""What strangers try with a relay and over one, on real libp2p in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.exceptions import BaseLibp2pError
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Status, StopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as PeerMessage
from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch
from multiaddr import Multiaddr
from support.peers import LOOPBACK, echo, seed, until

from openledger_node.errors import NetworkError
from openledger_node.p2p import budget, relay_places
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.tally import TrafficTally
from openledger_node.p2p.transport import Path, PeerId
from openledger_node.p2p.transports.libp2p import circuit, open_transport, punch, relay_client, relay_service
from openledger_node.p2p.transports.libp2p.circuit import HOP, STOP, read_message, write_message
from openledger_node.p2p.transports.libp2p.names import library_id
from openledger_node.p2p.transports.libp2p.punch import DCUTR
from openledger_node.p2p.transports.libp2p.transport import Libp2pTransport

ECHO = "/openledger/test/echo/1"
SECRET = "a prompt that the relay must not see"


def a_peer(name: str, *, listens: bool = True, serve_relay: bool = False, **more: int) -> Libp2pTransport:
    listen = LOOPBACK if listens else ()
    return open_transport(identity=seed(name), listen=listen, serve_rendezvous=False, serve_relay=serve_relay, **more)


@asynccontextmanager
async def a_relay(*names: str, listening: tuple[str, ...] = (), **more: int) -> AsyncIterator[list[Libp2pTransport]]:
    """A relay, and peers that are connected with it and listen nowhere, save those that are said to be listening."""
    relay = a_peer("relay", serve_relay=True, **more)
    peers = [a_peer(name, listens=name in listening) for name in names]
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        for peer in peers:
            peer.handle(ECHO, echo)
            await nursery.start(peer.run)
            await peer.connect(relay.addresses[0])
        yield [relay, *peers]
        nursery.cancel_scope.cancel()


async def ask(peer: Libp2pTransport, relay: Libp2pTransport, request: HopMessage) -> Any:
    """The answer of a relay, also if it is a no; None if it hangs up."""
    stream = await peer._host.new_stream(library_id(relay.peer_id), [HOP])
    await write_message(stream, request)
    try:
        return await read_message(stream, HopMessage)
    except NetworkError:
        return None


async def echoed_bytes(messages: MessageStream) -> int:
    """Send to an echo until the connection breaks; the bytes of text that went there and back."""
    num_bytes = 0
    with suppress(NetworkError):
        while True:
            await messages.send({"text": "x" * 10_000})
            num_bytes += 2 * len((await messages.receive())["text"])
    return num_bytes


def connect_to(peer: Libp2pTransport) -> HopMessage:
    return HopMessage(type=HopMessage.CONNECT, peer=PeerMessage(id=library_id(peer.peer_id).to_bytes()))


@pytest.mark.parametrize(("limit", "value"), [("CIRCUIT_BYTES_MAX", 128 * 1024), ("CIRCUIT_S_MAX", 120)])
async def test_a_relay_with_too_few_bytes_is_not_used(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(relay_service, limit, value)  # as go-libp2p has it by default
    async with a_relay("ada") as (relay, ada):
        with pytest.raises(NetworkError, match="too little for answers"):
            await ada.reserve(relay.peer_id)
        assert ada.relays == ()


@pytest.mark.parametrize("expire", [0, 1000])
async def test_a_place_that_has_ended_already_is_not_taken(monkeypatch: pytest.MonkeyPatch, expire: int) -> None:
    answer = HopMessage(type=HopMessage.STATUS, status=Status.OK)
    answer.reservation.expire = expire

    async def old(*_: object) -> HopMessage:
        return answer

    async with a_relay("ada") as (relay, ada):
        monkeypatch.setattr(ada._relay_client, "_ask_for_place", old)
        with pytest.raises(NetworkError, match="check the clock"):
            await ada.reserve(relay.peer_id)


async def test_a_relay_sees_no_word_of_what_it_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = bytearray()
    copy = relay_service._copy

    class Spy:
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def read(self, num_bytes: int) -> bytes:
            chunk: bytes = await self._stream.read(num_bytes)
            seen.extend(chunk)
            return chunk

    async def spied(source: Any, *rest: Any) -> None:
        await copy(Spy(source), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(relay_service, "_copy", spied)
    async with a_relay("ada", "ben") as (relay, ada, ben):
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        await messages.send({"prompt": SECRET})
        assert await messages.receive() == {"prompt": SECRET}
        assert len(seen) > 2 * len(SECRET)
        assert SECRET.encode() not in seen
        assert ECHO.encode() not in seen


async def test_nobody_reserves_a_place_for_another_or_brings_a_circuit_that_was_not_asked_for() -> None:
    """A lying relay may also name the peer itself as the caller, when that peer tests nothing."""
    async with a_relay("ada", "ben") as (relay, ada, ben):
        forged = HopMessage(type=HopMessage.RESERVE, peer=PeerMessage(id=library_id(ben.peer_id).to_bytes()))
        assert (await ask(ada, relay, forged)).status == Status.OK  # its own place
        assert (await ask(ada, relay, connect_to(ben))).status == Status.NO_RESERVATION
        await ada.reserve(relay.peer_id)
        for victim, caller in ((ben, ada), (ada, ada)):
            stream = await relay._host.new_stream(library_id(victim.peer_id), [STOP])
            said = PeerMessage(id=library_id(caller.peer_id).to_bytes())
            await write_message(stream, StopMessage(type=StopMessage.CONNECT, peer=said))
            assert (await read_message(stream, StopMessage)).status == Status.PERMISSION_DENIED


async def test_rubbish_and_silence_cost_a_relay_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit, "MESSAGE_S", 0.2)
    async with a_relay("ada", "ben") as (relay, ada, ben):
        for rubbish in (b"", b"\x03abc", b"\xff\xff\xff\xff\x7f", b"\x80\x20" + bytes(4096), b"\xff" * 11):
            stream = await ada._host.new_stream(library_id(relay.peer_id), [HOP])
            await stream.write(rubbish)
            with trio.fail_after(5), suppress(BaseLibp2pError):
                while await stream.read(100):
                    pass
        assert (await ask(ada, relay, HopMessage(type=HopMessage.STATUS))).status == Status.UNEXPECTED_MESSAGE
        assert (await ben.reserve(relay.peer_id)).address  # the relay still serves
        assert relay.path_to(ada.peer_id) is Path.DIRECT


async def test_a_relay_serves_nobody_over_a_relay() -> None:
    async with a_relay("ada", "inner") as (relay, ada, _):
        inner = a_peer("second", listens=False, serve_relay=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(inner.run)
            await inner.connect(relay.addresses[0])
            await ada.connect((await inner.reserve(relay.peer_id)).address)
            assert ada.path_to(inner.peer_id) is Path.RELAYED
            for request in (HopMessage(type=HopMessage.RESERVE), connect_to(relay)):
                assert (await ask(ada, inner, request)).status == Status.PERMISSION_DENIED
            nursery.cancel_scope.cancel()


async def test_a_circuit_carries_its_bytes_at_its_owners_pace_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_service, "CIRCUIT_BYTES_MAX", 200_000)
    monkeypatch.setattr(relay_client, "CIRCUIT_BYTES_MIN", 200_000)
    async with a_relay("ada", "ben", relay_bytes_per_s=65_536) as (relay, ada, ben):
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        messages, began_s = MessageStream(await ada.open_stream(ben.peer_id, ECHO)), trio.current_time()
        with trio.fail_after(20):
            num_bytes = await echoed_bytes(messages)
        assert 100_000 < num_bytes <= 200_000
        assert trio.current_time() - began_s > (num_bytes - 2 * 65_536) / 65_536
        await until(lambda: ada.path_to(ben.peer_id) is None)
        assert ben.relays  # the place itself stays


async def test_a_circuit_is_slow_and_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_service, "CIRCUIT_S_MAX", 5.0)  # of which the handshake takes a part
    monkeypatch.setattr(relay_client, "CIRCUIT_S_MIN", 5)
    monkeypatch.setattr(relay_service, "CIRCUIT_BYTES_PER_S", 100_000)
    monkeypatch.setattr(relay_service, "CIRCUIT_BYTES_AT_ONCE", 10_000)
    async with a_relay("ada", "ben") as (relay, ada, ben):
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        began_s = trio.current_time()
        with trio.fail_after(30):
            num_bytes = await echoed_bytes(messages)
        lasted_s = trio.current_time() - began_s
        assert lasted_s < 15
        assert num_bytes < 100_000 * lasted_s + 20_000


class PlainStream:
    """A stream of the library, over one in memory."""

    muxed_stream = None

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, num_bytes: int) -> bytes:
        return bytes(await self._stream.receive_some(num_bytes))

    async def write(self, content: bytes) -> None:
        await self._stream.send_all(content)


async def test_a_circuit_in_use_does_not_end_for_idleness(autojump_clock: trio.testing.MockClock) -> None:
    (ada, one), (other, ben) = trio.testing.memory_stream_pair(), trio.testing.memory_stream_pair()
    sides: list[Any] = [PlainStream(one), PlainStream(other)]
    ended = trio.Event()

    async def relayed() -> None:
        await relay_service.join(*sides, relay_service.SharedPace(0), TrafficTally())
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(relayed)
        for sender, receiver in ((ada, ben), (ben, ada), (ada, ben)):
            await trio.sleep(relay_service.CIRCUIT_IDLE_S - 1)
            await sender.send_all(b"x")
            assert await receiver.receive_some() == b"x"
        last_s = trio.current_time()
        await ended.wait()
        assert trio.current_time() - last_s == pytest.approx(relay_service.CIRCUIT_IDLE_S)


async def test_all_circuits_of_a_relay_share_its_owners_limit(autojump_clock: trio.testing.MockClock) -> None:
    shared = relay_service.SharedPace(100_000)

    async def pass_on(num_chunks: int) -> None:
        for _ in range(num_chunks):
            await shared.wait(10_000)

    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(pass_on, 10)
    assert trio.current_time() - began_s == pytest.approx(4.0)  # 500,000 bytes, of which the first second's are free
    await relay_service.SharedPace(0).wait(10**9)
    assert trio.current_time() - began_s == pytest.approx(4.0)


async def swallow(one: Any, *_: Any) -> None:
    with suppress(BaseLibp2pError):
        while await one.read(1000):
            pass


async def garble(one: Any, other: Any, *_: Any) -> None:
    await other.write(bytes(len(await one.read(1000))))


async def test_a_lying_relay_is_not_used_and_a_busy_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_client, "PROBE_S", 0.3)
    async with a_relay("ada") as (relay, ada):
        places: Any = relay._relay_places
        for join in (swallow, garble):
            assert (await ada.reserve(relay.peer_id)).address in ada.relays
            with monkeypatch.context() as lying:
                lying.setattr(relay_service, "join", join)
                with pytest.raises(NetworkError, match="passes nothing on"):
                    await ada.reserve(relay.peer_id)
            assert ada.relays == ()
            await until(lambda: not places.num_circuits())
        monkeypatch.setattr(places, "open", lambda _: relay_places.Refusal.NO_PLACE)
        assert (await ada.reserve(relay.peer_id)).address in ada.relays
        monkeypatch.setattr(places, "open", lambda _: relay_places.Refusal.NO_RESERVATION)
        with pytest.raises(NetworkError, match="opens no circuit"):
            await ada.reserve(relay.peer_id)
        assert ada.relays == ()


async def test_circuits_that_are_held_open_leave_others_their_share() -> None:
    async with a_relay("ada", "ben", "carl") as (relay, ada, ben, carl):
        place = await ben.reserve(relay.peer_id)
        held = [
            (await ask(ada, relay, connect_to(ben))).status for _ in range(relay_places.CIRCUITS_PER_PEER_MAX + 1)
        ]
        assert held == [Status.OK] * relay_places.CIRCUITS_PER_PEER_MAX + [Status.RESOURCE_LIMIT_EXCEEDED]
        assert await carl.connect(place.address) == ben.peer_id


async def test_circuits_without_a_handshake_take_a_place_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_client, "HANDSHAKES_MAX", 1)
    async with a_relay("ada", "ben", "carl") as (relay, ada, ben, carl):
        monkeypatch.setattr(relay_service, "LINGER_S", 0.1)
        place = await ben.reserve(relay.peer_id)
        ben._swarm.connection_config.inbound_upgrade_timeout = 1.0
        assert (await ask(ada, relay, connect_to(ben))).status == Status.OK
        with pytest.raises(NetworkError):
            await carl.connect(place.address)
        await until(lambda: not ben._relay_client._num_handshakes)
        await until(lambda: not relay._relay_places.num_circuits())  # type: ignore[union-attr]


async def test_a_relay_can_not_name_another_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller proves its id to the peer itself; a circuit under another name is closed."""
    async with a_relay("ada", "ben", "carl") as (relay, ada, ben, carl):
        place = await ben.reserve(relay.peer_id)
        own = relay_service.PeerMessage
        monkeypatch.setattr(relay_service, "PeerMessage", lambda id: own(id=library_id(carl.peer_id).to_bytes()))
        with suppress(NetworkError):  # the caller may see its connection for a moment
            await ada.connect(place.address)
        await until(lambda: carl.peer_id not in ben.connected() and ada.peer_id not in ben.connected())


async def test_a_punch_dials_no_address_of_a_victim(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger that is met over a relay names addresses: few are dialled, and none twice within the hour."""
    dialled: list[str] = []
    monkeypatch.setattr(punch, "DIAL_S", 0.1)
    monkeypatch.setattr(punch, "ROUND_PAUSE_S", 0.01)

    async def note(address: Multiaddr, peer: object, source: object = None) -> None:
        dialled.append(str(address))
        raise OSError("nobody is there")

    victims = [f"/ip4/127.0.0.{n}/tcp/{n}" for n in range(1, 20)] + ["/dns4/x.example/tcp/1", "/ip4/0.0.0.0/tcp/1"]
    raw = [Multiaddr(victim).to_bytes() for victim in reversed(victims)]
    async with a_relay("ada", "ben", listening=("ben",)) as (relay, ada, ben):
        monkeypatch.setattr(ben._puncher, "meet", trio.lowlevel.checkpoint_if_cancelled)
        monkeypatch.setattr(ben._relay_client, "_met", lambda _: None)
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        monkeypatch.setattr(ben._swarm, "dial_addr", note)
        for _ in range(4):
            stream = await ada._host.new_stream(library_id(ben.peer_id), [DCUTR])
            await write_message(stream, HolePunch(type=HolePunch.CONNECT, ObsAddrs=raw))
            with suppress(NetworkError):
                await read_message(stream, HolePunch)
                await write_message(stream, HolePunch(type=HolePunch.SYNC))
                await until(lambda: ben._puncher._answering == set())
    endpoints = {address.partition("/p2p/")[0] for address in dialled}
    assert 0 < len(endpoints) <= 2 * 4
    assert all(dialled.count(address) <= 2 * 3 for address in dialled)
    assert not any("dns" in address or "0.0.0.0" in address for address in dialled)


async def test_two_peers_that_can_dial_each_other_leave_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """New streams take the direct path, running ones end on the relay, and then its circuit is given back."""
    monkeypatch.setattr("openledger_node.p2p.transports.libp2p.transport.HANG_UP_EVERY_S", 0.2)
    begin = trio.Event()
    async with a_relay("ada", "ben", listening=("ada", "ben")) as (relay, ada, ben):
        meet, places = ben._puncher.meet, relay._relay_places
        assert places

        async def meet_later(peer_id: PeerId) -> None:
            await begin.wait()
            await meet(peer_id)

        monkeypatch.setattr(ben._puncher, "meet", meet_later)
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        running = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        await running.send({"n": 1})
        await running.receive()
        begin.set()
        await until(lambda: ada.path_to(ben.peer_id) is Path.PUNCHED and ben.path_to(ada.peer_id) is Path.PUNCHED)
        fresh = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        for number in range(5):
            for messages in (running, fresh):
                await messages.send({"n": number})
                assert await messages.receive() == {"n": number}
            await trio.sleep(0.15)
        assert places.num_circuits() == 1
        await running.aclose()
        await until(lambda: places.num_circuits() == 0)
        await fresh.send({"n": 9})
        assert await fresh.receive() == {"n": 9}


async def test_two_peers_that_begin_to_punch_at_once_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has asked the other one before it is asked itself. Neither may dial the other as usual."""
    both_begin = trio.Event()
    num_begun = 0

    async def wait_for_both(_: PeerId) -> None:
        nonlocal num_begun
        num_begun += 1
        if num_begun == 2:
            both_begin.set()
        await both_begin.wait()

    async with a_relay("ada", "ben", listening=("ada", "ben")) as (relay, ada, ben), trio.open_nursery() as nursery:
        for peer in (ada, ben):
            monkeypatch.setattr(peer._puncher, "_dial_plainly", wait_for_both)
        await until(lambda: all(peer._puncher._expected() for peer in (ada, ben)))  # the relay tells how it sees them
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        nursery.start_soon(ada._puncher.meet, ben.peer_id)
        await until(lambda: ada.path_to(ben.peer_id) is Path.PUNCHED and ben.path_to(ada.peer_id) is Path.PUNCHED)


async def test_a_peer_that_dials_in_twice_keeps_its_internet_address_when_one_connection_ends() -> None:
    """Without an address it would pass for a peer of the relay's own choice, and have the share of no address."""
    async with a_relay("ada") as (relay, ada):
        async with trio.open_nursery() as nursery:
            twin = a_peer("ada", listens=False)
            await nursery.start(twin.run)
            await twin.connect(relay.addresses[0])
            await until(lambda: len(relay._swarm.get_connections(library_id(ada.peer_id))) == 2)
            nursery.cancel_scope.cancel()
        await until(lambda: len(relay._swarm.get_connections(library_id(ada.peer_id))) == 1)
        await trio.testing.wait_all_tasks_blocked(0.05)  # the relay has noted the end too
        assert relay.seen_host(ada.peer_id) == "127.0.0.1"


async def test_a_call_over_a_relay_makes_no_room_by_hanging_up_on_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "CALLED_MAX", 1)  # the relay has the only place
    async with a_relay("ada", "ben") as (relay, ada, ben):
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        assert set(ada.connected()) == {relay.peer_id, ben.peer_id}


async def test_a_peer_that_leaves_the_relay_during_a_punch_has_a_place_or_is_cut_off(nursery: trio.Nursery) -> None:
    """Such connections would count in no limit, and nobody would hang up on them."""
    ada, ben = a_peer("ada"), a_peer("ben")
    for peer in (ada, ben):
        await nursery.start(peer.run)
    await ben._puncher._dial(ada.peer_id, ada.addresses[0].partition("/p2p/")[0], False, None)
    await until(lambda: not ben.connected())
    assert ben._dial_limits.has_answered(ada.addresses[0])  # it was dialled
