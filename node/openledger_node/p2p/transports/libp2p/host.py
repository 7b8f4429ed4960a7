"""The library's host, opened with only the protocols that this network uses."""

import socket
import struct
from contextlib import suppress
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.swarm import Swarm
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer import muxer_multistream
from libp2p.stream_muxer.yamux.yamux import FLAG_SYN, TYPE_PING, YAMUX_HEADER_FORMAT, Yamux
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from multiaddr import Multiaddr

from ....errors import NetworkError
from .guard import close_quietly, guarded
from .inbound import HALF_OPEN_MAX, bound_negotiation

HANDSHAKE_S = 5.0
STREAMS_MAX, STREAMS_PER_CONNECTION = 2048, 4
"""Streams of all peers together, or so many for each connection if that is more. Gossip alone takes two."""

OUTBOUND_MAX = 64
"""Connections that this node dials itself: kept ones, bootstrap nodes and calls. `ConnectionBudget` uses fewer."""


def open_host(identity: bytes, inbound_max: int) -> BasicHost:
    """Open a host that never dials by itself.

    NOTE: otherwise the library dials every known peer until it has half of `high_watermark`, whatever the other marks
    say.
    """
    bound_negotiation()
    ping_connections()
    max_connections = inbound_max + OUTBOUND_MAX
    keys = create_new_key_pair(identity)
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): PingedYamux},
        resource_manager=_resources(max_connections),
        connection_config=_connections(max_connections),
        disable_identify_address_discovery=True,
    )
    assert isinstance(host, BasicHost)
    swarm = host.get_network()
    assert isinstance(swarm, Swarm)
    swarm.retry_config = RetryConfig(max_retries=0)  # `Connections` retries
    swarm.set_stream_handler(guarded(host._swarm_stream_handler))
    swarm.auto_connector.maybe_connect = trio.lowlevel.checkpoint  # type: ignore[method-assign]
    return host


def check_is_free(address: Multiaddr) -> None:
    """Require that no other program listens on an address.

    NOTE: the library shares ports, so two nodes on one port would each get half of the connections.

    Raises:
        NetworkError: it is in use, or not an address of this machine.
    """
    host, port = str(address).split("/")[2], int(str(address).split("/")[4])
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise NetworkError(f"cannot listen on {address}: {error.strerror}") from error


def _connections(max_connections: int) -> ConnectionConfig:
    return ConnectionConfig(
        max_connections=max_connections,
        high_watermark=max_connections,
        low_watermark=0,
        min_connections=0,
        inbound_upgrade_timeout=HANDSHAKE_S,
        outbound_upgrade_timeout=HANDSHAKE_S,
    )


def _resources(max_connections: int) -> ResourceManager:
    return ResourceManager(
        limits=ResourceLimits(
            max_connections=max_connections + HALF_OPEN_MAX,
            max_streams=max(STREAMS_MAX, STREAMS_PER_CONNECTION * max_connections),
        ),
        enable_metrics=False,
        enable_memory_limits=False,  # it counts the memory of the whole process
        enable_circuit_breaker=False,  # one peer's failures would shut out all others
        enable_graceful_degradation=False,
    )


# ---- Pings by Yamux itself, which find out that a machine has lost power: such a peer closes nothing.

PING_EVERY_S, PING_S, PINGS_MISSED_MAX = 20.0, 8.0, 2
"""A ping is one frame of 12 bytes each way. libp2p's ping protocol takes a new stream and its negotiation, which is
about 10 ms of work on both sides: too much for a bootstrap node with 1,024 peers."""


def ping_connections() -> None:
    """Have the library make connections that ping. Calling it again has no effect.

    NOTE: it makes its own class of Yamux, whatever class is registered for the protocol.
    """
    muxer_multistream.Yamux = PingedYamux  # type: ignore[attr-defined]


class PingedYamux(Yamux):
    """A connection that ends when nothing comes from its peer after several pings in turn."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._has_heard = False  # since the last ping
        self._is_sending_ping = False
        read = self.secured_conn.read

        async def read_and_note(n: int | None = None) -> bytes:
            received = await read(n)
            self._has_heard = True
            return received

        self.secured_conn.read = read_and_note  # type: ignore[method-assign]

    async def _measure_rtt_loop(self) -> None:
        """Ping until the connection ends, in place of the library's loop, which closes nothing.

        Any bytes count as an answer, because the one to a ping may have to wait behind a file.
        """
        num_missed = 0
        while num_missed < PINGS_MISSED_MAX:
            with trio.move_on_after(PING_EVERY_S):
                await self.event_shutting_down.wait()
                return
            self._has_heard = False
            self._begin_ping()
            with trio.move_on_after(PING_S):
                await self._ping_event.wait()  # the library's reader sets it
            num_missed = 0 if self._has_heard else num_missed + 1
        await close_quietly(self.secured_conn)

    def _begin_ping(self) -> None:
        """Send a ping in a task of its own: a write that is cancelled breaks the connection."""
        if self._is_sending_ping or self._nursery is None:
            return  # the peer reads nothing
        self._is_sending_ping = True
        self._ping_id += 1
        self._ping_event = trio.Event()
        self._ping_sent_time = trio.current_time()
        self._nursery.start_soon(self._send_ping)

    async def _send_ping(self) -> None:
        with suppress(Exception):  # the connection has ended
            await self._write_frame(struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, self._ping_id))
            self._is_sending_ping = False
