"""A network inside this process: for a guest on this machine, and for whole networks in one test."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any

import trio

from ...errors import NetworkError
from ..envelopes import GossipVerdict
from ..scopes import endpoint_of, host_of
from ..streams import Inbox
from ..transport import (
    GOSSIP_BYTES_MAX,
    GOSSIP_MEMORY_S,
    Accept,
    Gossip,
    Handler,
    Path,
    PeerId,
    Reservation,
    circuit_address,
    content_id,
    peer_id_from_address,
    relay_of,
)

BUFFERED_WRITES = 64
"""Unread writes before the writer has to wait, in place of a socket's buffers."""

REGISTRATION_S = 120.0
RESERVATION_S, RESERVATIONS_MAX = 3600.0, 128
PUNCH_S = 0.5
"""Time from a meeting over a relay to a direct connection, where both routers let one through."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MemoryNetwork:
    """The peers of one network, and the IP endpoints at which they answer."""

    peers: "dict[PeerId, MemoryTransport]" = field(default_factory=dict)
    open_at: dict[str, PeerId] = field(default_factory=dict)
    """`/ip4/…/tcp/…` → the peer that answers there. An entry for a home is a port that its router forwards."""


@dataclass(slots=True, kw_only=True)
class Link:
    """A connection between two peers, as one of them sees it."""

    path: Path = Path.DIRECT
    relay: PeerId | None = None
    """The relay that a relayed link needs."""
    seen_host: str = ""
    """The IP address of a peer that dialled in."""


def open_transport(network: MemoryNetwork, peer_id: PeerId, **options: Any) -> "MemoryTransport":
    """Create a peer; others can reach it once it runs. The options are those of `MemoryTransport`."""
    return MemoryTransport(network, peer_id, **options)


class MemoryTransport:
    """One peer on a memory network.

    `listen` are IP addresses, for what depends on them; without any, a peer that is no home has an address of this
    network's own. Nobody can dial a home, except at a port in `MemoryNetwork.open_at`. Two peers that meet over a
    relay get a direct connection if each is no home or has a router that can be punched.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        peer_id: PeerId,
        *,
        serve_rendezvous: bool = True,
        serve_relay: bool = False,
        listen: tuple[str, ...] = (),
        host: str = "",
        is_home: bool = False,
        can_be_punched: bool = False,
    ) -> None:
        self._network = network
        self.peer_id = peer_id
        self._serve_rendezvous = serve_rendezvous
        self._serve_relay = serve_relay
        self.listening = listen
        self._host = host or (host_of(listen[0]) if listen else "") or ""  # the IP address that others see
        self._is_home = is_home
        self._can_be_punched = can_be_punched or not is_home
        self.reservations_max = RESERVATIONS_MAX
        self._mapped: tuple[str, ...] = ()
        self._withheld: frozenset[str] = frozenset()
        self._handlers: dict[str, Handler] = {}
        self._nursery: trio.Nursery | None = None
        self._links: dict[PeerId, Link] = {}  # in connection order
        self._reserved_s: dict[PeerId, float] = {}  # peers with a place at this relay → the end of it
        self._relays: dict[PeerId, Reservation] = {}  # places of this peer
        self._known: dict[PeerId, tuple[str, ...]] = {}  # addresses heard from a rendezvous
        self._streams: list[tuple[PeerId, MemoryStream]] = []
        self._inboxes: dict[str, Inbox] = {}
        self._seen: dict[bytes, float] = {}  # digest of content → time until which it is remembered
        self._registered: dict[str, dict[PeerId, float]] = {}  # namespace → peer → expiry

    @property
    def addresses(self) -> tuple[str, ...]:
        """The peer id in the form of an address, or the IP addresses."""
        if not self._nursery:
            return ()
        listen = self.listening or (() if self._is_home else (f"/memory/{self.peer_id}",))
        own = [each for each in listen if each not in self._withheld]
        return tuple(dict.fromkeys(f"{each}/p2p/{self.peer_id}" for each in (*self._mapped, *own)))

    @property
    def relays(self) -> tuple[str, ...]:
        """Circuit addresses; a place ends with the link to its relay."""
        return tuple(place.address for relay, place in self._relays.items() if self._has_place(relay))

    def set_addresses(self, *, mapped: tuple[str, ...] = (), withheld: frozenset[str] = frozenset()) -> None:
        """Replace what was found out about this peer's addresses."""
        self._mapped, self._withheld = mapped, withheld

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol."""
        self._handlers[protocol] = handler

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        """Open a stream to a peer of the same network."""
        await trio.lowlevel.checkpoint()
        await self._reach(peer_id)
        return self._peer(peer_id).accept(self, protocol)

    def accept(self, caller: "MemoryTransport", protocol: str) -> trio.abc.Stream:
        """Serve one more stream, and return the caller's end of it."""
        handler = self._handlers.get(protocol)
        if handler is None or self._nursery is None:
            raise NetworkError(f"peer {self.peer_id} does not speak {protocol}")
        ours, theirs = _stream_pair()
        self._keep(caller.peer_id, ours)
        caller._keep(self.peer_id, theirs)
        self._nursery.start_soon(_serve, handler, caller.peer_id, ours)
        return theirs

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        """Link with a peer of the same network, directly or over a relay."""
        await trio.lowlevel.checkpoint()
        peer = self._peer(peer_id_from_address(address))
        if self._nursery is None or peer is self:
            raise NetworkError(f"{address} is no address to connect to from here")
        if peer.peer_id in self._links:
            return peer.peer_id
        if relay := relay_of(address):
            await self._connect_over(await self.connect(relay), peer)
        else:
            self._check_answers(address, peer)
            self._link(peer)
        return peer.peer_id

    async def _connect_over(self, relay: PeerId, peer: "MemoryTransport") -> None:
        if not peer._has_place(relay):
            raise NetworkError(f"peer {peer.peer_id} has no place at relay {relay}")
        self._link(peer, Path.RELAYED, relay)
        if self._can_be_punched and peer._can_be_punched and self._nursery:
            self._nursery.start_soon(self._punch, peer)

    async def _punch(self, peer: "MemoryTransport") -> None:
        await trio.sleep(PUNCH_S)
        if self.path_to(peer.peer_id) is Path.RELAYED:
            self._links[peer.peer_id] = peer._links[self.peer_id] = Link(path=Path.PUNCHED)

    async def probe(self, address: str) -> None:
        """Check that a peer answers at an address."""
        await trio.lowlevel.checkpoint()
        self._check_answers(address, self._peer(peer_id_from_address(address)))

    async def reserve(self, relay: PeerId) -> Reservation:
        """Ask a linked peer for a place at its relay."""
        await trio.lowlevel.checkpoint()
        if relay not in self._links:
            raise NetworkError(f"peer {relay} is not connected")
        peer, now = self._peer(relay), trio.current_time()
        if not peer._serve_relay or self._links[relay].path is Path.RELAYED:
            raise NetworkError(f"peer {relay} serves no relay")
        held = {who: end_s for who, end_s in peer._reserved_s.items() if end_s > now and who in peer._links}
        if self.peer_id not in held and len(held) >= peer.reservations_max:
            raise NetworkError(f"relay {relay} has no place")
        peer._reserved_s = {**held, self.peer_id: now + RESERVATION_S}
        address = circuit_address(peer.addresses[0], self.peer_id)
        self._relays[relay] = Reservation(address=address, until_s=now + RESERVATION_S)
        return self._relays[relay]

    def path_to(self, peer_id: PeerId) -> Path | None:
        """The path of the link with a peer."""
        link = self._links.get(peer_id)
        return link.path if link else None

    def seen_host(self, peer_id: PeerId) -> str:
        """The IP address of a peer that dialled in."""
        link = self._links.get(peer_id)
        return link.seen_host if link else ""

    def reserve_places(self, is_known: Callable[[PeerId], bool]) -> None:
        """Do nothing: a memory network has places for all."""

    def connected(self) -> tuple[PeerId, ...]:
        """Peers linked with this one."""
        return tuple(self._links)

    def disconnect(self, peer_id: PeerId) -> None:
        """Cut a link, as a network failure between two peers does, and the links that it carried."""
        self._links.pop(peer_id, None)
        if peer := self._network.peers.get(peer_id):
            peer._links.pop(self.peer_id, None)
            for one, relay in ((self, peer_id), (peer, self.peer_id)):
                for other in [who for who, link in one._links.items() if link.relay == relay]:
                    one.disconnect(other)
                    one._end_streams(other)

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
        await self._reach(point)
        found = peer._register(self.peer_id, namespace)
        for who in map(peer_id_from_address, found):
            self._known[who] = tuple(each for each in found if peer_id_from_address(each) == who)
        return found

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be reachable for others until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._network.peers[self.peer_id] = self
                if not self._is_home:
                    self._network.open_at.update(dict.fromkeys(self.listening, self.peer_id))
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

    async def _reach(self, peer_id: PeerId) -> None:
        """Ensure a link with a peer, by a known address if one is needed."""
        peer = self._peer(peer_id)
        if peer is self or peer_id in self._links:
            return None
        if not peer._is_home:
            return self._link(peer)
        for address in self._known.get(peer_id, ()):
            with suppress(NetworkError):
                await self.connect(address)
                return None
        raise NetworkError(f"no peer {peer_id} can be reached")

    def _check_answers(self, address: str, peer: "MemoryTransport") -> None:
        """Check that a peer can be dialled at an address."""
        endpoint = endpoint_of(address)
        is_there = self._network.open_at.get(endpoint) == peer.peer_id if host_of(address) else not peer._is_home
        if not is_there or relay_of(address):
            raise NetworkError(f"nobody answers at {address}")

    def _has_place(self, relay: PeerId) -> bool:
        """True if this peer is reached over a relay."""
        place = self._relays.get(relay)
        return place is not None and place.until_s > trio.current_time() and relay in self._links

    def _link(self, peer: "MemoryTransport", path: Path = Path.DIRECT, relay: PeerId | None = None) -> None:
        if peer is not self and self._nursery and peer._nursery:
            self._links.setdefault(peer.peer_id, Link(path=path, relay=relay))
            host = "" if relay else self._host
            peer._links.setdefault(self.peer_id, Link(path=path, relay=relay, seen_host=host))

    def _keep(self, peer_id: PeerId, stream: "MemoryStream") -> None:
        self._streams = [(who, kept) for who, kept in self._streams if not kept.is_closed]
        self._streams.append((peer_id, stream))

    def _end_streams(self, peer_id: PeerId) -> None:
        for who, stream in self._streams:
            if who == peer_id:
                stream.close()

    def _close_all(self) -> None:
        for peer_id in self.connected():
            self.disconnect(peer_id)
        for _, stream in self._streams:
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
        others = [self._network.peers[who] for who in registered if who != peer_id]
        return [address for peer in others for address in (*peer.addresses, *peer.relays)]


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
