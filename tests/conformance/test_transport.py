"""What every transport must do, run over every plug."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count

import pytest
import trio
import trio.testing
from support.peers import DEADLINE_S, Open, drain, echo, opener, receive, start, tune_in, until

from openledger_node.errors import NetworkError
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import GOSSIP_BYTES_MAX, PeerId, Transport
from openledger_node.plugs import plug_names
from openledger_protocol.errors import MalformedError

ECHO = "/openledger/test/echo/1"
TOPIC = "/openledger/test/news/1"


class _Counter(trio.abc.Instrument):
    def __init__(self, num_left: int, scope: trio.CancelScope) -> None:
        self._num_left = num_left
        self._scope = scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._num_left -= 1
        if not self._num_left:
            self._scope.cancel()


@contextmanager
def cancelled_after(num_steps: int) -> Iterator[trio.CancelScope]:
    """Cancel what runs inside once trio's tasks, all together, have been taken up so many times."""
    with trio.CancelScope() as scope:
        counter = _Counter(num_steps, scope)
        trio.lowlevel.add_instrument(counter)
        try:
            yield scope
        finally:
            trio.lowlevel.remove_instrument(counter)


@pytest.fixture(params=plug_names("transport"))
def open_peer(request: pytest.FixtureRequest) -> Open:
    """Peers of one network of their own."""
    return opener(request.param)


@asynccontextmanager
async def started(*peers: Transport) -> AsyncIterator[None]:
    """Peers that run, and that the first one is connected with, until the block ends."""
    async with trio.open_nursery() as nursery:
        await start(nursery, *peers)
        yield
        nursery.cancel_scope.cancel()


def accept_all(_: PeerId, content: bytes) -> bool:
    return True


async def test_messages_come_back_whole_in_their_order_and_none_over_the_cap_is_sent(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")
    ben.handle(ECHO, echo)
    async with started(ada, ben):
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        for number in range(100):
            await messages.send({"n": number})
        assert [(await messages.receive())["n"] for _ in range(100)] == list(range(100))
        with pytest.raises(MalformedError, match="over its cap"):
            await messages.send({"text": "x" * 70_000})
        await messages.send({"text": "x" * 60_000})
        assert len((await messages.receive())["text"]) == 60_000, "it takes more than one read"


async def test_a_handler_that_raises_ends_its_stream_and_nothing_else(
    open_peer: Open, caplog: pytest.LogCaptureFixture
) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")

    async def raise_at_once(_: PeerId, stream: trio.abc.Stream) -> None:
        raise ValueError("mischief")

    ben.handle("/bad/1", raise_at_once)
    ben.handle(ECHO, echo)
    async with started(ada, ben):
        with pytest.raises(NetworkError):
            await MessageStream(await ada.open_stream(ben.peer_id, "/bad/1")).receive()
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        await messages.send({"n": 1})
        assert await messages.receive() == {"n": 1}
    assert "mischief" in caplog.text


async def test_who_is_not_there_or_speaks_another_protocol_is_said_to_be(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben", serve_rendezvous=False)
    async with started(ada, ben):
        with pytest.raises(NetworkError, match="carl"):
            await ada.open_stream(PeerId("carl"), ECHO)
        with pytest.raises(NetworkError, match="rendezvous"):
            await ada.find_peers(ben.peer_id, "net")
        with pytest.raises(NetworkError, match=ECHO):
            await ada.open_stream(ben.peer_id, ECHO)


async def test_a_stream_that_its_opener_closes_ends_at_the_other_side(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")
    left = trio.Event()

    async def wait_for_the_end(_: PeerId, stream: trio.abc.Stream) -> None:
        with pytest.raises(NetworkError):
            await MessageStream(stream).receive()
        left.set()

    ben.handle(ECHO, wait_for_the_end)
    async with started(ada, ben):
        await (await ada.open_stream(ben.peer_id, ECHO)).aclose()
        with trio.fail_after(5):
            await left.wait()


# ── connections ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_address_that_leads_nowhere_or_to_another_peer_is_refused(open_peer: Open) -> None:
    ada, ben, carl = open_peer("ada"), open_peer("ben"), open_peer("carl")
    async with started(ada, ben):
        there, _, _ = ben.addresses[0].rpartition("/p2p/")
        for address in (
            ada.addresses[0],
            f"{there}x/p2p/{carl.peer_id}",
            there,
            "",
            "/p2p/",
            f"junk/p2p/{carl.peer_id}",
        ):
            with pytest.raises(NetworkError):
                await ada.connect(address)
        assert ada.connected() == (ben.peer_id,)


async def test_a_peer_that_leaves_is_no_longer_connected_and_its_streams_end(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")
    ben.handle(ECHO, echo)
    async with trio.open_nursery() as nursery:
        await start(nursery, ada)
        async with trio.open_nursery() as bens:
            await start(bens, ben)
            await ada.connect(ben.addresses[0])
            messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
            await messages.send({"n": 1})
            await messages.receive()
            bens.cancel_scope.cancel()
        with pytest.raises(NetworkError), trio.fail_after(5):
            await messages.receive()
        await until(lambda: not ada.connected())
        nursery.cancel_scope.cancel()


async def test_a_start_that_is_cut_short_at_any_step_ends(open_peer: Open) -> None:
    for num_steps in count(1):
        peer, is_up = open_peer(f"peer {num_steps}"), False
        with cancelled_after(num_steps):
            async with trio.open_nursery() as nursery:
                await nursery.start(peer.run)
                is_up = True
                nursery.cancel_scope.cancel()
        assert not peer.addresses
        if is_up:
            break
    assert num_steps > 1


async def test_who_asks_for_something_while_its_node_leaves_gets_an_answer(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")
    ben.handle(ECHO, echo)
    ada_has_left = trio.Event()

    async def leave(scope: trio.CancelScope) -> None:
        with scope:
            await ada.run()
        ada_has_left.set()

    async def ask() -> None:
        with suppress(NetworkError):
            await ada.open_stream(ben.peer_id, ECHO)

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            adas = trio.CancelScope()
            nursery.start_soon(leave, adas)
            await nursery.start(ben.run)
            await until(lambda: ada.addresses)
            await ada.connect(ben.addresses[0])
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            adas.cancel()
            async with trio.open_nursery() as askers:
                while not ada_has_left.is_set():
                    askers.start_soon(ask)
                    await trio.lowlevel.checkpoint()
            with pytest.raises(NetworkError):
                await ada.publish(TOPIC, b"too late")
            nursery.cancel_scope.cancel()


async def test_who_is_cut_short_while_sending_harms_no_other_stream(open_peer: Open) -> None:
    ada, ben = open_peer("ada"), open_peer("ben")

    async def never_read(_: PeerId, stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    ben.handle("/deaf/1", never_read)
    ben.handle(ECHO, echo)
    async with started(ada, ben):
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        for _ in range(5):
            deaf = await ada.open_stream(ben.peer_id, "/deaf/1")
            with trio.move_on_after(0.02):
                while True:
                    await deaf.send_all(bytes(100_000))
            await messages.send({"n": 1})
            with trio.fail_after(5):
                assert await messages.receive() == {"n": 1}


# ── gossip ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_gossip_reaches_peers_that_are_not_connected_with_its_origin(open_peer: Open) -> None:
    ada, ben, carl = open_peer("ada"), open_peer("ben"), open_peer("carl")
    news = [peer.subscribe(TOPIC, accept_all) for peer in (ada, ben, carl)]
    async with started(ada, ben, carl):
        await tune_in(ada, TOPIC, *news[1:])
        await ada.publish(TOPIC, b"bread is baked")
        for channel in news[1:]:
            gossip = await receive(channel)
            assert (gossip.origin, gossip.content) == (ada.peer_id, b"bread is baked")


async def test_the_same_content_comes_once_and_never_to_its_origin(open_peer: Open) -> None:
    ada, ben, carl = open_peer("ada"), open_peer("ben"), open_peer("carl")
    news = [peer.subscribe(TOPIC, accept_all) for peer in (ada, ben, carl)]
    async with started(ada, ben, carl):
        await carl.connect(ada.addresses[0])
        await tune_in(ada, TOPIC, *news[1:])
        for _ in range(3):
            await ada.publish(TOPIC, b"once")
        await carl.publish(TOPIC, b"last")
        heard = {(await receive(news[1])).content for _ in range(2)}
        assert heard == {b"once", b"last"}  # which first, nobody promises
        assert (await receive(news[0])).content == b"last"
        assert b"once" not in drain(news[1])


async def test_what_is_refused_or_fails_its_check_is_neither_received_nor_passed_on(
    open_peer: Open, caplog: pytest.LogCaptureFixture
) -> None:
    ada, ben, carl = open_peer("ada"), open_peer("ben"), open_peer("carl")
    asked: list[PeerId] = []

    def accept(origin: PeerId, content: bytes) -> bool:
        asked.append(origin)
        if content == b"poison":
            raise ValueError("a mistake in a check")
        return content != b"lies"

    bens, carls = ben.subscribe(TOPIC, accept), carl.subscribe(TOPIC, accept_all)
    ada.subscribe(TOPIC, accept_all)
    async with started(ada, ben, carl):
        await tune_in(ada, TOPIC, bens, carls)
        for content in (b"lies", b"poison"):
            await ada.publish(TOPIC, content)
        await ada.publish(TOPIC, b"truth")
        assert (await receive(bens)).content == (await receive(carls)).content == b"truth"
        assert set(asked) == {ada.peer_id}
        await until(lambda: "a mistake in a check" in caplog.text)


async def test_a_message_that_is_too_long_or_comes_too_early_is_refused(open_peer: Open) -> None:
    ada = open_peer("ada")
    with pytest.raises(NetworkError):
        await ada.publish(TOPIC, b"early")
    async with started(ada):
        with pytest.raises(NetworkError, match=str(GOSSIP_BYTES_MAX + 1)):
            await ada.publish(TOPIC, bytes(GOSSIP_BYTES_MAX + 1))
        await ada.publish(TOPIC, bytes(GOSSIP_BYTES_MAX))


# ── rendezvous ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_those_who_know_the_same_point_find_each_other(open_peer: Open) -> None:
    point, ada, ben = open_peer("point"), open_peer("ada"), open_peer("ben")
    ada.handle(ECHO, echo)
    async with trio.open_nursery() as nursery:
        await start(nursery, point, ada)
        assert await ada.find_peers(point.peer_id, "net") == []
        await start(nursery, ben)
        await ben.connect(point.addresses[0])
        assert await ben.find_peers(point.peer_id, "other-net") == []
        assert await ben.find_peers(point.peer_id, "net") == [*ada.addresses]
        assert await ada.find_peers(point.peer_id, "net") == [*ben.addresses]
        messages = MessageStream(await ben.open_stream(ada.peer_id, ECHO))
        await messages.send({"n": 1})
        assert await messages.receive() == {"n": 1}
        nursery.cancel_scope.cancel()
