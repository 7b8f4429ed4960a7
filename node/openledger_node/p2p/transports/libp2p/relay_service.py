"""The service of relay v2, in place of the library's, whose bounds a stranger gets around (decision 59).

A peer reserves a place, and others then ask for circuits to it. A circuit joins two streams and passes bytes on,
slowly and for a limited time. Both ends speak their own handshake through it, so nothing here can be read.
"""

import logging
import time
from collections.abc import Callable, Collection
from math import inf
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.basic_host import BasicHost
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Limit, Reservation, Status, StopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as PeerMessage
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from ....errors import NetworkError
from ...budget import ConnectionBudget
from ...relay_places import RESERVATION_S, RESERVATIONS_MAX, Circuit, Refusal, RelayPlaces
from ...tally import Counted, Level, Reason, TrafficTally
from ...transport import PeerId
from .circuit import HOP, STOP, WRITE_S, ask_target, read_message, write_message
from .guard import reset
from .names import library_address
from .paths import Paths, is_relayed

CIRCUIT_BYTES_MAX, CIRCUIT_S_MAX = 1 << 30, 2 * 3600.0
"""Bytes in both directions together, and the age, at which a circuit ends."""

CIRCUIT_BYTES_PER_S, CIRCUIT_BYTES_AT_ONCE = 256 * 1024, 256 * 1024
CHUNK_BYTES = 32 * 1024

RELAY_BYTES_PER_S = 4 << 20
"""All circuits of a relay together, unless its owner sets another limit: 34 Mbit/s in and as much out."""

CIRCUIT_IDLE_S = 180.0
"""A circuit over which no byte has passed for this long ends. An answer may keep its reader waiting for a minute."""

OPEN_S = 8.0
LINGER_S = 5.0
"""The time that one direction has left after the other has ended."""

STATUS_OF = {
    Refusal.TOO_MANY_REQUESTS: Status.RESOURCE_LIMIT_EXCEEDED,
    Refusal.NO_PLACE: Status.RESOURCE_LIMIT_EXCEEDED,
    Refusal.NO_RESERVATION: Status.NO_RESERVATION,
}
REASON_OF = {
    Refusal.TOO_MANY_REQUESTS: Reason.RELAY_RATE,
    Refusal.NO_PLACE: Reason.RELAY_PLACE,
    Refusal.NO_RESERVATION: Reason.RELAY_TARGET,
}

log = logging.getLogger(__name__)


def open_relay(
    host: BasicHost,
    *,
    budget: ConnectionBudget,
    connected: Callable[[], Collection[PeerId]],
    hang_up: Callable[[PeerId], None],
    inbound_max: int,
    tally: TrafficTally,
    **parts: Any,
) -> RelayPlaces:
    """Serve others as a relay; those who are reached over it keep their connections.

    They get at most half of the places for peers that dial in, since nobody else can take those while they stay.
    """
    reservations_max = min(RESERVATIONS_MAX, inbound_max // 2)
    places = RelayPlaces(
        connected=connected, reservations_max=reservations_max, hang_up=hang_up, is_wanted=budget.is_wanted
    )
    budget.needed = places.holders
    tally.watch(Level.RESERVATIONS, lambda: {"": len(places.holders())})
    tally.watch(Level.CIRCUITS, lambda: {"": places.num_circuits()})
    RelayService(host, places=places, tally=tally, **parts)
    return places


class RelayService:
    """Serves places and circuits to peers that are connected directly."""

    def __init__(
        self,
        host: BasicHost,
        *,
        paths: Paths,
        places: RelayPlaces,
        host_of: Callable[[PeerId], str],
        addresses: Callable[[], tuple[str, ...]],
        bytes_per_s: int = RELAY_BYTES_PER_S,
        tally: TrafficTally | None = None,
    ) -> None:
        self._host = host
        self._paths = paths
        self._places = places
        self._host_of = host_of  # the IP address that a peer dialled in from; empty if this node dialled it
        self._addresses = addresses
        self._tally = tally or TrafficTally()
        self._shared = SharedPace(bytes_per_s)
        host.set_stream_handler(HOP, self._serve)

    async def _serve(self, stream: INetStream) -> None:
        """Answer one request; a stream carries no second one."""
        peer_id = PeerId(str(stream.muxed_conn.peer_id))
        if is_relayed(stream.muxed_conn):
            return await _answer(stream, Status.PERMISSION_DENIED)
        request = await read_message(stream, HopMessage)
        if request.type == HopMessage.RESERVE:
            return await self._reserve(stream, peer_id)
        if request.type == HopMessage.CONNECT and request.peer.id:
            return await self._connect(stream, peer_id, ID(request.peer.id))
        return await _answer(stream, Status.UNEXPECTED_MESSAGE)

    async def _reserve(self, stream: INetStream, peer_id: PeerId) -> None:
        """Give the peer itself a place, whomever the request names."""
        if refusal := self._places.reserve(peer_id, self._host_of(peer_id)):
            return await self._refuse(stream, refusal)
        place = Reservation(
            expire=int(time.time() + RESERVATION_S),
            addrs=[library_address(address).to_bytes() for address in self._addresses()],
        )
        return await _answer(stream, Status.OK, reservation=place, limit=_limit())

    async def _connect(self, stream: INetStream, source: PeerId, target: ID) -> None:
        """Open a circuit, and return when it is over."""
        circuit = Circuit(source=source, host=self._host_of(source), target=PeerId(str(target)))
        if refusal := self._places.open(circuit):
            return await self._refuse(stream, refusal)
        try:
            onward = await self._open_onward(circuit, target)
            if onward is None:
                self._tally.refuse(Reason.RELAY_TARGET)
                return await _answer(stream, Status.CONNECTION_FAILED)
            try:
                await write_message(stream, _status(Status.OK, limit=_limit()))
                self._tally.count(Counted.CIRCUIT)
                await join(stream, onward, self._shared, self._tally)
            finally:
                await reset(onward)
        finally:
            self._places.close(circuit)
            await reset(stream)
        return None

    async def _refuse(self, stream: INetStream, refusal: Refusal) -> None:
        self._tally.refuse(REASON_OF[refusal])
        await _answer(stream, STATUS_OF[refusal])

    async def _open_onward(self, circuit: Circuit, target: ID) -> INetStream | None:
        """A stream to the target that has taken the circuit; None if it does not."""
        if not self._paths.has_direct(circuit.target):
            return None
        request = StopMessage(
            type=StopMessage.CONNECT, peer=PeerMessage(id=ID.from_string(circuit.source).to_bytes()), limit=_limit()
        )
        onward = None
        try:
            with trio.move_on_after(OPEN_S):
                onward = await self._host.new_stream(target, [STOP])
                if await ask_target(onward, request):
                    return onward
        except (BaseLibp2pError, NetworkError) as error:
            log.debug("no circuit to peer %s: %r", circuit.target, error)
        if onward is not None:
            await reset(onward)
        return None


class SharedPace:
    """Makes the bytes of all circuits wait, so that they pass at a rate together; 0 is no limit.

    Each direction of a circuit waits with one chunk at most, so circuits take turns.
    """

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._paid_until_s = -inf

    async def wait(self, num_bytes: int) -> None:
        """Wait until bytes may pass. Up to a second's bytes pass at once after a pause."""
        if not self._bytes_per_s:
            return
        earliest_s = trio.current_time() - 1.0
        self._paid_until_s = max(self._paid_until_s, earliest_s) + num_bytes / self._bytes_per_s
        await trio.sleep_until(self._paid_until_s)


class Pace:
    """Makes the bytes of a circuit wait, so that they pass at `CIRCUIT_BYTES_PER_S`, and ends it at its limit.

    `resting` ends the circuit when no byte has passed for `CIRCUIT_IDLE_S`.
    """

    def __init__(self, shared: SharedPace, resting: trio.CancelScope, tally: TrafficTally) -> None:
        self._shared = shared
        self._resting = resting
        self._tally = tally
        self._num_bytes = 0
        self._paid_until_s = trio.current_time()

    async def wait(self, num_bytes: int) -> bool:
        """Wait until bytes may pass; False if the circuit has carried all that it may."""
        self._num_bytes += num_bytes
        self._resting.deadline = trio.current_time() + CIRCUIT_IDLE_S
        self._tally.count(Counted.RELAYED_BYTES, num=num_bytes)
        if self._num_bytes > CIRCUIT_BYTES_MAX:
            return False
        earliest_s = trio.current_time() - CIRCUIT_BYTES_AT_ONCE / CIRCUIT_BYTES_PER_S
        self._paid_until_s = max(self._paid_until_s, earliest_s) + num_bytes / CIRCUIT_BYTES_PER_S
        await trio.sleep_until(self._paid_until_s)
        await self._shared.wait(num_bytes)
        return True


async def join(one: INetStream, other: INetStream, shared: SharedPace, tally: TrafficTally) -> None:
    """Pass bytes between two streams until both directions have ended, or one breaks, or a limit is reached."""
    for stream in (one, other):
        _fix_window(stream)
    with (
        trio.move_on_after(CIRCUIT_S_MAX),
        trio.move_on_after(CIRCUIT_IDLE_S) as resting,
    ):
        pace = Pace(shared, resting, tally)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_copy, one, other, pace, nursery.cancel_scope)
            nursery.start_soon(_copy, other, one, pace, nursery.cancel_scope)


async def _copy(source: INetStream, sink: INetStream, pace: Pace, scope: trio.CancelScope) -> None:
    """Pass one direction's bytes on, and its end. What breaks ends the circuit."""
    try:
        while chunk := await source.read(CHUNK_BYTES):
            # A cancelled write would break the connection with the peer, and with it everybody else's circuits.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + WRITE_S) as writing:
                await sink.write(chunk)
            if writing.cancelled_caught or not await pace.wait(len(chunk)):
                return scope.cancel()
    except StreamEOF:
        pass
    except BaseLibp2pError as error:
        log.debug("a circuit broke: %r", error)
        return scope.cancel()
    try:
        await sink.close_write()  # type: ignore[attr-defined]
    except BaseLibp2pError:
        return scope.cancel()
    scope.deadline = min(scope.deadline, trio.current_time() + LINGER_S)
    return None


def _fix_window(stream: Any) -> None:
    """Keep the window of a stream at its first size: a circuit needs no more, and each byte waits in memory here."""
    if isinstance(stream.muxed_stream, YamuxStream):
        stream.muxed_stream._apply_autotune_epoch = lambda buffered: 0  # type: ignore[method-assign]


def _limit() -> Limit:
    return Limit(duration=int(CIRCUIT_S_MAX), data=CIRCUIT_BYTES_MAX)


def _status(status: Status.ValueType, **fields: Any) -> HopMessage:
    return HopMessage(type=HopMessage.STATUS, status=status, **fields)


async def _answer(stream: INetStream, status: Status.ValueType, **fields: Any) -> None:
    await write_message(stream, _status(status, **fields))
    await stream.close()
