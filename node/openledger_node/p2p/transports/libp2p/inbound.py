"""Connections that others open: bounds on what a stranger can use before and after the handshake.

multistream-select of libp2p up to 0.8.1 reads a message of whatever length its sender announces, so one
unauthenticated connection could fill the memory (GHSA-hmjq-g7pp-rw3x, fixed in 0.8.2). The bound here stays when the
library has its own.
"""

import logging
from collections import Counter

from libp2p.exceptions import ParseError
from libp2p.io.abc import Reader, ReadWriteCloser
from libp2p.io.exceptions import MessageTooLarge
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.protocol_muxer import multiselect_communicator
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.utils.varint import read_varint_prefixed_bytes_limited
from multiaddr import Multiaddr

from ...scopes import is_public_host

MESSAGE_BYTES_MAX = 1024
"""The longest message of multistream-select. Ours have at most 100 bytes; go-libp2p accepts 1,024."""

HALF_OPEN_MAX, HALF_OPEN_PER_HOST_MAX = 512, 8
"""Connections that have not completed the handshake, in all and from one public IP address."""

log = logging.getLogger(__name__)


def bound_negotiation() -> None:
    """Replace the library's unbounded read of a negotiation message. Calling it again has no effect."""
    multiselect_communicator.read_delim = read_line


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

    def enter(self, host: str) -> bool:
        """Take a place for a connection from an IP address; False if there is none.

        Addresses of a LAN and of this machine have no limit of their own, because a proxy in front of the node may
        use one for all its connections.
        """
        is_full = self._num_of.total() >= HALF_OPEN_MAX
        if is_full or (is_public_host(host) and self._num_of[host] >= HALF_OPEN_PER_HOST_MAX):
            return False
        self._num_of[host] += 1
        return True

    def leave(self, host: str) -> None:
        """Give a place back."""
        self._num_of[host] -= 1
        if not self._num_of[host]:
            del self._num_of[host]


def take_inbound(swarm: Swarm, connections_max: int) -> None:
    """Replace the library's handling of inbound connections.

    NOTE: the library frees a connection's place only when the whole host ends. After forty connections had come and
    gone, it would accept no more.
    """
    half_open = HalfOpen()

    async def take(read_write_closer: ReadWriteCloser, maddr: Multiaddr) -> None:
        host = remote_host(read_write_closer)
        if len(swarm.get_connections()) >= connections_max or not half_open.enter(host):
            return await read_write_closer.close()
        try:
            connection = await swarm.upgrade_inbound_raw_conn(RawConnection(read_write_closer, False), maddr)
        except Exception as error:
            log.debug("a connection at %s did not come to be: %r", maddr, error)
            return await read_write_closer.close()
        finally:
            half_open.leave(host)
        assert isinstance(connection, Yamux)
        return await connection.event_closed.wait()  # on return the socket is closed

    swarm._handle_inbound_connection = take  # type: ignore[method-assign]


def remote_host(connection: ReadWriteCloser) -> str:
    """The IP address of the other side; empty if the connection has just ended."""
    address = connection.get_remote_address()
    return address[0] if address else ""
