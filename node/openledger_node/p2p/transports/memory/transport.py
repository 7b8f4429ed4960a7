"""A peer of a network inside this process: for a guest on this machine, and for tests."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import trio

from ....errors import NetworkError
from ...scopes import endpoint_of, host_of
from ...transport import (
    Accept,
    Gossip,
    Handler,
    Path,
    PeerId,
    Reservation,
    circuit_address,
    peer_id_from_address,
    relay_of,
)
from .gossip import MemoryGossip
from .network import MemoryNetwork

REGISTRATION_S = 120.0
RESERVATION_S, RESERVATIONS_MAX = 3600.0, 128
PUNCH_S = 0.5
"""Time from a meeting over a relay to a direct connection, where both routers let one through."""

BUFFERED_WRITES = 64
"""Unread writes of a stream before its writer has to wait, in place of a socket's buffers."""

STREAMS_KEPT = 16
"""With more streams, those that have ended are forgotten."""

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Link:
    """A connection between two peers, as one of them sees it."""

    path: Path = Path.DIRECT
    relay: PeerId | None = None
    """The relay that a relayed link needs."""
    seen_host: str = ""
    """The IP address of a peer that dialled in."""


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


def stream_pair() -> tuple[MemoryStream, MemoryStream]:
    """Both ends of a stream."""
    there_send, there_receive = trio.open_memory_channel[bytes](BUFFERED_WRITES)
    back_send, back_receive = trio.open_memory_channel[bytes](BUFFERED_WRITES)
    return MemoryStream(there_send, back_receive), MemoryStream(back_send, there_receive)


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
        self.passes_on = True  # False: this relay gives places and passes nothing on
        self._mapped: tuple[str, ...] = ()
        self._withheld: frozenset[str] = frozenset()
        self._handlers: dict[str, Handler] = {}
        self._nursery: trio.Nursery | None = None
        self._links: dict[PeerId, Link] = {}  # in connection order
        self._reserved_s: dict[PeerId, float] = {}  # peers with a place at this relay → the end of it
        self._relays: dict[PeerId, Reservation] = {}  # places of this peer
        self._known: dict[PeerId, tuple[str, ...]] = {}  # addresses heard from a rendezvous
        self._streams: list[tuple[PeerId, MemoryStream]] = []
        self._registered: dict[str, dict[PeerId, float]] = {}  # namespace → peer → expiry
        self.gossip = MemoryGossip(network, peer_id, self._links.keys)

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

    async def listen_also(self, address: str) -> None:
        """Listen on one more address."""
        await trio.lowlevel.checkpoint()
        self.listening += (address,)
        if not self._is_home:
            self._network.open_at[address] = self.peer_id

    async def close_lost(self) -> None:
        """A peer of this network loses no address."""
        await trio.lowlevel.checkpoint()

    def set_addresses(self, *, mapped: tuple[str, ...] = (), withheld: frozenset[str] = frozenset()) -> None:
        """Replace what was found out about this peer's addresses."""
        self._mapped, self._withheld = mapped, withheld

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol."""
        self._handlers[protocol] = handler

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        """Open a stream to a peer of the same network."""
        await self._reach(peer_id)
        return self._peer(peer_id).accept(self, protocol)

    def accept(self, caller: "MemoryTransport", protocol: str) -> trio.abc.Stream:
        """Serve one more stream, and return the caller's end of it."""
        handler = self._handlers.get(protocol)
        if handler is None or self._nursery is None:
            raise NetworkError(f"peer {self.peer_id} does not speak {protocol}")
        ours, theirs = stream_pair()
        self._keep(caller.peer_id, ours)
        caller._keep(self.peer_id, theirs)
        self._nursery.start_soon(_serve, handler, caller.peer_id, ours)
        return theirs

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        """Link with a peer of the same network, directly or over a relay."""
        peer_id = peer_id_from_address(address)
        if peer_id in self._links:
            await trio.lowlevel.checkpoint()
            return peer_id
        if self._nursery is None or peer_id == self.peer_id:
            raise NetworkError(f"{address} is no address to connect to from here")
        if relay := relay_of(address):
            await self._connect_over(await self.connect(relay), peer_id)
        else:
            await self.probe(address)
            self._link(self._peer(peer_id))
        return peer_id

    async def _connect_over(self, relay: PeerId, peer_id: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        peer = self._peer(peer_id)
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
        if not self._answers(address, peer_id_from_address(address)):
            raise NetworkError(f"nobody answers at {address}")

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
        if not peer.passes_on:
            self._relays.pop(relay, None)
            raise NetworkError(f"relay {relay} opens circuits and passes nothing on")
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
        """A peer of this network has places for all."""

    def connected(self) -> tuple[PeerId, ...]:
        """Peers linked with this one."""
        return tuple(self._links)

    def disconnect(self, peer_id: PeerId) -> None:
        """Cut a link, as a network failure between two peers does, and the links that it carried."""
        self._unlink(peer_id)
        if peer := self._network.peers.get(peer_id):
            peer._unlink(self.peer_id)
            for one, relay in ((self, peer_id), (peer, self.peer_id)):
                for other in [who for who, link in one._links.items() if link.relay == relay]:
                    one.disconnect(other)
                    one._end_streams(other)

    def cut(self, peer_id: PeerId) -> None:
        """Cut a link, and end its streams at both sides."""
        peer = self._network.peers.get(peer_id)
        self.disconnect(peer_id)
        self._end_streams(peer_id)
        if peer:
            peer._end_streams(self.peer_id)

    async def publish(self, topic: str, content: bytes) -> None:
        """Send a message along the links, from subscriber to subscriber."""
        await trio.lowlevel.checkpoint()
        if self._nursery is None:
            raise NetworkError("a peer that is not on its network can't publish")
        self.gossip.publish(topic, content)

    def subscribe(self, topic: str, accept: Accept) -> "trio.MemoryReceiveChannel[Gossip]":
        """Receive messages that come along the links."""
        return self.gossip.subscribe(topic, accept)

    def unsubscribe(self, topic: str) -> None:
        """Receive no more messages of a topic."""
        self.gossip.unsubscribe(topic)

    def topics_of_peers(self) -> Mapping[PeerId, frozenset[str]]:
        """The topics of each linked peer."""
        return {peer_id: frozenset(self._network.peers[peer_id].gossip.topics) for peer_id in self._links}

    async def find_peers(self, point: PeerId, namespace: str) -> list[str]:
        """Register with a rendezvous point, and return the other registered peers."""
        await trio.lowlevel.checkpoint()
        if not self._peer(point)._serve_rendezvous or self._nursery is None:
            raise NetworkError(f"peer {point} serves no rendezvous")
        await self._reach(point)
        found = self._peer(point)._register(self.peer_id, namespace)
        known: dict[PeerId, tuple[str, ...]] = {}
        for address in found:
            who = peer_id_from_address(address)
            known[who] = (*known.get(who, ()), address)
        self._known.update(known)
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
        await trio.lowlevel.checkpoint()
        if peer_id == self.peer_id or peer_id in self._links:
            return None
        if not self._peer(peer_id)._is_home:
            return self._link(self._peer(peer_id))
        for address in self._known.get(peer_id, ()):
            with suppress(NetworkError):
                await self.connect(address)
                return None
        raise NetworkError(f"no peer {peer_id} can be reached")

    def _answers(self, address: str, peer_id: PeerId) -> bool:
        """True if a peer can be dialled at an address."""
        peer = self._network.peers.get(peer_id)
        if peer is None or relay_of(address):
            return False
        return self._network.open_at.get(endpoint_of(address)) == peer_id if host_of(address) else not peer._is_home

    def _has_place(self, relay: PeerId) -> bool:
        """True if this peer is reached over a relay."""
        place = self._relays.get(relay)
        return place is not None and place.until_s > trio.current_time() and relay in self._links

    def _link(self, peer: "MemoryTransport", path: Path = Path.DIRECT, relay: PeerId | None = None) -> None:
        if peer is self or not self._nursery or not peer._nursery or peer.peer_id in self._links:
            return
        self._links[peer.peer_id] = Link(path=path, relay=relay)
        peer._links[self.peer_id] = Link(path=path, relay=relay, seen_host="" if relay else self._host)

    def _unlink(self, peer_id: PeerId) -> None:
        self._links.pop(peer_id, None)

    def _keep(self, peer_id: PeerId, stream: MemoryStream) -> None:
        """Keep a stream until it ends."""
        if len(self._streams) >= STREAMS_KEPT:
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

    def _register(self, peer_id: PeerId, namespace: str) -> list[str]:
        now = trio.current_time()
        known = self._registered.get(namespace, {})
        registered = {who: until for who, until in known.items() if until > now and who in self._links}
        self._registered[namespace] = {**registered, peer_id: now + REGISTRATION_S}
        others = [self._network.peers[who] for who in registered if who != peer_id]
        return [address for peer in others for address in (*peer.addresses, *peer.relays)]


async def _serve(handler: Handler, caller: PeerId, stream: MemoryStream) -> None:
    """Run a handler and log its exceptions: a peer's misbehaviour must not end the node."""
    try:
        await handler(caller, stream)
    except Exception:
        log.exception("a stream of peer %s ended badly", caller)
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()
