"""Peers of a network, by any plug of the transport, and what tests wait for."""

import hashlib
from collections.abc import Callable
from itertools import count
from typing import Protocol

import trio

from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Gossip, PeerId, Transport
from openledger_node.p2p.transports.memory import MemoryNetwork
from openledger_node.plugs import load_plug

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
DEADLINE_S = 10.0
POLL_S = 0.02


class Open(Protocol):
    """Opens peers of one network; the same name is the same peer. Nobody can dial a home."""

    def __call__(
        self, name: str, *, serve_rendezvous: bool = True, serve_relay: bool = False, is_home: bool = False
    ) -> Transport: ...


def seed(name: str) -> bytes:
    """The identity of a peer of this name."""
    return hashlib.sha256(name.encode()).digest()


def opener(plug: str) -> Open:
    """Peers of a network of their own, by one plug."""
    factory, network = load_plug("transport", plug), MemoryNetwork()

    def open_in_memory(name: str, *, is_home: bool = False, **services: bool) -> Transport:
        return factory(network, PeerId(name), is_home=is_home, **services)

    def open_on_loopback(
        name: str, *, is_home: bool = False, serve_rendezvous: bool = True, **services: bool
    ) -> Transport:
        listen = () if is_home else LOOPBACK
        return factory(identity=seed(name), listen=listen, serve_rendezvous=serve_rendezvous, **services)

    return {"memory": open_in_memory, "libp2p": open_on_loopback}[plug]


async def start(nursery: trio.Nursery, *peers: Transport) -> None:
    """Put peers on the network, each connected with the one before."""
    for peer in peers:
        await nursery.start(peer.run)
    for peer, before in zip(peers[1:], peers, strict=False):
        await peer.connect(before.addresses[0])


async def echo(_: PeerId, stream: trio.abc.Stream) -> None:
    """Send each message back."""
    messages = MessageStream(stream)
    while True:
        await messages.send(await messages.receive())


async def say_nothing(*_: object) -> None:
    """Take a stream, and neither read nor write."""
    await trio.sleep_forever()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that nobody announces."""
    with trio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await trio.sleep(POLL_S)


async def tune_in(publisher: Transport, topic: str, *channels: "trio.MemoryReceiveChannel[Gossip]") -> None:
    """Publish until each channel has heard of it, and forget what was published."""
    with trio.fail_after(DEADLINE_S):
        waiting = list(channels)
        for number in count():
            await publisher.publish(topic, b"tuning %d" % number)
            await trio.sleep(POLL_S)
            waiting = [channel for channel in waiting if not drain(channel)]
            if not waiting:
                break
    await trio.sleep(POLL_S)
    for channel in channels:
        drain(channel)


def drain(channel: "trio.MemoryReceiveChannel[Gossip]") -> list[bytes]:
    """What has come."""
    contents = []
    while True:
        try:
            contents.append(channel.receive_nowait().content)
        except trio.WouldBlock:
            return contents


async def receive(channel: "trio.MemoryReceiveChannel[Gossip]") -> Gossip:
    """The next that comes, leaving out what `tune_in` left on its way."""
    with trio.fail_after(DEADLINE_S):
        while (gossip := await channel.receive()).content.startswith(b"tuning "):
            pass
    return gossip
