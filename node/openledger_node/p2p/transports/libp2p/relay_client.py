"""The client of relay v2: places at relays, connections to others over relays, and those that others make."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.connection_types import ConnectionType
from libp2p.host.basic_host import BasicHost
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Limit, Status, StopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as PeerMessage
from multiaddr import Multiaddr

from ....errors import NetworkError
from ...budget import ConnectionBudget
from ...rates import Rates
from ...scopes import Scope, scope_of
from ...transport import PeerId, Reservation, circuit_address, relay_of
from .calls import Calls
from .circuit import HOP, STOP, CircuitSocket, ask_relay, read_message, write_message
from .guard import reset
from .inbound import Door
from .names import ADDRESS_LENGTH_MAX, library_address, library_id
from .paths import Paths, is_relayed

RESERVATION_S_MAX = 2 * 3600.0
"""A relay may promise more, but it is asked again before."""

CIRCUIT_BYTES_MIN, CIRCUIT_S_MIN = 8 << 20, 600
"""A relay whose circuits carry less is of no use: it breaks off longer answers, and the gossip that goes with them.

go-libp2p's default is 128 KiB and 2 minutes.
"""

RELAYS_MAX = 4
RELAY_ADDRESSES_MAX = 8
HANDSHAKES_MAX = 8
"""Handshakes over relays at once; the relay hides where they come from, so they share these places."""

PROBE_BYTES, PROBE_S = 32, 8.0
"""A node that has a place at a relay sends itself so many random bytes over it, and they must come in this time."""

HANDSHAKES_PER_S, HANDSHAKES_AT_ONCE = 2.0, 16.0  # of one relay

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A reservation; it ends with the connection over which it was made."""

    reservation: Reservation
    connection: Any

    def is_live(self) -> bool:
        return self.reservation.until_s > trio.current_time() and not self.connection.is_closed


@dataclass(slots=True, kw_only=True)
class _Probe:
    """Random bytes that this node sends itself over a relay."""

    sent: bytes
    came: trio.Event = field(default_factory=trio.Event)


class RelayClient:
    """Reaches others, and is reached, over relays."""

    def __init__(
        self,
        host: BasicHost,
        swarm: Swarm,
        *,
        door: Door,
        budget: ConnectionBudget,
        paths: Paths,
        calls: Calls,
        scope: Scope,
        met: Callable[[PeerId], None],
    ) -> None:
        self._host = host
        self._swarm = swarm
        self._door = door
        self._budget = budget
        self._paths = paths
        self._calls = calls
        self._scope = scope
        self._met = met  # told of each peer that has come over a relay
        self._places: dict[PeerId, _Place] = {}
        self._probes: dict[PeerId, _Probe] = {}
        self._num_handshakes = 0
        self._rates: Rates[PeerId] = Rates(per_s=HANDSHAKES_PER_S, burst=HANDSHAKES_AT_ONCE)
        host.set_stream_handler(STOP, self._take)

    @property
    def relays(self) -> tuple[str, ...]:
        """Circuit addresses with a live reservation."""
        self._places = {relay: place for relay, place in self._places.items() if place.is_live()}
        return tuple(place.reservation.address for place in self._places.values())

    async def reserve(self, relay: PeerId, known: Iterable[str]) -> Reservation:
        """Ask a connected peer for a place; `known` are addresses at which this node has heard of it.

        Raises:
            NetworkError: it is not connected directly, serves no relay, or has no place, or its circuits carry too
                little or nothing.
        """
        connection = self._paths.direct(relay)
        if connection is None:
            raise NetworkError(f"relay {relay} is not connected directly")
        if relay not in self._places and len(self.relays) >= RELAYS_MAX:
            raise NetworkError(f"this node has places at {RELAYS_MAX} relays already")
        answer = await self._calls.ask(lambda: self._ask_for_place(relay), f"peer {relay} serves no relay")
        _check_limit(relay, answer.limit)
        lasts_s = min(answer.reservation.expire - time.time(), RESERVATION_S_MAX)
        if lasts_s <= 0:
            raise NetworkError(f"relay {relay} gives a place that has ended already: check the clock of this machine")
        address = self._address_of(relay, (*known, *_told(answer, relay)))
        place = Reservation(
            address=circuit_address(address, PeerId(str(self._host.get_id()))), until_s=trio.current_time() + lasts_s
        )
        if connection.is_closed:
            raise NetworkError(f"the connection with relay {relay} was lost")
        self._budget.note_dialled(relay, is_kept=True)
        self._places[relay] = _Place(reservation=place, connection=connection)
        try:
            await self._calls.ask(lambda: self._probe(relay), f"relay {relay} gives a place and passes nothing on")
        except BaseException:  # also if it is cancelled meanwhile
            self._places.pop(relay, None)
            raise
        return place

    async def _probe(self, relay: PeerId) -> None:
        """Send random bytes to this node itself over a relay.

        A relay that has no circuit left says so, and keeps its promise as soon as it has one.

        Raises:
            NetworkError: they did not come.
        """
        probe = self._probes[relay] = _Probe(sent=token_bytes(PROBE_BYTES))
        stream = await self._host.new_stream(library_id(relay), [HOP])
        try:
            own = PeerMessage(id=self._host.get_id().to_bytes())
            await write_message(stream, HopMessage(type=HopMessage.CONNECT, peer=own))
            answer = await read_message(stream, HopMessage)
            if answer.status == Status.RESOURCE_LIMIT_EXCEEDED:
                return
            if answer.status != Status.OK:
                raise NetworkError(f"relay {relay} gives a place and opens no circuit to it")
            await stream.write(probe.sent)
            with trio.move_on_after(PROBE_S):
                await probe.came.wait()
        finally:
            del self._probes[relay]
            await reset(stream)
        if not probe.came.is_set():
            raise NetworkError(f"relay {relay} opens circuits and passes nothing on")

    async def _take_probe(self, stream: INetStream, relay: PeerId) -> None:
        """Take a circuit from this node to itself: nothing but the bytes that it sent counts."""
        probe = self._probes.get(relay)
        if probe is None:
            return await self._refuse(stream, Status.PERMISSION_DENIED)
        await write_message(stream, StopMessage(type=StopMessage.STATUS, status=Status.OK))
        received = b""
        with trio.move_on_after(PROBE_S):
            while len(received) < PROBE_BYTES and (piece := await stream.read(PROBE_BYTES - len(received))):
                received += piece
        if received == probe.sent:
            probe.came.set()
        await reset(stream)
        return None

    async def _ask_for_place(self, relay: PeerId) -> HopMessage:
        stream = await self._host.new_stream(library_id(relay), [HOP])
        try:
            return await ask_relay(stream, HopMessage(type=HopMessage.RESERVE))
        finally:
            await reset(stream)

    def _address_of(self, relay: PeerId, addresses: Iterable[str]) -> str:
        """The first address of a relay that everybody on the network can dial."""
        for address in addresses:
            scope = scope_of(address)
            is_for_all = scope is not None and scope >= self._scope
            if is_for_all and not relay_of(address) and len(address) <= ADDRESS_LENGTH_MAX // 2:
                return address
        raise NetworkError(f"relay {relay} has no address that the whole network can dial")

    # ---- dialling

    async def dial(self, address: str, relay: PeerId, peer_id: PeerId) -> Any:
        """Connect to a peer over a relay that is connected, and return the library's connection.

        Raises:
            NetworkError: the relay refuses, or the peer does.
        """
        stream = await self._host.new_stream(library_id(relay), [HOP])
        target = library_id(peer_id)
        try:
            await ask_relay(stream, HopMessage(type=HopMessage.CONNECT, peer=PeerMessage(id=target.to_bytes())))
        except BaseException:
            await reset(stream)
            raise
        socket = self._socket(stream, relay)
        raw = RawConnection(socket, True, ConnectionType.RELAYED, [library_address(address)])
        try:
            return await self._swarm.upgrade_outbound_raw_conn(raw, target)
        except BaseException:
            await socket.close()
            raise

    # ---- being dialled

    async def _take(self, stream: INetStream) -> None:
        """Take a connection that a relay offers, and return when it is over."""
        relay = PeerId(str(stream.muxed_conn.peer_id))
        place = self._places.get(relay)
        if place is None or not place.is_live() or is_relayed(stream.muxed_conn):
            return await self._refuse(stream, Status.PERMISSION_DENIED)
        request = await read_message(stream, StopMessage)
        if request.type != StopMessage.CONNECT or not request.peer.id:
            return await self._refuse(stream, Status.UNEXPECTED_MESSAGE)
        if request.peer.id == self._host.get_id().to_bytes():
            return await self._take_probe(stream, relay)
        if self._num_handshakes >= HANDSHAKES_MAX or not self._rates.take(relay):
            return await self._refuse(stream, Status.RESOURCE_LIMIT_EXCEEDED)
        caller = ID(request.peer.id)
        address = Multiaddr(f"{relay_of(place.reservation.address)}/p2p-circuit/p2p/{caller}")
        self._num_handshakes += 1
        socket = self._socket(stream, relay)
        try:
            await write_message(stream, StopMessage(type=StopMessage.STATUS, status=Status.OK))
            raw = RawConnection(socket, False, ConnectionType.RELAYED, [address])
            connection = await self._swarm.upgrade_inbound_raw_conn(raw, address)
        except Exception as error:
            log.debug("a connection over relay %s did not come to be: %r", relay, error)
            return await socket.close()
        finally:
            self._num_handshakes -= 1
        try:
            await self._door.take_relayed(connection, caller, self._met)
        finally:
            await socket.close()
        return None

    async def _refuse(self, stream: INetStream, status: Status.ValueType) -> None:
        await write_message(stream, StopMessage(type=StopMessage.STATUS, status=status))
        await stream.close()

    def _socket(self, stream: INetStream, relay: PeerId) -> CircuitSocket:
        """A stream as the socket of a connection; it counts as use of the connection with the relay."""
        self._budget.enter_stream(relay)
        return CircuitSocket(
            stream,
            note_use=lambda: self._budget.note_use(relay),
            note_end=lambda: self._budget.leave_stream(relay),
        )


def _check_limit(relay: PeerId, limit: Limit) -> None:
    """Check that a relay's circuits carry an answer; 0 is no limit.

    Raises:
        NetworkError: they do not.
    """
    if 0 < limit.data < CIRCUIT_BYTES_MIN or 0 < limit.duration < CIRCUIT_S_MIN:
        raise NetworkError(
            f"a circuit of relay {relay} carries {limit.data} bytes and lasts {limit.duration} s, "
            f"which is too little for answers: at least {CIRCUIT_BYTES_MIN} bytes and {CIRCUIT_S_MIN} s are needed"
        )


def _told(answer: HopMessage, relay: PeerId) -> list[str]:
    """The addresses that a relay tells of itself, with its id at the end."""
    told = []
    for raw in answer.reservation.addrs[:RELAY_ADDRESSES_MAX]:
        try:
            address = str(Multiaddr(raw))
        except Exception:  # the library raises many kinds
            log.debug("relay %s tells an address that is none", relay)
            continue
        told.append(address if address.endswith(f"/p2p/{relay}") else f"{address}/p2p/{relay}")
    return told
