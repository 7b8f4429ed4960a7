"""The transport socket, implemented on the library's host."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.host.ping import ID as PING
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.stream_muxer.yamux.yamux import YamuxStream
from multiaddr import Multiaddr

from ....errors import NetworkError
from ...budget import BARRED_S, CALLED_MAX, INBOUND_MAX, Barred, ConnectionBudget
from ...dial_limits import DialLimits
from ...scopes import Scope, may_dial, scope_of, scope_of_network
from ...streams import Inbox
from ...transport import GOSSIP_BYTES_MAX, Accept, Gossip, Handler, Path, PeerId, peer_id_from_address
from .calls import CALL_S, Calls
from .gossip import GossipRouter
from .guard import close_connections, close_peer, close_socket_at_end, reset, running, silence_library
from .host import check_is_free, open_host
from .inbound import Door
from .names import ADDRESS_LENGTH_MAX, announced_address, library_address, library_id, listen_address
from .paths import Paths
from .pings import ping_all
from .rendezvous import ADDRESSES_MAX, RendezvousPoint, register_and_discover
from .stream import PumpedStream

HANG_UP_EVERY_S = 5.0
KNOWN_MAX = 1024

log = logging.getLogger(__name__)


def open_transport(
    *,
    identity: bytes,
    listen: tuple[str, ...],
    serve_rendezvous: bool,
    announce: tuple[str, ...] = (),
    bootstrap: tuple[str, ...] = (),
    inbound_max: int = INBOUND_MAX,
) -> "Libp2pTransport":
    """Create a peer on a network; `inbound_max` peers may dial in.

    `announce` are addresses at which others reach it, beside those that it listens on. `bootstrap` are the network's
    bootstrap nodes, which say whether the network is one of the internet, of a LAN or of this machine.

    Raises:
        ConfigError: a listen address is not a TCP address of one interface.
    """
    silence_library()
    return Libp2pTransport(
        open_host(identity, inbound_max),
        listen=tuple(listen_address(text) for text in listen),
        announce=tuple(announced_address(text) for text in announce),
        scope=scope_of_network(bootstrap),
        serve_rendezvous=serve_rendezvous,
        inbound_max=inbound_max,
    )


class Libp2pTransport:
    """One peer on a libp2p network."""

    def __init__(
        self,
        host: BasicHost,
        *,
        listen: tuple[Multiaddr, ...],
        announce: tuple[Multiaddr, ...],
        scope: Scope,
        serve_rendezvous: bool,
        inbound_max: int,
    ) -> None:
        self._host = host
        self._listen = listen
        self._announce = announce
        self._scope = scope
        self._barred = Barred()
        self._budget = ConnectionBudget(connected=self.connected, inbound_max=inbound_max)
        self._dial_limits = DialLimits()
        self._door = Door(self._swarm, self._budget, self._barred, self._dial_limits)
        self._inboxes: dict[str, Inbox] = {}
        self._gossip = GossipRouter(self._host, self._inboxes, self._cut)
        self._calls = Calls()
        self._paths = Paths(self._swarm)
        self._mapped: tuple[str, ...] = ()
        self._withheld: frozenset[str] = frozenset()
        self._known: OrderedDict[PeerId, tuple[str, ...]] = OrderedDict()
        self._dialling: dict[PeerId, trio.Lock] = {}
        self.peer_id = PeerId(str(self._host.get_id()))
        if serve_rendezvous:
            RendezvousPoint(self._host, connected=self.connected, host_of=self._door.host_of)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses for all others: announced ones first, and none that only a part of the network reaches."""
        if not self._calls.nursery:
            return ()
        own = (address for address in self._listening() if (scope_of(address) or Scope.MACHINE) >= self._scope)
        found = dict.fromkeys((*map(str, self._announce), *self._mapped, *own))
        return tuple(f"{address}/p2p/{self.peer_id}" for address in found)

    @property
    def listening(self) -> tuple[str, ...]:
        """Addresses that this node listens on."""
        return tuple(map(str, self._host.get_transport_addrs()))

    @property
    def relays(self) -> tuple[str, ...]:
        """Circuit addresses with a live reservation."""
        return ()

    def set_addresses(self, *, mapped: tuple[str, ...] = (), withheld: frozenset[str] = frozenset()) -> None:
        """Replace what was found out about this node's addresses."""
        self._mapped, self._withheld = mapped, withheld

    def _listening(self) -> list[str]:
        """Addresses that this node listens on, without those that nobody reaches."""
        found = map(str, self._host.get_transport_addrs())
        return [address for address in found if address not in self._withheld]

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol."""

        async def serve(net: INetStream) -> None:
            peer = PeerId(str(net.muxed_conn.peer_id))
            stream = self._pumped(net, peer)
            try:
                await handler(peer, stream)
                await stream.aclose()
            except (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                log.debug("a stream of peer %s ended: %s", peer, error)
                stream.abort()
            except Exception:
                log.exception("a stream of peer %s ended badly", peer)
                stream.abort()
            await stream.done.wait()

        self._host.set_stream_handler(TProtocol(protocol), serve)

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        """Open a stream to a peer that is connected, or whose address is known."""
        await self._reach(peer_id)
        net = await self._calls.ask(
            lambda: self._host.new_stream(library_id(peer_id), [TProtocol(protocol)]),
            f"peer {peer_id} does not speak {protocol}",
            undo=reset,
        )
        return self._pumped(net, None if protocol == PING else peer_id)

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        """Dial one address; two tasks that dial the same peer share one connection."""
        peer_id = peer_id_from_address(address)
        target, dialled = library_id(peer_id), library_address(address)
        if peer_id == self.peer_id:
            raise NetworkError(f"{address} is our own address")
        lock = self._dialling.setdefault(peer_id, trio.Lock())
        try:
            async with lock:
                if peer_id not in self.connected():
                    self._check_dial(address, is_trusted=is_trusted)
                    self._make_room(is_kept=is_kept)
                    self._dial_limits.note(address, has_answered=False)  # until it does, also if we are cancelled

                    async def dial() -> None:
                        """Dial and note it. A caller that is cancelled meanwhile has a connection all the same."""
                        connection = await self._swarm.dial_addr(dialled, target)
                        self._calls.running().start_soon(close_socket_at_end, connection)
                        self._dial_limits.note(address, has_answered=True)
                        self._learn(peer_id, (address,))
                        self._budget.note_dialled(peer_id, is_kept=is_kept)

                    await self._calls.ask(dial, f"nobody answers at {address}")
                else:
                    self._budget.note_dialled(peer_id, is_kept=is_kept)
        finally:
            if not lock.locked():  # no task waits for it
                self._dialling.pop(peer_id, None)
        return peer_id

    def _check_dial(self, address: str, *, is_trusted: bool) -> None:
        """Check that an address that other peers may have made up is one to dial."""
        if is_trusted or self._dial_limits.has_answered(address):
            return
        if not may_dial(address, network=self._scope, own=self._listening()):
            raise NetworkError(f"{address} is not dialled: it is no address that is reached from the whole network")
        self._dial_limits.check(address)

    def _make_room(self, *, is_kept: bool) -> None:
        """Hang up on the call that is idle longest, if all places for calls are taken."""
        has_room, leaver = (True, None) if is_kept else self._budget.room_to_call()
        if not has_room:
            raise NetworkError(f"{CALLED_MAX} peers are being asked at once: try again when one has answered")
        if leaver is not None:
            self._calls.running().start_soon(self._close_peer, leaver)

    def reserve_places(self, is_known: Callable[[PeerId], bool]) -> None:
        """Reserve some of the places for peers that dial in for those that this is true of."""
        self._budget.is_known = is_known

    def connected(self) -> tuple[PeerId, ...]:
        """Peers with an open connection."""
        connections = self._swarm.get_connections_map().items()
        return tuple(PeerId(str(peer)) for peer, found in connections if any(not one.is_closed for one in found))

    def path_to(self, peer_id: PeerId) -> Path | None:
        """The way to a connected peer."""
        return self._paths.path_to(peer_id)

    def seen_host(self, peer_id: PeerId) -> str:
        """The IP address that a peer dialled in from."""
        return self._door.host_of(peer_id)

    async def probe(self, address: str) -> None:
        """Connect, have the peer prove its id, and hang up."""
        target, dialled = library_id(peer_id_from_address(address)), library_address(address)

        async def dial() -> None:
            transport = self._swarm.transport_manager.transport_for_dialing(dialled)
            assert transport is not None
            raw = await transport.dial(dialled)
            try:
                await self._swarm.upgrader.upgrade_security(raw, True, target)
            finally:
                await raw.close()

        await self._calls.ask(dial, f"nobody answers at {address}")

    async def publish(self, topic: str, content: bytes) -> None:
        """Publish by gossip."""
        if self._calls.nursery is None or len(content) > GOSSIP_BYTES_MAX:
            raise NetworkError(f"a message of {len(content)} bytes can't be published here")
        await self._calls.ask(lambda: self._gossip.publish(topic, content), "a message can't be published")

    def subscribe(self, topic: str, accept: Accept) -> "trio.MemoryReceiveChannel[Gossip]":
        """Receive a topic's messages, and pass them on."""
        assert topic not in self._inboxes, f"{topic} is subscribed to already"
        self._inboxes[topic] = Inbox(topic, accept)
        if self._calls.nursery:
            self._calls.nursery.start_soon(self._gossip.subscribe, topic)
        return self._inboxes[topic].receive

    async def find_peers(self, point: PeerId, namespace: str) -> list[str]:
        """Register with a rendezvous point, and ask it for others."""
        await self._reach(point)
        found = await self._calls.ask(
            lambda: register_and_discover(self._host, library_id(point), namespace, self._registered()),
            f"peer {point} serves no rendezvous",
        )
        addresses: list[str] = []
        for peer in found:
            full = tuple(f"{address}/p2p/{peer.peer_id}" for address in peer.addrs[:ADDRESSES_MAX])
            full = tuple(address for address in full if len(address) <= ADDRESS_LENGTH_MAX)
            self._learn(PeerId(str(peer.peer_id)), full)
            addresses.extend(full)
        return addresses

    def _registered(self) -> list[Multiaddr]:
        """The addresses that a rendezvous point is told; it tells each peer those that the peer can reach."""
        return [*self._announce, *map(Multiaddr, (*self._mapped, *self._listening()))]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, dial and gossip.

        Raises:
            NetworkError: it can't listen.
        """
        for address in self._listen:
            check_is_free(address)
        async with running(self._swarm):
            with trio.move_on_after(CALL_S, shield=True):  # if cancelled, the library leaves sockets open
                await self._swarm.listen(*self._listen)
            if is_listening := len(self._swarm.listeners) == len(set(self._listen)):
                await self._take_part(task_status)
        if not is_listening:
            raise NetworkError(f"cannot listen on {' and '.join(map(str, self._listen))}")

    @property
    def _swarm(self) -> Swarm:
        swarm = self._host.get_network()
        assert isinstance(swarm, Swarm)
        return swarm

    async def _take_part(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with self._gossip.running(), trio.open_nursery() as nursery:
                nursery.start_soon(ping_all, self.connected, self.open_stream, self._close_peer)
                nursery.start_soon(self._hang_up_idle)
                self._calls.nursery = nursery
                try:
                    task_status.started()
                    await trio.sleep_forever()
                finally:
                    self._calls.nursery = None  # cleared before it closes, so that later calls get an error
        finally:
            await close_connections(self._swarm)

    def _cut(self, peer_id: PeerId) -> None:
        """Hang up on a peer that floods this node, and refuse its connections for a while."""
        log.warning("peer %s sends too much gossip, so its connection is closed for %.0f s", peer_id, BARRED_S)
        self._barred.bar(peer_id, self._door.host_of(peer_id))
        with suppress(NetworkError):
            self._calls.running().start_soon(self._close_peer, peer_id)

    async def _close_peer(self, peer_id: PeerId) -> None:
        await close_peer(self._swarm, library_id(peer_id))

    def _pumped(self, net: INetStream, user: PeerId | None) -> PumpedStream:
        """A stream with buffers; with a `user`, it counts as use of the connection."""
        assert isinstance(net, NetStream)
        nursery = self._calls.running()

        def note_use() -> None:
            self._budget.note_use(user) if user else None

        stream = PumpedStream(net, is_lost=lambda: _is_lost(net), note_use=note_use)

        async def pump() -> None:
            self._budget.enter_stream(user) if user else None
            try:
                await stream.pump()
            finally:
                self._budget.leave_stream(user) if user else None

        nursery.start_soon(pump)
        return stream

    async def _reach(self, peer_id: PeerId) -> None:
        """Ensure a connection to a peer, by a known address if necessary."""
        if peer_id in self.connected():
            return
        for address in self._known.get(peer_id, ()):
            with suppress(NetworkError):
                await self.connect(address)
                return
        raise NetworkError(f"no peer {peer_id} can be reached")

    def _learn(self, peer_id: PeerId, addresses: tuple[str, ...]) -> None:
        known = (address for address in self._known.get(peer_id, ()) if address not in addresses)
        self._known[peer_id] = (*addresses, *known)[:ADDRESSES_MAX]
        self._known.move_to_end(peer_id)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    async def _hang_up_idle(self) -> None:
        while True:
            await trio.sleep(HANG_UP_EVERY_S)
            for peer_id in self._budget.idle_calls():
                await self._close_peer(peer_id)


def _is_lost(net: NetStream) -> bool:
    """True if the library's end of stream is really a reset, or a lost connection."""
    muxed = net.muxed_stream
    return isinstance(muxed, YamuxStream) and (muxed.reset_received or muxed.conn.event_shutting_down.is_set())
