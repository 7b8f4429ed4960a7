"""HTTP servers: sockets that are bound at the start, served by hypercorn under trio."""

import contextlib
import logging
import os
import socket
import stat
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from ..contained import contained
from ..errors import ConfigError

# ---- One HTTP connection, with three fixes of hypercorn's.
#
# Hypercorn keeps a connection and its descriptor for the whole idle timeout after the client has closed it. It also
# closes a connection whose body was not read, so that a client that still sends never sees the refusal. A client that
# ends its sending side counts as one that has left.

LINGER_S: Final = 1.0
"""Time in which the rest of a body is read and discarded after the answer was sent."""

HALF_CLOSED_S: Final = 0.5
"""A client that has ended its sending side is looked at this often, because it leaves without a sign."""


class Connection(TCPServer):
    """Serves one client."""

    _reading: trio.CancelScope | None = None
    _is_idle = True
    _answered: trio.Event | None = None  # of a client that has ended its sending side
    _is_lingering = False
    _has_ended = False

    async def protocol_send(self, event: Event) -> None:
        """Send an event; a close lets the client read the answer first."""
        if isinstance(event, Updated):
            self._is_idle = event.idle
        if self._answered is not None and (self._is_idle or isinstance(event, Closed)):
            self._answered.set()
        if not isinstance(event, Closed) or self._reading is None or self._is_lingering:
            await super().protocol_send(event)
            return
        self._is_lingering = True
        self._reading.deadline = trio.current_time() + LINGER_S
        if not self.send_lock.locked():  # otherwise another task is still writing; the deadline ends both
            await self._send_eof(self._reading)
        await self.protocol.handle(Closed())

    async def _send_eof(self, reading: trio.CancelScope) -> None:
        """End our side. The lock keeps the other task from sending meanwhile, which trio takes for a mistake."""
        async with self.send_lock:
            try:
                await self.stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                reading.cancel()  # the client is gone
            except trio.BusyResourceError:
                pass  # the other task is closing, for which hypercorn takes no lock

    async def _read_data(self) -> None:
        with trio.CancelScope() as self._reading:
            try:
                while data := await self.stream.receive_some(MAX_RECV):
                    if not self._is_lingering:
                        await self.protocol.handle(RawData(bytes(data)))
                await self._answer_half_closed()
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                pass
        if not self._is_lingering:
            await self.protocol.handle(RawData(b""))
            await self.protocol.handle(Closed())
        self._has_ended = True
        await self.idle_task.stop()

    async def _answer_half_closed(self) -> None:
        """Wait for the end of the answer, or until the client has left, if it has only ended its sending side."""
        if self._is_answered or not isinstance(self.protocol.protocol, H11Protocol):
            return
        self._answered = trio.Event()
        await self.protocol.handle(RawData(b""))  # refuses a request that is not whole
        while not self._is_answered and still_reads(self.stream.socket):
            with trio.move_on_after(HALF_CLOSED_S):
                await self._answered.wait()

    @property
    def _is_answered(self) -> bool:
        return self._is_idle or self._is_lingering

    async def _idle_timeout(self) -> None:
        if not self._has_ended:  # an answer may still run after its client has left
            await super()._idle_timeout()


# ---- Clients that end their sending side and still read, told apart from those that have left.
#
# TCP sends the same for both. The socket of a client on loopback is on this machine, and Linux lists it; once its
# program has closed it, it has no inode. Every other client that ends its sending side counts as one that has left.

TABLES: Final = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}

WORD_BYTES: Final = 4
LOCAL, REMOTE, INODE = 1, 2, 9
"""Columns of the tables."""


def still_reads(connection: Any) -> bool:
    """Return True if the program at the other end of a connection on loopback holds its socket open.

    `connection` is a socket of the standard library or of trio.
    """
    try:
        ours, theirs = connection.getsockname(), connection.getpeername()
        rows = TABLES[connection.family].read_text().splitlines()[1:]
    except (OSError, KeyError):
        return False
    ends = [_listed(connection.family, theirs), _listed(connection.family, ours)]
    columns = (row.split() for row in rows)
    return any(each[LOCAL : REMOTE + 1] == ends and each[INODE] != "0" for each in columns)


def _listed(family: int, address: tuple[Any, ...]) -> str:
    """An address as the tables have it: words in the machine's byte order, and the port."""
    host, port = address[:2]
    packed = socket.inet_pton(family, host)
    words = (packed[start : start + WORD_BYTES] for start in range(0, len(packed), WORD_BYTES))
    numbers = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{numbers}:{port:04X}"


# ---- server

BODY_SEND: Final = "openledger.body_send"
"""A scope's key for the server's own `send`, for answers that need no middleware behind their heads."""

BACKLOG = 256
CLOSE_GRACE_S = 2.0
FULL_S = 1.0
"""Time for a client that is turned away to read the reason."""

WHY_FULL: Final = (
    b'{"error":{"message":"this node has its maximum of connections open: close some, or reuse them",'
    b'"type":"server_error","param":null,"code":"too_many_connections"}}'
)
FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(WHY_FULL), WHY_FULL)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of one listener."""

    connections_max: int = 256  # each takes a descriptor, and a process usually has 1,024
    idle_s: float = 75.0  # without a request, or for a request's headers; clients close theirs sooner


FREE_PORT: Final = "stop what uses it, or choose another by `--port` or [api] port (0 takes any free one)"


def bind_tcp(host: str, port: int, *, fix: str = FREE_PORT) -> socket.socket:
    """Listen on an address; `fix` says what helps if that fails.

    Raises:
        ConfigError: the port is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror}): {fix}") from error
    listener.listen(BACKLOG)
    return listener


def bind_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that only its owner may open; the data directory's lock excludes other daemons."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    earlier = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(earlier)
    listener.listen(BACKLOG)
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL of a TCP listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_app(
    app: Any, listener: socket.socket, stopping: Callable[[], Awaitable[None]], bounds: Bounds | None = None
) -> None:
    """Serve until `stopping` returns; open connections then get a moment to end.

    Hypercorn's own acceptor has no limit of connections, so this one accepts and hypercorn serves each.
    """
    bounds = bounds or Bounds()
    context, address = WorkerContext(None), listener.getsockname()
    serve = partial(
        Connection, wrap_app(with_body_send(app), 0, "asgi"), _config(bounds), context, ConnectionState({})
    )
    gate = ConnectionGate(serve, bounds.connections_max)

    async def hang_up_late() -> None:
        await stopping()
        await trio.sleep(CLOSE_GRACE_S + 1)
        hang_up(address)

    async with trio.open_nursery() as watching:
        watching.start_soon(hang_up_late)
        async with trio.open_nursery() as connections:
            await _accept(listener, gate, connections, stopping)
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + CLOSE_GRACE_S
        watching.cancel_scope.cancel()


def with_body_send(app: Any) -> Any:
    """Wrap an application so that its answers find the server's own `send` in their scope."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, BODY_SEND: send} if scope["type"] == "http" else scope, receive, send)

    return serve


async def _accept(
    listener: socket.socket,
    gate: "ConnectionGate",
    connections: trio.Nursery,
    stopping: Callable[[], Awaitable[None]],
) -> None:
    """Accept connections until `stopping` returns, then close the listener."""
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    async with trio.open_nursery() as accepting:
        accepting.start_soon(partial(trio.serve_listeners, gate.serve, listeners, handler_nursery=connections))
        await stopping()
        accepting.cancel_scope.cancel()


class ConnectionGate:
    """Limits the number of open connections."""

    def __init__(self, serve: Callable[[Any], Awaitable[None]], connections_max: int) -> None:
        self._serve = serve
        self._connections_max = connections_max
        self.num_open = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end, or refuse it at once if there are too many."""
        if self.num_open >= self._connections_max:
            await _turn_away(stream)
            return
        self.num_open += 1
        try:
            await contained(self._serve, stream)
        finally:
            self.num_open -= 1


async def _turn_away(stream: trio.SocketStream) -> None:
    with trio.move_on_after(FULL_S), contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(FULL)
        await stream.send_eof()
        while await stream.receive_some():  # a close with unread data would discard the answer
            pass
    await trio.aclose_forcefully(stream)


def _config(bounds: Bounds) -> Config:
    config = Config()
    config.keep_alive_timeout = bounds.idle_s
    config.accesslog = None  # for privacy: a path may name a model
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


def hang_up(address: object) -> None:
    """Shut down every connection to `address`; a listener stays, since its owner closes it.

    A client that has stopped reading blocks hypercorn in a send that no cancellation reaches, so its socket must end.
    """
    for descriptor in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # the descriptor that listed the folder is closed by now
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as connection:
                    is_listener = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                    if is_of(connection.getsockname(), address) and not is_listener:
                        connection.shutdown(socket.SHUT_RDWR)


def is_of(own: object, address: object) -> bool:
    """True if a socket's own address is of a listener, which may listen on all addresses of the machine."""
    if not (isinstance(own, tuple) and isinstance(address, tuple)):
        return own == address
    return own[1] == address[1] and (own[0] == address[0] or address[0] in ("0.0.0.0", "::"))
