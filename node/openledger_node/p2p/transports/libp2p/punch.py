"""Hole punching (DCUtR): two peers that meet over a relay make a direct connection through their routers.

The peer that was dialled begins. It first tries to dial the other one as usual. If that fails, both tell each other
where they expect to be reached, and dial at the same moment from the ports that they listen on, so that each router
takes the other's dial for an answer. Source: libp2p's specification DCUtR.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.swarm import Swarm
from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch
from multiaddr import Multiaddr

from ....errors import NetworkError
from ...dial_limits import DialLimits
from ...rates import Rates
from ...scopes import Scope, host_of, scope_of, scope_of_host
from ...transport import PeerId
from .addresses import OwnAddresses
from .calls import Calls
from .circuit import read_message, write_message
from .guard import close_peer, close_socket_at_end, reset
from .names import library_address, library_id
from .paths import Paths, is_relayed

DCUTR = TProtocol("/libp2p/dcutr")
ADDRESSES_MAX = 4
"""Addresses that are dialled for one peer, and that it is told."""

PLAIN_S = 2.0
DIAL_S, ROUNDS, ROUND_PAUSE_S = 5.0, 3, 0.4
SESSIONS, AGAIN_S = 3, 1.0
"""Tries to punch for one connection over a relay, and the pause before the next. The first one may come too early:
other peers have not said yet how they see one of the two, or both begin at once."""
PUNCHES_AT_ONCE = 8
PUNCHES_PER_S, PUNCHES_OF_PEER = 1 / 120, 4.0
IDENTIFIED_S, IDENTIFY_POLL_S = 1.5, 0.05
OBSERVERS_MAX = 64

log = logging.getLogger(__name__)


class Observed:
    """The IP addresses at which other peers see this node, in place of the library's manager of such addresses."""

    def __init__(self) -> None:
        self._seen_by: dict[str, str] = {}  # peer → host

    def hosts(self) -> list[str]:
        """IP addresses, those that most peers see first."""
        return [host for host, _ in Counter(self._seen_by.values()).most_common(ADDRESSES_MAX)]

    def record_observation(self, connection: Any, observed: Multiaddr, _: object) -> None:
        """Note what a peer that is connected directly says; the library calls this."""
        host = host_of(str(observed))
        if host and scope_of_host(host) is not None:
            peer = str(connection.muxed_conn.peer_id)
            self._seen_by.pop(peer, None)
            self._seen_by[peer] = host
            while len(self._seen_by) > OBSERVERS_MAX:
                del self._seen_by[next(iter(self._seen_by))]

    def remove_conn(self, connection: Any) -> None:
        """Forget what a peer said that has left; the library calls this."""
        self._seen_by.pop(str(connection.muxed_conn.peer_id), None)

    def addrs(self) -> list[Multiaddr]:
        """None, so that the library tells nobody what is only a guess."""
        return []


class Puncher:
    """Makes direct connections with peers that are met over a relay."""

    def __init__(
        self,
        host: BasicHost,
        swarm: Swarm,
        *,
        own: OwnAddresses,
        paths: Paths,
        calls: Calls,
        dial_limits: DialLimits,
        note_direct: Callable[[PeerId, str], bool],
    ) -> None:
        self._host = host
        self._swarm = swarm
        self._own = own
        self._paths = paths
        self._calls = calls
        self._dial_limits = dial_limits
        self._note_direct = note_direct  # False: the peer has no place any more
        self._busy: set[PeerId] = set()
        self._answering: set[PeerId] = set()
        self._rates: Rates[PeerId] = Rates(per_s=PUNCHES_PER_S, burst=PUNCHES_OF_PEER)
        self.observed = Observed()
        host._observed_addr_manager = self.observed  # type: ignore[assignment]
        host.set_stream_handler(DCUTR, self._answer)

    async def meet(self, peer_id: PeerId) -> None:
        """Try to get a direct connection with a peer that has come over a relay."""
        if peer_id in self._busy or not self._may_punch(peer_id):
            return
        self._busy.add(peer_id)
        try:
            await self._caught(self._dial_plainly, peer_id)
            for number in range(SESSIONS):
                if self._paths.has_direct(peer_id) or not self._paths.has_relayed(peer_id):
                    break
                if peer_id not in self._answering:
                    await self._caught(self._begin, peer_id)
                if number < SESSIONS - 1 and not self._paths.has_direct(peer_id):
                    await trio.sleep(AGAIN_S)
        finally:
            self._busy.discard(peer_id)

    def _may_punch(self, peer_id: PeerId) -> bool:
        num_busy = len(self._busy | self._answering)
        return not self._paths.has_direct(peer_id) and num_busy < PUNCHES_AT_ONCE and self._rates.take(peer_id)

    def _may_answer(self, peer_id: PeerId) -> bool:
        """True if a peer's punch is taken. Of two peers that begin at once, the one with the smaller id gives way."""
        is_first = peer_id in self._busy and str(self._host.get_id()) > peer_id
        return peer_id not in self._answering and not is_first and self._may_punch(peer_id)

    async def _dial_plainly(self, peer_id: PeerId) -> None:
        """Dial a peer at the addresses that it has identified itself with, which works if only we are at home."""
        peer = library_id(peer_id)
        with trio.move_on_after(IDENTIFIED_S):
            while peer not in self._host._identified_peers:  # noqa: ASYNC110 (the library has no event for it)
                await trio.sleep(IDENTIFY_POLL_S)
        told = [str(address) for address in self._host.get_peerstore().addrs(peer)]
        addresses = self._to_dial(peer_id, (address.partition("/p2p/")[0] for address in told))
        with trio.move_on_after(PLAIN_S):
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    # Most LANs have the same addresses, so one of a LAN is seldom the peer's, and is not waited for.
                    is_near = (scope_of(address) or Scope.MACHINE) < self._own.scope
                    where = self._calls.running() if is_near else nursery
                    where.start_soon(self._dial, peer_id, address, False, None)

    async def _caught(self, way: Callable[[PeerId], Awaitable[None]], peer_id: PeerId) -> None:
        """Try one way to a direct connection."""
        try:
            await way(peer_id)
        except Exception as error:  # the library raises many kinds, also for a peer that has just left
            log.debug("no hole to peer %s: %r", peer_id, error)

    async def _begin(self, peer_id: PeerId) -> None:
        """Punch once, as the one that begins."""
        own = self._expected()
        if not own:
            return
        stream = await self._host.new_stream(library_id(peer_id), [DCUTR])
        try:
            began_s = trio.current_time()
            await write_message(stream, HolePunch(type=HolePunch.CONNECT, ObsAddrs=own))
            answer = await read_message(stream, HolePunch)
            round_trip_s = trio.current_time() - began_s
            theirs = self._to_dial(peer_id, _read(answer))
            if answer.type != HolePunch.CONNECT or not theirs:
                return
            await write_message(stream, HolePunch(type=HolePunch.SYNC))
            await trio.sleep(min(round_trip_s / 2, 1.0))
            await self._dial_all(peer_id, theirs, is_responder=True)
        finally:
            await reset(stream)

    async def _answer(self, stream: INetStream) -> None:
        """Punch as the one that is asked, on a stream over a relay."""
        peer_id = PeerId(str(stream.muxed_conn.peer_id))
        if not is_relayed(stream.muxed_conn) or not self._may_answer(peer_id):
            return await reset(stream)
        self._answering.add(peer_id)
        try:
            request = await read_message(stream, HolePunch)
            theirs, own = self._to_dial(peer_id, _read(request)), self._expected()
            await write_message(stream, HolePunch(type=HolePunch.CONNECT, ObsAddrs=own))
            if request.type != HolePunch.CONNECT or not theirs or not own:
                return None
            if (await read_message(stream, HolePunch)).type == HolePunch.SYNC:
                await self._dial_all(peer_id, theirs, is_responder=False)
        finally:
            self._answering.discard(peer_id)
            await reset(stream)
        return None

    # ---- addresses

    def _expected(self) -> list[bytes]:
        """Where this node expects to be reached: most routers keep the port of a connection that goes out."""
        interfaces = self._own.interfaces()
        outer = [each for each in interfaces if scope_of(each) is not Scope.MACHINE]
        ports = {(address.split("/")[1], address.split("/")[4]) for address in outer or interfaces}
        guessed = [
            f"/{family}/{host}/tcp/{port}"
            for host in self.observed.hosts()
            for family, port in sorted(ports)
            if (family == "ip6") == (":" in host)
        ]
        if not ports:
            return []  # nobody can be let in
        found = [
            each for each in (*self._own.chosen(), *guessed) if (scope_of(each) or Scope.MACHINE) >= self._own.scope
        ]
        return [library_address(each).to_bytes() for each in dict.fromkeys(found)][:ADDRESSES_MAX]

    def _to_dial(self, peer_id: PeerId, addresses: Iterable[str]) -> list[str]:
        """Those of a peer's addresses that may be dialled now; anybody can name those of a victim."""
        chosen: list[str] = []
        for address in dict.fromkeys(addresses):
            if len(chosen) >= ADDRESSES_MAX or not _is_tcp(address) or not self._own.may_dial(address):
                continue
            try:
                self._dial_limits.check(f"{address}/p2p/{peer_id}")
            except NetworkError:
                continue
            chosen.append(address)
        return chosen

    def _source(self, address: str) -> tuple[str, int] | None:
        """The listening socket from which an address is dialled."""
        for own in self._own.interfaces():
            _, family, host, _, port = own.split("/")[:5]
            is_local = scope_of(own) is Scope.MACHINE
            if f"/{family}/" == address[: len(family) + 2] and is_local == (scope_of(address) is Scope.MACHINE):
                return host, int(port)
        return None

    # ---- dialling

    async def _dial_all(self, peer_id: PeerId, addresses: list[str], *, is_responder: bool) -> None:
        with trio.move_on_after(DIAL_S + ROUNDS * ROUND_PAUSE_S):
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    nursery.start_soon(self._dial, peer_id, address, is_responder, self._source(address))
                nursery.start_soon(self._end_when_direct, peer_id, nursery.cancel_scope)

    async def _end_when_direct(self, peer_id: PeerId, scope: trio.CancelScope) -> None:
        """Cancel the dials; not in their first step, where the library would leave a socket open."""
        await trio.sleep(IDENTIFY_POLL_S)
        while not self._paths.has_direct(peer_id):  # noqa: ASYNC110 (the other side's dial may be the one that succeeds)
            await trio.sleep(IDENTIFY_POLL_S)
        scope.cancel()

    async def _dial(self, peer_id: PeerId, address: str, is_responder: bool, source: tuple[str, int] | None) -> None:
        """Dial one address, again at once if a router turns it away; a punch dials at most `ROUNDS` times."""
        full, target = f"{address}/p2p/{peer_id}", library_id(peer_id)
        dial = self._swarm.dial_addr_as_responder if is_responder else self._swarm.dial_addr
        self._dial_limits.note(full, has_answered=False)
        for _ in range(ROUNDS if source else 1):
            if self._paths.has_direct(peer_id):
                return
            try:
                with trio.move_on_after(DIAL_S):
                    connection = await dial(Multiaddr(full), target, source)
                    self._calls.running().start_soon(close_socket_at_end, connection)
                    self._dial_limits.note(full, has_answered=True)
                    self._paths.note_direct(peer_id)
                    if not self._note_direct(peer_id, host_of(address) or ""):
                        await close_peer(self._swarm, target)
                    return
            except Exception as error:  # the library raises many kinds
                log.debug("no direct connection with peer %s at %s: %r", peer_id, address, error)
            await trio.sleep(ROUND_PAUSE_S)


def _read(message: HolePunch) -> list[str]:
    """The addresses in a message, without a peer id."""
    addresses = []
    for raw in message.ObsAddrs[: 2 * ADDRESSES_MAX]:
        try:
            addresses.append(str(Multiaddr(raw)).partition("/p2p/")[0])
        except Exception:  # the library raises many kinds
            log.debug("a peer names an address that is none")
    return addresses


def _is_tcp(address: str) -> bool:
    parts = address.split("/")
    return len(parts) == 5 and parts[1] in ("ip4", "ip6") and parts[3] == "tcp"
