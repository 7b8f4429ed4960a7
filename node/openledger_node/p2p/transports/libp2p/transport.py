"""The transport socket, implemented on the library's host."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from weakref import WeakValueDictionary

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from multiaddr import Multiaddr

from ....beats import sleep_to_beat
from ....errors import NetworkError
from ...budget import BARRED_S, INBOUND_MAX, Barred, ConnectionBudget
from ...dial_limits import DialLimits
from ...publishers import RecentPublishers
from ...relay_places import RelayPlaces
from ...scopes import Scope, scope_of_network
from ...streams import Inbox
from ...tally import Level, Reason, TrafficTally
from ...transport import (
    GOSSIP_BYTES_MAX,
    Accept,
    Gossip,
    Handler,
    Path,
    PeerId,
    Reservation,
)
from ...unread import UnreadBytes
from .addresses import OwnAddresses, close_lost, listen_also
from .calls import CALL_S, Calls
from .dialling import Dialer, prove
from .gossip import GossipRouter
from .guard import close_connections, close_peer, close_quietly, reset, running, silence_library
from .host import check_is_free, open_host
from .inbound import Door
from .names import ADDRESS_LENGTH_MAX, announced_address, library_id, listen_address
from .paths import Paths
from .punch import Puncher
from .relay_client import RelayClient
from .relay_service import RELAY_BYTES_PER_S, open_relay
from .rendezvous import ADDRESSES_MAX, RendezvousPoint, register_and_discover
from .stream import PumpedStream, is_lost

HANG_UP_EVERY_S = 5.0

log = logging.getLogger(__name__)


def open_transport(
    *,
    identity: bytes,
    listen: tuple[str, ...],
    serve_rendezvous: bool,
    announce: tuple[str, ...] = (),
    bootstrap: tuple[str, ...] = (),
    inbound_max: int = INBOUND_MAX,
    serve_relay: bool = False,
    relay_bytes_per_s: int = RELAY_BYTES_PER_S,
    is_bootstrap: bool = False,
    tally: TrafficTally | None = None,
) -> "Libp2pTransport":
    """Create a peer on a network; `inbound_max` peers may dial in, and with `serve_relay` they reach others over it.

    A bootstrap node lets in few unknown peers of one neighbourhood at a time, and spares those that advertise.

    `announce` are addresses at which others reach it, beside those that it listens on. `bootstrap` are the network's
    bootstrap nodes, which say whether the network is one of the internet, of a LAN or of this machine. What this node
    carries for others is counted in `tally`.

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
        serve_relay=serve_relay,
        relay_bytes_per_s=relay_bytes_per_s,
        is_bootstrap=is_bootstrap,
        tally=tally or TrafficTally(),
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
        serve_relay: bool,
        relay_bytes_per_s: int,
        is_bootstrap: bool,
        tally: TrafficTally,
    ) -> None:
        self._host = host
        self._tally = tally
        self.peer_id = PeerId(str(host.get_id()))
        self._listen = listen
        self._own = OwnAddresses(host, announce=announce, scope=scope)
        self._barred = Barred()
        self._budget = ConnectionBudget(connected=self.connected, inbound_max=inbound_max, is_bootstrap=is_bootstrap)
        self._publishers = RecentPublishers()
        self._budget.sells = self._publishers.has
        tally.watch(Level.CONNECTIONS, self._budget.count_by_kind)
        self._dial_limits = DialLimits()
        self._unread: WeakValueDictionary[str, UnreadBytes] = WeakValueDictionary()  # by peer, while it has streams
        self._inboxes: dict[str, Inbox] = {}
        self._gossip = GossipRouter(self._host, self._inboxes, self._cut, tally)
        self._calls = Calls()
        self._paths = Paths(self._swarm)
        self._door = Door(self._swarm, self._budget, self._barred, self._dial_limits, self._paths, tally)
        self._puncher = Puncher(
            host,
            self._swarm,
            own=self._own,
            paths=self._paths,
            calls=self._calls,
            dial_limits=self._dial_limits,
            note_direct=self._budget.note_direct,
        )
        self._relay_client = RelayClient(
            host,
            self._swarm,
            door=self._door,
            budget=self._budget,
            paths=self._paths,
            calls=self._calls,
            scope=scope,
            met=self._meet,
        )
        self._dialer = Dialer(
            self._swarm,
            self.peer_id,
            own=self._own,
            paths=self._paths,
            calls=self._calls,
            budget=self._budget,
            dial_limits=self._dial_limits,
            dial_over=self._relay_client.dial,
            close_peer=self._close_peer,
        )
        self._relay_places = self._serve_relay(inbound_max, relay_bytes_per_s) if serve_relay else None
        if serve_rendezvous:
            RendezvousPoint(self._host, connected=self.connected, host_of=self._door.host_of, tally=tally)

    def _serve_relay(self, inbound_max: int, bytes_per_s: int) -> RelayPlaces:
        return open_relay(
            self._host,
            budget=self._budget,
            paths=self._paths,
            connected=self.connected,
            hang_up=self._hang_up_on,
            host_of=self._door.host_of,
            addresses=lambda: self.addresses[:ADDRESSES_MAX],
            inbound_max=inbound_max,
            bytes_per_s=bytes_per_s,
            tally=self._tally,
        )

    def _meet(self, peer_id: PeerId) -> None:
        """Try to reach a peer directly that has come over a relay."""
        with suppress(NetworkError):
            self._calls.running().start_soon(self._puncher.meet, peer_id)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses for all others: announced ones first, and none that only a part of the network reaches."""
        return self._own.full(self.peer_id) if self._calls.nursery else ()

    @property
    def listening(self) -> tuple[str, ...]:
        """Addresses that this node listens on."""
        return tuple(self._own.interfaces())

    @property
    def relays(self) -> tuple[str, ...]:
        """Circuit addresses with a live reservation."""
        return self._relay_client.relays if self._calls.nursery else ()

    async def reserve(self, relay: PeerId) -> Reservation:
        """Ask a connected peer for a place at its relay."""
        return await self._relay_client.reserve(relay, self._dialer.known(relay))

    def set_addresses(self, *, mapped: tuple[str, ...] = (), withheld: frozenset[str] = frozenset()) -> None:
        """Replace what was found out about this node's addresses."""
        self._own.mapped, self._own.withheld = mapped, withheld

    async def listen_also(self, address: str) -> None:
        """Listen on one more address, and no more on those that this machine has lost."""
        await listen_also(self._swarm, listen_address(address))
        self._own.forget_interfaces()

    async def close_lost(self) -> None:
        """Listen no more on addresses that this machine has lost."""
        if await close_lost(self._swarm):
            self._own.forget_interfaces()

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol."""

        async def serve(net: INetStream) -> None:
            peer = PeerId(str(net.muxed_conn.peer_id))
            stream = self._pumped(net, peer, is_own=False)
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
        await self._dialer.reach(peer_id)
        net = await self._calls.ask(
            lambda: self._host.new_stream(library_id(peer_id), [TProtocol(protocol)]),
            f"peer {peer_id} does not speak {protocol}",
            undo=reset,
        )
        return self._pumped(net, peer_id)

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        """Dial one address; two tasks that dial the same peer share one connection."""
        return await self._dialer.connect(address, is_kept=is_kept, is_trusted=is_trusted)

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
        await self._calls.ask(lambda: prove(self._swarm, address), f"nobody answers at {address}")

    async def publish(self, topic: str, content: bytes) -> None:
        """Publish by gossip."""
        if self._calls.nursery is None or len(content) > GOSSIP_BYTES_MAX:
            raise NetworkError(f"a message of {len(content)} bytes can't be published here")
        await self._calls.ask(lambda: self._gossip.publish(topic, content), "a message can't be published")

    def subscribe(self, topic: str, accept: Accept) -> "trio.MemoryReceiveChannel[Gossip]":
        """Receive a topic's messages, and pass them on."""
        assert topic not in self._inboxes, f"{topic} is subscribed to already"
        self._inboxes[topic] = Inbox(topic, self._publishers.noting(accept))
        self._follow()
        return self._inboxes[topic].receive

    def unsubscribe(self, topic: str) -> None:
        """Leave a topic."""
        if inbox := self._inboxes.pop(topic, None):
            inbox.close()
            self._follow()

    def _follow(self) -> None:
        if self._calls.nursery:
            self._calls.nursery.start_soon(self._gossip.follow)

    def topics_of_peers(self) -> Mapping[PeerId, frozenset[str]]:
        """The topics of each peer."""
        return self._gossip.topics_of_peers()

    async def find_peers(self, point: PeerId, namespace: str) -> list[str]:
        """Register with a rendezvous point, and ask it for others."""
        await self._dialer.reach(point)
        found = await self._calls.ask(
            lambda: register_and_discover(
                self._host, library_id(point), namespace, self._own.registered(self.relays, self.peer_id)
            ),
            f"peer {point} serves no rendezvous",
        )
        addresses: list[str] = []
        for peer in found:
            full = tuple(f"{address}/p2p/{peer.peer_id}" for address in peer.addrs[:ADDRESSES_MAX])
            full = tuple(address for address in full if len(address) <= ADDRESS_LENGTH_MAX)
            self._dialer.learn(PeerId(str(peer.peer_id)), full)
            addresses.extend(full)
        return addresses

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
        self._tally.refuse(Reason.FLOOD)
        log.warning("peer %s sends too much gossip, so its connection is closed for %.0f s", peer_id, BARRED_S)
        self._barred.bar(peer_id, self._door.host_of(peer_id))
        self._hang_up_on(peer_id)

    def _hang_up_on(self, peer_id: PeerId) -> None:
        with suppress(NetworkError):
            self._calls.running().start_soon(self._close_peer, peer_id)

    async def _close_peer(self, peer_id: PeerId) -> None:
        await close_peer(self._swarm, library_id(peer_id))

    def _pumped(self, net: INetStream, user: PeerId, *, is_own: bool = True) -> PumpedStream:
        """A stream with buffers, which counts as use of the connection by this node if `is_own`."""
        assert isinstance(net, NetStream)
        nursery = self._calls.running()

        def note_use() -> None:
            self._budget.note_use(user, is_own=is_own)

        unread = self._unread.setdefault(str(net.muxed_conn.peer_id), UnreadBytes())
        stream = PumpedStream(net, is_lost=lambda: is_lost(net), note_use=note_use, unread=unread)

        async def pump() -> None:
            self._budget.enter_stream(user, is_own=is_own)
            try:
                await stream.pump()
            finally:
                self._budget.leave_stream(user, is_own=is_own)

        nursery.start_soon(pump)
        return stream

    async def _hang_up_idle(self) -> None:
        while True:
            await sleep_to_beat(HANG_UP_EVERY_S)
            for peer_id in self._paths.only_relayed():
                self._budget.note_relayed(peer_id)
            for peer_id in self._budget.idle_calls():
                await self._close_peer(peer_id)
            for connection in self._paths.to_retire():
                self._calls.running().start_soon(close_quietly, connection)
