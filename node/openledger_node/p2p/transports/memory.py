"""A network inside this process: for a guest on this machine, and for whole networks in one test."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import trio

from ...errors import NetworkError
from ..envelopes import GossipVerdict
from ..streams import Inbox
from ..transport import (
    GOSSIP_BYTES_MAX,
    GOSSIP_MEMORY_S,
    Accept,
    Gossip,
    Handler,
    PeerId,
    content_id,
    peer_id_from_address,
)

BUFFERED_WRITES = 64
"""Unread writes before the writer has to wait, in place of a socket's buffers."""

REGISTRATION_S = 120.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MemoryNetwork:
    """The peers of one network."""

    peers: "dict[PeerId, MemoryTransport]" = field(default_factory=dict)


def open_transport(network: MemoryNetwork, peer_id: PeerId, *, serve_rendezvous: bool = True) -> "MemoryTransport":
    """Create a peer; others can reach it once it runs."""
    return MemoryTransport(network, peer_id, serve_rendezvous=serve_rendezvous)


class MemoryTransport:
    """One peer on a memory network."""

    def __init__(self, network: MemoryNetwork, peer_id: PeerId, *, serve_rendezvous: bool = True) -> None:
        self._network = network
        self.peer_id = peer_id
        self._serve_rendezvous = serve_rendezvous
        self._handlers: dict[str, Handler] = {}
        self._nursery: trio.Nursery | None = None
        self._links: dict[PeerId, None] = {}  # in connection order
        self._streams: list[MemoryStream] = []
        self._inboxes: dict[str, Inbox] = {}
        self._seen: dict[bytes, float] = {}  # digest of content → time until which it is remembered
        self._registered: dict[str, dict[PeerId, float]] = {}  # namespace → peer → expiry

    @property
    def addresses(self) -> tuple[str, ...]:
        """The peer id in the form of an address."""
        return (_address(self.peer_id),) if self._nursery else ()

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol."""
        self._handlers[protocol] = handler

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        """Open a stream to a peer of the same network."""
        await trio.lowlevel.checkpoint()
        return self._peer(peer_id).accept(self, protocol)

    def accept(self, caller: "MemoryTransport", protocol: str) -> trio.abc.Stream:
        """Serve one more stream, and return the caller's end of it."""
        handler = self._handlers.get(protocol)
        if handler is None or self._nursery is None:
            raise NetworkError(f"peer {self.peer_id} does not speak {protocol}")
        ours, theirs = _stream_pair()
        self._keep(ours)
        caller._keep(theirs)
        self._link(caller)
        self._nursery.start_soon(_serve, handler, caller.peer_id, ours)
        return theirs

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        """Link with a peer of the same network."""
        await trio.lowlevel.checkpoint()
        peer = self._peer(peer_id_from_address(address))
        if self._nursery is None or peer is self:
            raise NetworkError(f"{address} is no address to connect to from here")
        self._link(peer)
        return peer.peer_id

    def reserve_places(self, is_known: Callable[[PeerId], bool]) -> None:
        """Do nothing: a memory network has places for all."""

    def connected(self) -> tuple[PeerId, ...]:
        """Peers linked with this one."""
        return tuple(self._links)

    def disconnect(self, peer_id: PeerId) -> None:
        """Cut a link, as a network failure between two peers does."""
        self._links.pop(peer_id, None)
        if peer := self._network.peers.get(peer_id):
            peer._links.pop(self.peer_id, None)

    async def publish(self, topic: str, content: bytes) -> None:
        """Send a message along the links, from subscriber to subscriber."""
        await trio.lowlevel.checkpoint()
        if self._nursery is None or len(content) > GOSSIP_BYTES_MAX:
            raise NetworkError(f"a message of {len(content)} bytes can't be published here")
        digest = content_id(topic, self.peer_id.encode(), content)
        if not self._has_seen(digest):
            self._remember(digest)
            self._pass_on(topic, Gossip(self.peer_id, content))

    def subscribe(self, topic: str, accept: Accept) -> "trio.MemoryReceiveChannel[Gossip]":
        """Receive messages that come along the links."""
        assert topic not in self._inboxes, f"{topic} is subscribed to already"
        self._inboxes[topic] = Inbox(topic, accept)
        return self._inboxes[topic].receive

    async def find_peers(self, point: PeerId, namespace: str) -> list[str]:
        """Register with a rendezvous point, and return the other registered peers."""
        await trio.lowlevel.checkpoint()
        peer = self._peer(point)
        if not peer._serve_rendezvous or self._nursery is None:
            raise NetworkError(f"peer {point} serves no rendezvous")
        self._link(peer)
        return peer._register(self.peer_id, namespace)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be reachable for others until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._network.peers[self.peer_id] = self
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._network.peers.pop(self.peer_id, None)
            self._nursery = None
            self._close_all()

    def _peer(self, peer_id: PeerId) -> "MemoryTransport":
        if peer := self._network.peers.get(peer_id):
            return peer
        raise NetworkError(f"no peer {peer_id} is on this network")

    def _link(self, peer: "MemoryTransport") -> None:
        if peer is not self and self._nursery and peer._nursery:
            self._links.setdefault(peer.peer_id)
            peer._links.setdefault(self.peer_id)

    def _keep(self, stream: "MemoryStream") -> None:
        self._streams = [kept for kept in self._streams if not kept.is_closed]
        self._streams.append(stream)

    def _close_all(self) -> None:
        for peer_id in self.connected():
            self.disconnect(peer_id)
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    def _has_seen(self, digest: bytes) -> bool:
        return self._seen.get(digest, -inf) > trio.current_time()

    def _remember(self, digest: bytes) -> None:
        now = trio.current_time()
        self._seen = {known: until for known, until in self._seen.items() if until > now}
        self._seen[digest] = now + GOSSIP_MEMORY_S

    def _pass_on(self, topic: str, gossip: Gossip) -> None:
        for peer in [self._network.peers[peer_id] for peer_id in self._links]:
            peer._receive(topic, gossip)

    def _receive(self, topic: str, gossip: Gossip) -> None:
        inbox, digest = self._inboxes.get(topic), content_id(topic, gossip.origin.encode(), gossip.content)
        if inbox and not self._has_seen(digest):
            self._remember(digest)
            if inbox.judge(gossip.origin, gossip.content) is GossipVerdict.PASS:
                inbox.put(gossip)
                self._pass_on(topic, gossip)

    def _register(self, peer_id: PeerId, namespace: str) -> list[str]:
        now = trio.current_time()
        known = self._registered.get(namespace, {})
        registered = {who: until for who, until in known.items() if until > now and who in self._links}
        self._registered[namespace] = {**registered, peer_id: now + REGISTRATION_S}
        return [_address(who) for who in registered if who != peer_id]


class MemoryStream(trio.abc.Stream):
    """One end of a stream: the other end receives what is sent, in order."""

    def __init__(self, send: "trio.MemorySendChannel[bytes]", receive: "trio.MemoryReceiveChannel[bytes]") -> None:
        self._send = send
        self._receive = receive
        self._rest = b""
        self.is_closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits while the other end is behind."""
        await self._send.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Return immediately: `send_all` waits if it must."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive available bytes, at most `max_bytes`; empty at the end."""
        if not self._rest:
            try:
                self._rest = await self._receive.receive()
            except trio.EndOfChannel:
                return b""
        cut = len(self._rest) if max_bytes is None else max_bytes
        received, self._rest = self._rest[:cut], self._rest[cut:]
        return received

    def close(self) -> None:
        """Close both directions."""
        self.is_closed = True
        self._send.close()
        self._receive.close()

    async def aclose(self) -> None:
        """Close both directions."""
        self.close()
        await trio.lowlevel.checkpoint()


def _address(peer_id: PeerId) -> str:
    return f"/memory/{peer_id}/p2p/{peer_id}"


def _stream_pair() -> tuple[MemoryStream, MemoryStream]:
    there_send, there_receive = trio.open_memory_channel[bytes](BUFFERED_WRITES)
    back_send, back_receive = trio.open_memory_channel[bytes](BUFFERED_WRITES)
    return MemoryStream(there_send, back_receive), MemoryStream(back_send, there_receive)


async def _serve(handler: Handler, caller: PeerId, stream: MemoryStream) -> None:
    """Run a handler and log its exceptions: a peer's misbehaviour must not end the node."""
    try:
        await handler(caller, stream)
    except Exception:
        log.exception("a stream of peer %s ended badly", caller)
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()
