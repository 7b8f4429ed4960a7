"""The socket for transports, which carry bytes between peers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
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

CIRCUIT = "/p2p-circuit/p2p/"
"""Stands between the address of a relay and the peer that is reached over it."""

GOSSIP_BYTES_MAX = 32 * 1024
"""The size limit of one message."""

GOSSIP_WAITING_MAX = 256
"""Messages of a topic that wait to be read. Beyond that the oldest are dropped, because only news matter."""

TOPICS_PER_PEER_MAX = 272
"""Subscriptions of one peer that are remembered: a bootstrap node follows up to 256 topics of advertisements."""

GOSSIP_MEMORY_S = 120.0
"""The time for which content is remembered: in it, content is received once and passed on once."""


@dataclass(frozen=True, slots=True)
class Gossip:
    """A message to all subscribers of a topic; `origin` signed it, whichever peer passed it on."""

    origin: PeerId
    content: bytes


class Path(StrEnum):
    """The way on which new streams to a connected peer go."""

    DIRECT = "direct"
    PUNCHED = "punched"
    """Direct, by a connection that the two peers made after they had met over a relay."""
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A place at a relay: others reach this node over it."""

    address: str
    """A multiaddr of the relay that ends in `/p2p/<relay>/p2p-circuit/p2p/<own id>`."""
    until_s: float
    """The end by trio's clock. It ends before if the connection with the relay does."""


class Transport(Protocol):
    """One peer's connection to a network."""

    @property
    def peer_id(self) -> PeerId:
        """This node's peer id."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Full multiaddresses at which others reach this node, ending in `/p2p/<peer id>`; none before it runs."""

    @property
    def listening(self) -> tuple[str, ...]:
        """Multiaddresses of any scope, without `/p2p/<peer id>`, that this node listens on; none before it runs."""

    @property
    def relays(self) -> tuple[str, ...]:
        """Circuit addresses of this node, one per relay with a live reservation. They are not among `addresses`."""

    def set_addresses(self, *, mapped: tuple[str, ...] = (), withheld: frozenset[str] = frozenset()) -> None:
        """Replace what was found out about this node's addresses while it runs.

        `mapped` are multiaddresses at which others reach it, such as a port of the router. `withheld` are addresses
        that it listens on and that nobody reaches. Both are without `/p2p/<peer id>`.
        """

    async def listen_also(self, address: str) -> None:
        """Listen on one more address, and no more on those that this machine has lost.

        Raises:
            NetworkError: it can't be listened on.
        """

    async def close_lost(self) -> None:
        """Listen no more on addresses that this machine has lost."""

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol from now on; an exception in the handler ends only its stream."""

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        """Open a stream to a peer that is connected, or whose address is known.

        Raises:
            NetworkError: the peer can't be reached, or does not speak the protocol.
        """

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        """Connect to the peer at an address and return its id; an existing connection is used again.

        The address may be one over a relay: `<address of the relay>/p2p-circuit/p2p/<peer id>`. Two peers that meet
        over a relay try to connect directly by themselves.

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

    def path_to(self, peer_id: PeerId) -> Path | None:
        """The way to a connected peer, the best one if there are several; None if it is not connected."""

    def seen_host(self, peer_id: PeerId) -> str:
        """The IP address that a peer dialled in from; empty if this node dialled it, or it came over a relay."""

    async def probe(self, address: str) -> None:
        """Try whether a peer answers at an address: by a new connection, which is hung up once its id is proven.

        Raises:
            NetworkError: nobody answers there in time, or another peer does.
        """

    async def reserve(self, relay: PeerId) -> Reservation:
        """Ask a connected peer for a place at its relay, or for more time there.

        Raises:
            NetworkError: it is not connected, serves no relay, or has no place.
        """

    async def publish(self, topic: str, content: bytes) -> None:
        """Send a message to all subscribers of a topic, without any acknowledgement.

        Raises:
            NetworkError: this node is not on the network, or the message is too long.
        """

    def subscribe(self, topic: str, accept: Accept) -> "trio.MemoryReceiveChannel[Gossip]":
        """Receive other peers' messages on a topic and pass them on; call it once per topic, at any time.

        Messages that `accept` does not pass are neither received nor passed on. Own messages do not come back.
        """

    def unsubscribe(self, topic: str) -> None:
        """Stop receiving a topic and passing it on; its channel ends. A topic that is not subscribed is ignored.

        It may be subscribed again later. Publishing needs no subscription.
        """

    def topics_of_peers(self) -> Mapping[PeerId, frozenset[str]]:
        """The topics that each connected peer has subscribed to, `TOPICS_PER_PEER_MAX` of one peer at most."""

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


def circuit_address(relay: str, peer_id: PeerId) -> str:
    """The address of a peer over a relay, whose own address ends in `/p2p/<relay>`."""
    return f"{relay}{CIRCUIT}{peer_id}"


def relay_of(address: str) -> str:
    """The relay's own address in an address over a relay; empty for a direct one."""
    relay, found, _ = address.rpartition(CIRCUIT)
    return relay if found else ""


def content_id(topic: str, origin: bytes, content: bytes) -> bytes:
    """The id of a gossip message: the same topic, origin and content are the same message.

    The origin counts, or else a copy under another name could shut out the true one. `origin` are the bytes of a peer
    id, whose length is fixed.
    """
    return sha256(topic.encode() + b"\0" + origin + content).digest()
