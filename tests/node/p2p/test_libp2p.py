"""What only the transport over libp2p does, within one process."""

from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from support.peers import LOOPBACK, echo, opener, receive, seed, start, tune_in, until

from openledger_node.errors import ConfigError, NetworkError
from openledger_node.p2p import unread as unread_module
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.libp2p import open_transport
from openledger_node.p2p.transports.libp2p import stream as stream_module

ECHO, TOPIC = "/openledger/test/echo/1", "/openledger/test/news/1"


@pytest.mark.parametrize(
    "address", ["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001", "/ip4/127.0.0.1/udp/4001", "/ip4/x/tcp/1"]
)
def test_an_address_of_no_single_interface_is_not_listened_on(address: str) -> None:
    with pytest.raises(ConfigError, match="listen"):
        open_transport(identity=seed("ada"), listen=(address,), serve_rendezvous=False)


async def test_a_port_that_is_taken_is_refused_by_name(nursery: trio.Nursery) -> None:
    ada = opener("libp2p")("ada")
    await start(nursery, ada)
    taken = ada.addresses[0].partition("/p2p/")[0]
    with pytest.raises(NetworkError, match=taken):
        await open_transport(identity=seed("ben"), listen=(taken,), serve_rendezvous=False).run()


async def test_unread_streams_share_one_bound(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each of 64 streams of a peer could leave megabytes in this node's memory."""
    monkeypatch.setattr(unread_module, "UNREAD_PEER_MAX", 128 * 1024)
    ada, ben = (opener("libp2p")(name) for name in ("ada", "ben"))
    num_streams, most = 8, 0

    async def never_read(_: PeerId, stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async def send(stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(bytes(1 << 20))

    ben.handle(TOPIC, never_read)
    ben.handle(ECHO, echo)
    await start(nursery, ada, ben)
    for _ in range(num_streams):
        nursery.start_soon(send, await ada.open_stream(ben.peer_id, TOPIC))
    (unread,) = ben._unread.values()
    await until(lambda: unread._count >= 128 * 1024)
    messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
    for number in range(20):
        await messages.send({"n": number})
        assert await messages.receive() == {"n": number}
        most = max(most, unread._count)
    assert most <= 128 * 1024 + num_streams * (unread_module.UNREAD_STREAM_MIN + stream_module.READ_BYTES)


async def test_tasks_that_want_the_same_peer_share_a_connection(nursery: trio.Nursery) -> None:
    ada, ben = (opener("libp2p")(name) for name in ("ada", "ben"))
    await start(nursery, ada)
    await start(nursery, ben)
    async with trio.open_nursery() as dialling:
        for _ in range(5):
            dialling.start_soon(ada.connect, ben.addresses[0])
    assert len(ada._swarm.get_connections()) == 1
    assert not ada._dialer._dialling


async def test_a_dial_without_its_caller_has_a_place(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for bids stops waiting after a second or two, and the connection may come later."""
    ada, ben = (opener("libp2p")(name) for name in ("ada", "ben"))
    dial, has_begun, may_end = ada._swarm.dial_addr, trio.Event(), trio.Event()

    async def dial_slowly(*args: object) -> object:
        has_begun.set()
        await may_end.wait()
        return await dial(*args)

    monkeypatch.setattr(ada._swarm, "dial_addr", dial_slowly)
    await start(nursery, ada)
    await start(nursery, ben)
    async with trio.open_nursery() as dialling:
        dialling.start_soon(ada.connect, ben.addresses[0])
        await has_begun.wait()
        dialling.cancel_scope.cancel()
    may_end.set()
    await until(lambda: ada.connected() == (ben.peer_id,))
    await until(lambda: ada._budget._held)


async def test_bytes_of_a_stream_use_its_connection(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, ben = (opener("libp2p")(name) for name in ("ada", "ben"))
    ben.handle(ECHO, echo)
    used: list[tuple[PeerId, bool]] = []

    def note_use(peer_id: PeerId, *, is_own: bool) -> None:
        used.append((peer_id, is_own))

    await start(nursery, ben, ada)
    messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
    monkeypatch.setattr(ada._budget, "note_use", note_use)
    await messages.send({"n": 1})
    await messages.receive()
    await until(lambda: used == [(ben.peer_id, True)] * 2)


async def test_a_peer_that_reads_nothing_is_cut_off(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's farewell waits until it is read, and a flooder need not read it."""
    ada, ben = (opener("libp2p")(name) for name in ("ada", "ben"))
    await start(nursery, ben, ada)
    await until(ben.connected)

    async def read_nothing(_: int | None = None) -> bytes:
        await trio.sleep_forever()
        return b""

    monkeypatch.setattr(tcp_of(ben), "read", read_nothing)
    with trio.move_on_after(0.3):  # what comes of the read that has begun before
        await ada.open_stream(ben.peer_id, ECHO)
    socket = tcp_of(ada).stream.socket
    for size in [1 << 16] * 5 + [1] * 20:  # the kernel moves bytes on for a moment
        with suppress(BlockingIOError):
            while True:
                socket._sock.send(bytes(size))
        await trio.sleep(0.02)
    with trio.fail_after(5):
        await ada._close_peer(ben.peer_id)
    assert socket.fileno() == -1
    assert not ada._swarm.get_connections()


def tcp_of(peer: Any) -> Any:
    """The TCP stream of a peer's only connection."""
    [connection] = peer._swarm.get_connections()
    return connection.muxed_conn.secured_conn.conn.read_writer.read_write_closer.stream


async def test_all_ends_are_told_apart(nursery: trio.Nursery) -> None:
    ada, ben = (opener("libp2p")(name) for name in ("ada", "ben"))

    async def say_and_close(_: PeerId, stream: trio.abc.Stream) -> None:
        await stream.send_all(b"bye")

    async def say_and_raise(_: PeerId, stream: trio.abc.Stream) -> None:
        await stream.send_all(b"bye")
        raise ValueError("mischief")

    async def say_and_wait(_: PeerId, stream: trio.abc.Stream) -> None:
        await stream.send_all(b"bye")
        await stream.receive_some(1)

    for number, handler in enumerate((say_and_close, say_and_raise, say_and_wait)):
        ben.handle(f"/end/{number}", handler)
    await nursery.start(ada.run)
    async with trio.open_nursery() as bens:
        await bens.start(ben.run)
        await ada.connect(ben.addresses[0])
        closed, raised, lost = [await ada.open_stream(ben.peer_id, f"/end/{number}") for number in range(3)]
        assert [await closed.receive_some(), await closed.receive_some()] == [b"bye", b""]
        with pytest.raises(trio.BrokenResourceError):
            await read_all(raised)
        assert await lost.receive_some() == b"bye"
        bens.cancel_scope.cancel()
    with pytest.raises(trio.BrokenResourceError):
        await lost.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await lost.send_all(b"x")
    await lost.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await lost.receive_some()


async def read_all(stream: trio.abc.Stream) -> None:
    while await stream.receive_some():
        pass


async def test_a_stream_closed_by_one_side_ends(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "LINGER_S", 0.1)
    ada, ben = (opener("libp2p")(name) for name in ("ada", "ben"))
    broken = trio.Event()

    async def talk_on(_: PeerId, stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(bytes(1000))
        broken.set()

    ben.handle("/talk/1", talk_on)
    await start(nursery, ada, ben)
    await (await ada.open_stream(ben.peer_id, "/talk/1")).aclose()
    with trio.fail_after(5):
        await broken.wait()


async def test_the_library_dials_nobody_by_itself(nursery: trio.Nursery) -> None:
    point, ada, ben = (opener("libp2p")(name) for name in ("point", "ada", "ben"))
    await start(nursery, point, ada)
    await start(nursery, ben)
    await ben.connect(point.addresses[0])
    await ada.find_peers(point.peer_id, "net")
    assert await ben.find_peers(point.peer_id, "net") == [*ada.addresses]
    await ben._swarm.auto_connector.maybe_connect()
    await trio.sleep(0.2)
    assert ben.connected() == (point.peer_id,)


async def test_strangers_leave_room_for_connections_of_our_own(nursery: trio.Nursery) -> None:
    ada = open_transport(identity=seed("ada"), listen=LOOPBACK, serve_rendezvous=False, inbound_max=4)
    await start(nursery, ada)
    guests = [opener("libp2p")(f"guest {number}") for number in range(8)]
    for guest in guests:
        await start(nursery, guest)
        await guest.connect(ada.addresses[0])
    await until(lambda: len(ada.connected()) == 3)  # of four places, one is for known peers
    for guest in guests:
        await ada.connect(guest.addresses[0])
    await until(lambda: len(ada.connected()) == 8)


async def test_a_copy_under_another_name_does_not_shut_out_the_true_one(nursery: trio.Nursery) -> None:
    """A message is known by its topic, origin and content."""
    ada, ben, carl = (opener("libp2p")(name) for name in ("ada", "ben", "carl"))
    channel = carl.subscribe(TOPIC, lambda origin, content: content != b"ada's bread" or origin == ada.peer_id)
    await start(nursery, carl, ada)
    await start(nursery, ben)
    await ben.connect(carl.addresses[0])
    await tune_in(ada, TOPIC, channel)
    await tune_in(ben, TOPIC, channel)
    await ben.publish(TOPIC, b"ada's bread")
    await ben.publish(TOPIC, b"ben's bread")
    assert (await receive(channel)).content == b"ben's bread"
    await ada.publish(TOPIC, b"ada's bread")
    assert (await receive(channel)).origin == ada.peer_id
