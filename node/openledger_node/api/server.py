"""Listening: sockets that are bound before anything is announced, served by hypercorn under trio."""

import contextlib
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from ..errors import ConfigError

# ---- One HTTP connection: hypercorn's, but that it ends with its client, and that a refusal arrives.
#
# Hypercorn keeps a connection that its client has closed, and its descriptor, for as long as it might have been idle;
# and it closes over a body that nobody read, which takes the refusal away from a client that still sends.

LINGER_S: Final = 1.0
"""So long what a client still sends is read, and thrown away, once it has had its answer."""


class Connection(TCPServer):
    """Serves one client."""

    _reading: trio.CancelScope | None = None
    _is_lingering = False
    _has_ended = False

    async def protocol_send(self, event: Event) -> None:
        """Send what the protocol says; its close lets the client read first."""
        if not isinstance(event, Closed) or self._reading is None or self._is_lingering:
            await super().protocol_send(event)
            return
        self._is_lingering = True
        self._reading.deadline = trio.current_time() + LINGER_S
        try:
            await self.stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._reading.cancel()  # the client is gone
        except trio.BusyResourceError:
            pass  # another task still writes; the deadline ends them both
        await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        with trio.CancelScope() as self._reading:
            try:
                while data := await self.stream.receive_some(MAX_RECV):
                    if not self._is_lingering:
                        await self.protocol.handle(RawData(bytes(data)))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                pass
        if not self._is_lingering:
            await self.protocol.handle(RawData(b""))
            await self.protocol.handle(Closed())
        self._has_ended = True
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        if not self._has_ended:  # an answer may come to its end after its client has gone
            await super()._idle_timeout()


# ---- server

BACKLOG = 256
CLOSE_GRACE_S = 2.0
FULL_S = 1.0
"""So long one that finds no room may take to read why."""

WHY_FULL: Final = (
    b'{"error":{"message":"this node has as many connections open as it serves: close some, or use them again",'
    b'"type":"server_error","param":null,"code":"too_many_connections"}}'
)
FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(WHY_FULL), WHY_FULL)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one listener holds at most."""

    connections_max: int = 256  # each takes a descriptor, and a process has 1,024 as a rule
    idle_s: float = 75.0  # without a request, and for the head of one; clients keep theirs for less


def bind_tcp(host: str, port: int) -> socket.socket:
    """Listen on loopback.

    Raises:
        ConfigError: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it, or choose another by "
            "`--port` or [api] port (0 takes any free one)"
        ) from error
    listener.listen(BACKLOG)
    return listener


def bind_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that only its owner may open; the home's lock says that nobody else does."""
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
    """Where a TCP listener is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_app(
    app: Any, listener: socket.socket, stopping: Callable[[], Awaitable[None]], bounds: Bounds | None = None
) -> None:
    """Serve until `stopping` returns; connections then get a moment to end.

    Hypercorn's own acceptor takes any number of connections; so this one accepts, and hypercorn serves each.
    """
    bounds = bounds or Bounds()
    context, address = WorkerContext(None), listener.getsockname()
    serve = partial(Connection, wrap_app(app, 0, "asgi"), _config(bounds), context, ConnectionState({}))
    doorway = ConnectionGate(serve, bounds.connections_max)

    async def hang_up_late() -> None:
        await stopping()
        await trio.sleep(CLOSE_GRACE_S + 1)
        hang_up(address)

    async with trio.open_nursery() as watching:
        watching.start_soon(hang_up_late)
        async with trio.open_nursery() as connections:
            await _accept(listener, doorway, connections, stopping)
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + CLOSE_GRACE_S
        watching.cancel_scope.cancel()


async def _accept(
    listener: socket.socket,
    doorway: "ConnectionGate",
    connections: trio.Nursery,
    stopping: Callable[[], Awaitable[None]],
) -> None:
    """Take connections in until `stopping` returns; the listener is closed then."""
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    async with trio.open_nursery() as accepting:
        accepting.start_soon(partial(trio.serve_listeners, doorway.serve, listeners, handler_nursery=connections))
        await stopping()
        accepting.cancel_scope.cancel()


class ConnectionGate:
    """Lets as many connections in as there is room for."""

    def __init__(self, serve: Callable[[Any], Awaitable[None]], connections_max: int) -> None:
        self._serve = serve
        self._connections_max = connections_max
        self.num_open = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one to its end, or say at once that there is no room."""
        if self.num_open >= self._connections_max:
            await _turn_away(stream)
            return
        self.num_open += 1
        try:
            await self._serve(stream)
        finally:
            self.num_open -= 1


async def _turn_away(stream: trio.SocketStream) -> None:
    with trio.move_on_after(FULL_S), contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(FULL)
        await stream.send_eof()
        while await stream.receive_some():  # closing over what is unread would take the answer with it
            pass
    await trio.aclose_forcefully(stream)


def _config(bounds: Bounds) -> Config:
    config = Config()
    config.keep_alive_timeout = bounds.idle_s
    config.accesslog = None  # a path may name a model, and nobody asked for a list of who called when
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


def hang_up(address: object) -> None:
    """Shut every connection that was made to `address`.

    A client that has stopped reading holds hypercorn in a send that no cancellation reaches: only its socket ends it.
    """
    for descriptor in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # the one that listed them is closed by now
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as connection:
                    if connection.getsockname() == address:
                        connection.shutdown(socket.SHUT_RDWR)
