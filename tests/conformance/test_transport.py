"""What every transport must do, run over every plug."""

from collections.abc import Callable

import pytest
import trio

from openledger_node.errors import NetworkError
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId, Transport
from openledger_node.p2p.transports.memory import MemoryNetwork
from openledger_node.plugs import load_plug, plug_names
from openledger_protocol.errors import MalformedError

ECHO = "/openledger/test/echo/1"
Open = Callable[[str], Transport]


@pytest.fixture(params=plug_names("transport"))
def open_peer(request: pytest.FixtureRequest) -> Open:
    """Peers of one network of their own."""
    network = MemoryNetwork()
    return lambda name: load_plug("transport", request.param)(network, PeerId(name))


async def echo(_: PeerId, stream: trio.abc.Stream) -> None:
    messages = MessageStream(stream)
    while True:
        await messages.send(await messages.receive())


async def start(nursery: trio.Nursery, *peers: Transport) -> None:
    for peer in peers:
        await nursery.start(peer.run)


async def test_messages_come_back_in_their_order(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")
    ben.handle(ECHO, echo)
    async with trio.open_nursery() as nursery:
        await start(nursery, ada, ben)
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        for number in range(100):
            await messages.send({"n": number})
        assert [(await messages.receive())["n"] for _ in range(100)] == list(range(100))
        nursery.cancel_scope.cancel()


async def test_a_message_larger_than_one_read_arrives_whole(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")
    ben.handle(ECHO, echo)
    async with trio.open_nursery() as nursery:
        await start(nursery, ada, ben)
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        await messages.send({"text": "x" * 60_000})
        assert len((await messages.receive())["text"]) == 60_000
        nursery.cancel_scope.cancel()


async def test_a_message_over_the_cap_is_refused_before_it_is_sent(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")
    ben.handle(ECHO, echo)
    async with trio.open_nursery() as nursery:
        await start(nursery, ada, ben)
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        with pytest.raises(MalformedError, match="over its cap"):
            await messages.send({"text": "x" * 70_000})
        await messages.send({"n": 1})
        assert await messages.receive() == {"n": 1}
        nursery.cancel_scope.cancel()


async def test_a_handler_that_raises_ends_its_stream_and_nothing_else(
    open_peer: Open, caplog: pytest.LogCaptureFixture
) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")

    async def raise_at_once(_: PeerId, stream: trio.abc.Stream) -> None:
        raise ValueError("mischief")

    ben.handle("/bad/1", raise_at_once)
    ben.handle(ECHO, echo)
    async with trio.open_nursery() as nursery:
        await start(nursery, ada, ben)
        with pytest.raises(NetworkError):
            await MessageStream(await ada.open_stream(ben.peer_id, "/bad/1")).receive()
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        await messages.send({"n": 1})
        assert await messages.receive() == {"n": 1}
        nursery.cancel_scope.cancel()
    assert "mischief" in caplog.text


async def test_who_is_not_there_or_speaks_another_protocol_is_said_to_be(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")
    async with trio.open_nursery() as nursery:
        await start(nursery, ada, ben)
        with pytest.raises(NetworkError, match="carl"):
            await ada.open_stream(PeerId("carl"), ECHO)
        with pytest.raises(NetworkError, match=ECHO):
            await ada.open_stream(ben.peer_id, ECHO)
        nursery.cancel_scope.cancel()


async def test_who_leaves_is_noticed(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")
    left = trio.Event()

    async def wait_for_the_end(_: PeerId, stream: trio.abc.Stream) -> None:
        with pytest.raises(NetworkError):
            await MessageStream(stream).receive()
        left.set()

    ben.handle(ECHO, wait_for_the_end)
    async with trio.open_nursery() as nursery:
        await start(nursery, ada, ben)
        await (await ada.open_stream(ben.peer_id, ECHO)).aclose()
        with trio.fail_after(5):
            await left.wait()
        nursery.cancel_scope.cancel()
