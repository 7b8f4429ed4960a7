"""The socket for transports, which carry bytes between peers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import NewType, Protocol

import trio

from ..errors import NetworkError
from .envelopes import GossipVerdict

PeerId = NewType("PeerId", str)

Handler = Callable[[PeerId, trio.abc.Stream], Awaitable[None]]
"""Serves one stream that a peer opened; the stream is closed when it returns."""

Accept = Callable[[PeerId, bytes], bool | GossipVerdict]
"""Judges a message of this origin before it is received and passed on. It never waits.

True passes it. False drops it: the forwarder is marked only if the envelope is wrong (`judge_envelope`).
"""

GOSSIP_BYTES_MAX = 32 * 1024
"""The size limit of one message."""

GOSSIP_WAITING_MAX = 256
"""Messages of a topic that wait to be read. Beyond that the oldest are dropped, because only news matter."""

GOSSIP_MEMORY_S = 120.0
"""The time for which content is remembered: in it, content is received once and passed on once."""


@dataclass(frozen=True, slots=True)
class Gossip:
    """A message to all subscribers of a topic; `origin` signed it, whichever peer passed it on."""

    origin: PeerId
    content: bytes


class Transport(Protocol):
    """One peer's connection to a network."""

    @property
    def peer_id(self) -> PeerId:
        """This node's peer id."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Full multiaddresses at which others reach this node, ending in `/p2p/<peer id>`; none before it runs."""

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol from now on; an exception in the handler ends only its stream."""

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        """Open a stream to a peer that is connected, or whose address is known.

        Raises:
            NetworkError: the peer can't be reached, or does not speak the protocol.
        """

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        """Connect to the peer at an address and return its id; an existing connection is used again.

        Unless `is_kept`, the connection is for a call: it is hung up when it is idle, or when others need its place.
        An address that is not trusted may be made up: it is dialled seldom until somebody answers there, and not at
        all if it belongs to a LAN or a machine and the network does not.

        Raises:
            NetworkError: no peer answers there in time, or another one does; it is not an address to dial now; or too
                many calls are open.
        """

    def reserve_places(self, is_known: Callable[[PeerId], bool]) -> None:
        """Reserve some of the places for peers that dial in for those that this is true of."""

    def connected(self) -> tuple[PeerId, ...]:
        """Connected peers, whichever side dialled."""

    async def publish(self, topic: str, content: bytes) -> None:
        """Send a message to all subscribers of a topic, without any acknowledgement.

        Raises:
            NetworkError: this node is not on the network, or the message is too long.
        """

    def subscribe(self, topic: str, accept: Accept) -> "trio.MemoryReceiveChannel[Gossip]":
        """Receive other peers' messages on a topic and pass them on; call it once per topic, at any time.

        Messages that `accept` does not pass are neither received nor passed on. Own messages do not come back.
        """

    async def find_peers(self, point: PeerId, namespace: str) -> list[str]:
        """Register this node's addresses at a rendezvous point, and return those that others registered.

        A node that has no addresses only asks. A registration is forgotten after two minutes, and when the connection
        ends.

        Raises:
            NetworkError: the point can't be reached, or serves no rendezvous.
        """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in the network until cancelled."""


def peer_id_from_address(address: str) -> PeerId:
    """The peer id at the end of an address.

    Raises:
        NetworkError: the address names no peer.
    """
    _, found, name = address.rpartition("/p2p/")
    if not found or not name or "/" in name:
        raise NetworkError(f"{address[:256]!r} names no peer: an address ends in /p2p/<peer id>")
    return PeerId(name)


def content_id(topic: str, origin: bytes, content: bytes) -> bytes:
    """The id of a gossip message: the same topic, origin and content are the same message.

    The origin counts, or else a copy under another name could shut out the true one. `origin` are the bytes of a peer
    id, whose length is fixed.
    """
    return sha256(topic.encode() + b"\0" + origin + content).digest()
