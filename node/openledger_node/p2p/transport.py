"""The socket for whatever carries bytes between peers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NewType, Protocol

import trio

from ..errors import NetworkError

PeerId = NewType("PeerId", str)

Handler = Callable[[PeerId, trio.abc.Stream], Awaitable[None]]
"""Serves one stream that a peer has opened; the stream is closed when it returns."""

Accept = Callable[[PeerId, bytes], bool]
"""Whether a message of this origin may pass: asked before it is received and before it is passed on. Never waits."""

GOSSIP_BYTES_MAX = 32 * 1024
"""What one message may hold."""

GOSSIP_WAITING_MAX = 256
"""Messages of a topic that wait to be read; one more, and the oldest goes: gossip is about now."""

GOSSIP_MEMORY_S = 120.0
"""For how long the same content is known to be the same: it is received once, and passed on once."""


@dataclass(frozen=True, slots=True)
class Gossip:
    """A message to all on a topic; `origin` has signed it, whoever brought it here."""

    origin: PeerId
    content: bytes


class Transport(Protocol):
    """One peer's place on a network."""

    @property
    def peer_id(self) -> PeerId:
        """Our own."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others reach us: full multiaddresses that end in `/p2p/<peer id>`; none before it runs."""

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol from now on; what a handler raises ends its stream and nothing else."""

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        """Open a stream to a peer that we are connected to, or whose address we have heard of.

        Raises:
            NetworkError: nobody of that name is there, or it does not speak the protocol.
        """

    async def connect(self, address: str) -> PeerId:
        """Connect to the peer at an address, and return its id; one that is connected already is left so.

        Raises:
            NetworkError: nobody answers there in time, or somebody else does.
        """

    def connected(self) -> tuple[PeerId, ...]:
        """Peers that we hold a connection with, whoever opened it."""

    async def publish(self, topic: str, content: bytes) -> None:
        """Send a message to all on a topic; nobody may be there, and nobody says whether it has come.

        Raises:
            NetworkError: we are not on the network, or the message is too long.
        """

    def subscribe(self, topic: str, accept: Accept) -> "trio.MemoryReceiveChannel[Gossip]":
        """Receive what others publish on a topic, and pass it on; once a topic, before or while it runs.

        What `accept` refuses is neither received nor passed on. Our own messages do not come back to us.
        """

    async def find_peers(self, point: PeerId, namespace: str) -> list[str]:
        """Leave our addresses at a rendezvous point, and return the addresses that others left there.

        What we leave is forgotten after two minutes.

        Raises:
            NetworkError: the point is not there, or serves no rendezvous.
        """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be on the network until cancelled."""


def peer_id_from_address(address: str) -> PeerId:
    """The peer that an address promises to lead to.

    Raises:
        NetworkError: it names none.
    """
    _, found, name = address.rpartition("/p2p/")
    if not found or not name or "/" in name:
        raise NetworkError(f"{address[:256]!r} names no peer: an address ends in /p2p/<peer id>")
    return PeerId(name)
