"""Connections that others open: bounds on what a stranger can use before and after the handshake.

multistream-select of libp2p up to 0.8.1 reads a message of whatever length its sender announces, so one
unauthenticated connection could fill the memory (GHSA-hmjq-g7pp-rw3x, fixed in 0.8.2). The bound here stays when the
library has its own.
"""

import logging
from collections import Counter
from collections.abc import Callable

from libp2p.abc import IMuxedConn
from libp2p.exceptions import ParseError
from libp2p.io.abc import Reader, ReadWriteCloser
from libp2p.io.exceptions import MessageTooLarge
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.protocol_muxer import multiselect_communicator
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.utils.varint import read_varint_prefixed_bytes_limited
from multiaddr import Multiaddr

from ...budget import Barred, ConnectionBudget
from ...dial_limits import DialLimits
from ...rates import Rates
from ...scopes import group_of, is_public_host
from ...tally import Reason, TrafficTally
from ...transport import PeerId
from .guard import close_peer
from .paths import Paths, is_relayed

MESSAGE_BYTES_MAX = 1024
"""The longest message of multistream-select. Ours have at most 100 bytes; go-libp2p accepts 1,024."""

HALF_OPEN_MAX, HALF_OPEN_PER_HOST_MAX = 512, 8
"""Connections that have not completed the handshake, in all and from one public IP address."""

HANDSHAKES_PER_S, HANDSHAKES_AT_ONCE = 1.0, 20.0
"""Handshakes with one public IP address; each takes about 10 ms."""

GROUP_HANDSHAKES_PER_S, GROUP_HANDSHAKES_AT_ONCE = 4.0, 64.0
"""The same for all addresses of one /24, or a stranger who owns one could keep the node busy with them."""

CONNECTIONS_PER_PEER_MAX = 2
"""Direct ones, and as many over relays. A peer may be back before its old connection is found dead."""

log = logging.getLogger(__name__)


def bound_negotiation() -> None:
    """Replace the library's unbounded read of a negotiation message. Calling it again has no effect."""
    multiselect_communicator.read_delim = read_line  # type: ignore[attr-defined]


async def read_line(reader: Reader) -> bytes:
    """Read one message of multistream-select, without its line feed.

    Raises:
        ParseError: it is longer than `MESSAGE_BYTES_MAX`, or does not end in a line feed.
        IOException: the connection ended.
    """
    try:
        message = await read_varint_prefixed_bytes_limited(reader, MESSAGE_BYTES_MAX)
    except (MessageTooLarge, ValueError) as error:
        raise ParseError(f"a negotiation message is longer than {MESSAGE_BYTES_MAX} bytes") from error
    if not message.endswith(b"\n"):
        raise ParseError("a negotiation message does not end in a line feed")
    return message[:-1]


class HalfOpen:
    """Places for connections that have not completed the handshake."""

    def __init__(self) -> None:
        self._num_of: Counter[str] = Counter()
        self._rates: Rates[str] = Rates(per_s=HANDSHAKES_PER_S, burst=HANDSHAKES_AT_ONCE)
        self._group_rates: Rates[str] = Rates(per_s=GROUP_HANDSHAKES_PER_S, burst=GROUP_HANDSHAKES_AT_ONCE)

    def enter(self, host: str) -> bool:
        """Take a place for a connection from an IP address; False if there is none.

        Addresses of a LAN and of this machine have no limit of their own, because a proxy in front of the node may
        use one for all its connections.
        """
        if self._num_of.total() >= HALF_OPEN_MAX:
            return False
        if is_public_host(host):
            if self._num_of[host] >= HALF_OPEN_PER_HOST_MAX or not self._rates.take(host):
                return False
            if not self._group_rates.take(group_of(host)):
                return False
        self._num_of[host] += 1
        return True

    def leave(self, host: str) -> None:
        """Give a place back."""
        self._num_of[host] -= 1
        if not self._num_of[host]:
            del self._num_of[host]


class Door:
    """Lets peers in, by the connection budget."""

    def __init__(
        self,
        swarm: Swarm,
        budget: ConnectionBudget,
        barred: Barred,
        dial_limits: DialLimits,
        paths: Paths,
        tally: TrafficTally | None = None,
    ) -> None:
        self._swarm = swarm
        self._tally = tally or TrafficTally()
        self._paths = paths
        self._dial_limits = dial_limits
        self._budget = budget
        self._barred = barred
        self._half_open = HalfOpen()
        self._hosts: dict[PeerId, list[str]] = {}  # by peer, one for each connection that it opened
        # NOTE: the library frees a connection's place only when the whole host ends. After forty connections had come
        # and gone, it would accept no more.
        swarm._handle_inbound_connection = self.take  # type: ignore[method-assign,assignment]

    def host_of(self, peer_id: PeerId) -> str:
        """The IP address that a connected peer dialled in from; empty if this node dialled."""
        return next(reversed(self._hosts.get(peer_id, [])), "")

    async def take(self, socket: ReadWriteCloser, maddr: Multiaddr) -> None:
        """Take one connection, and return when it is over; on return the library closes the socket."""
        host = remote_host(socket)
        if refusal := self._refusal(host):
            self._tally.refuse(refusal)
            return await socket.close()
        try:
            connection = await self._swarm.upgrade_inbound_raw_conn(RawConnection(socket, False), maddr)
        except Exception as error:
            log.debug("a connection at %s did not come to be: %r", maddr, error)
            return await socket.close()
        finally:
            self._half_open.leave(host)
        assert isinstance(connection, Yamux)
        peer_id = PeerId(str(connection.peer_id))
        if not await self._let_in(connection, peer_id, host):
            return None
        hosts = self._hosts.setdefault(peer_id, [])
        hosts.append(host)
        self._dial_limits.note_dialled_in(peer_id, host)
        self._paths.note_direct(peer_id)
        try:
            await connection.event_closed.wait()
        finally:
            hosts.remove(host)
            if not hosts:
                del self._hosts[peer_id]
        return None

    def _refusal(self, host: str) -> Reason | None:
        """The reason to hang up on a host at once; None if its handshake begins, and `leave` must follow."""
        if self._barred.is_barred(host):
            return Reason.BARRED
        return None if self._half_open.enter(host) else Reason.HANDSHAKES

    async def take_relayed(self, connection: IMuxedConn, caller: ID, met: Callable[[PeerId], None]) -> None:
        """Keep a connection that came over a relay, and return when it is over.

        `caller` is the peer that the relay named, and `met` is told of it once it is in.
        """
        assert isinstance(connection, Yamux)
        peer_id = PeerId(str(caller))
        if connection.peer_id != caller:
            return await connection.close()
        if await self._let_in(connection, peer_id, ""):
            met(peer_id)
            await connection.event_closed.wait()
        return None

    async def _let_in(self, connection: Yamux, peer_id: PeerId, host: str) -> bool:
        """Give a connection a place, or close it; one without a host came over a relay."""
        is_over_relay = is_relayed(connection)
        alike = [
            each
            for each in self._swarm.get_connections(connection.peer_id)
            if is_relayed(each.muxed_conn) == is_over_relay
        ]
        is_in, leaver = False, None
        is_barred = self._barred.is_barred(peer_id)
        if not is_barred and len(alike) <= CONNECTIONS_PER_PEER_MAX:
            is_in, leaver = self._budget.let_in(peer_id, host, is_relayed=is_over_relay)
        if not is_in:
            self._tally.refuse(Reason.BARRED if is_barred else Reason.CONNECTIONS)
            log.debug("no place for peer %s at %s", peer_id, host or "a relay")
            await connection.close()
        if leaver is not None:
            await close_peer(self._swarm, ID.from_string(leaver))
        return is_in


def remote_host(connection: ReadWriteCloser) -> str:
    """The IP address of the other side; empty if the connection has just ended."""
    address = connection.get_remote_address()
    return address[0] if address else ""
