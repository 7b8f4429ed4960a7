"""What every transport must do for peers that nobody can dial, run over every plug."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from support.peers import Open, echo, opener, receive, tune_in, until

from openledger_node.errors import NetworkError
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Path, PeerId, Transport, circuit_address, relay_of
from openledger_node.plugs import plug_names

ECHO = "/openledger/test/echo/1"
TOPIC = "/openledger/test/news/1"
NAMESPACE = "test-net"


@pytest.fixture(params=plug_names("transport"))
def open_peer(request: pytest.FixtureRequest) -> Open:
    """Peers of one network of their own."""
    return opener(request.param)


@asynccontextmanager
async def homes(open_peer: Open) -> AsyncIterator[tuple[Transport, Transport, Transport, trio.CancelScope]]:
    """A relay, and two homes that are connected with it; the scope ends the relay."""
    relay = open_peer("relay", serve_relay=True)
    ada, ben = open_peer("ada", is_home=True), open_peer("ben", is_home=True)
    ben.handle(ECHO, echo)
    scope = trio.CancelScope()

    async def run_relay(*, task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await relay.run(task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run_relay)
        for home in (ada, ben):
            await nursery.start(home.run)
            await home.connect(relay.addresses[0])
        yield relay, ada, ben, scope
        nursery.cancel_scope.cancel()


async def test_two_homes_speak_over_a_relay(open_peer: Open) -> None:
    async with homes(open_peer) as (relay, ada, ben, _):
        place = await ben.reserve(relay.peer_id)
        assert place.until_s > trio.current_time()
        assert ben.relays == (place.address,) == (circuit_address(relay_of(place.address), ben.peer_id),)
        assert await ada.connect(place.address) == ben.peer_id
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        for number in range(20):
            await messages.send({"n": number, "text": "x" * 5000})
            assert (await messages.receive())["n"] == number
        assert (ada.path_to(ben.peer_id), ben.path_to(ada.peer_id)) == (Path.RELAYED, Path.RELAYED)
        assert (ada.path_to(relay.peer_id), ada.path_to(PeerId("nobody"))) == (Path.DIRECT, None)
        assert (ada.seen_host(ben.peer_id), ben.seen_host(ada.peer_id)) == ("", "")


async def test_gossip_passes_over_a_relay_that_does_not_take_part(open_peer: Open) -> None:
    async with homes(open_peer) as (relay, ada, ben, _):
        ada.subscribe(TOPIC, lambda _, content: True)
        heard = ben.subscribe(TOPIC, lambda _, content: True)
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        await tune_in(ada, TOPIC, heard)
        await ada.publish(TOPIC, b"news")
        assert (await receive(heard)).content == b"news"


async def test_the_loss_of_a_relay_is_seen_at_once(open_peer: Open) -> None:
    async with homes(open_peer) as (relay, ada, ben, scope):
        place = await ben.reserve(relay.peer_id)
        await ada.connect(place.address)
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        await messages.send({"n": 1})
        await messages.receive()
        scope.cancel()
        with trio.fail_after(3):
            await until(lambda: not ben.relays and not ada.path_to(ben.peer_id) and not ben.path_to(ada.peer_id))
            with pytest.raises(NetworkError):
                await messages.receive()
        with pytest.raises(NetworkError):
            await ada.connect(place.address)


async def test_a_peer_that_serves_no_relay_or_is_not_connected_gives_no_place(open_peer: Open) -> None:
    async with homes(open_peer) as (relay, ada, ben, _):
        with pytest.raises(NetworkError):
            await ada.connect(circuit_address(relay.addresses[0], ben.peer_id))
        assert ada.path_to(ben.peer_id) is None, "without a place it is not reached over the relay"
        plain = open_peer("plain")
        async with trio.open_nursery() as nursery:
            await nursery.start(plain.run)
            with pytest.raises(NetworkError):
                await ada.reserve(plain.peer_id)
            await ada.connect(plain.addresses[0])
            with pytest.raises(NetworkError, match="serves no relay"):
                await ada.reserve(plain.peer_id)
            nursery.cancel_scope.cancel()
        await ada.connect((await ben.reserve(relay.peer_id)).address)
        with pytest.raises(NetworkError):
            await ada.reserve(ben.peer_id)


async def test_a_rendezvous_point_tells_of_homes_by_their_relays(open_peer: Open) -> None:
    async with homes(open_peer) as (relay, ada, ben, _):
        place = await ben.reserve(relay.peer_id)
        await ben.find_peers(relay.peer_id, NAMESPACE)
        assert await ada.find_peers(relay.peer_id, NAMESPACE) == [place.address]
        messages = MessageStream(await ada.open_stream(ben.peer_id, ECHO))
        await messages.send({"n": 1})
        assert await messages.receive() == {"n": 1}


async def test_a_probe_finds_who_answers_at_an_address(open_peer: Open) -> None:
    async with homes(open_peer) as (relay, _, ben, _):
        plain = open_peer("plain")
        async with trio.open_nursery() as nursery:
            await nursery.start(plain.run)
            address = plain.addresses[0]
            await relay.probe(address)
            await relay.probe(address)
            assert plain.peer_id not in relay.connected()
            with pytest.raises(NetworkError):
                await relay.probe(address.replace(plain.peer_id, ben.peer_id))
            nursery.cancel_scope.cancel()
        with pytest.raises(NetworkError):
            await relay.probe(address)


async def test_addresses_found_at_run_time_are_told_and_withheld(open_peer: Open) -> None:
    async with homes(open_peer) as (relay, _, ben, _):
        mapped = "/ip4/8.1.2.3/tcp/4001"
        own = relay.addresses[0].removesuffix(f"/p2p/{relay.peer_id}")
        relay.set_addresses(mapped=(mapped,), withheld=frozenset({own}))
        assert relay.addresses == (f"{mapped}/p2p/{relay.peer_id}",)
        relay.set_addresses()
        assert relay.addresses == (f"{own}/p2p/{relay.peer_id}",)
        ben.set_addresses(mapped=(mapped,))
        assert ben.addresses == (f"{mapped}/p2p/{ben.peer_id}",)
