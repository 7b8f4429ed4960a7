"""Listening: sockets that are bound before anything is announced, served by hypercorn under trio."""

import contextlib
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from ..errors import ConfigError

BACKLOG = 256
CLOSE_GRACE_S = 2.0
KEEP_ALIVE_S = 75.0


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


async def serve_app(app: Any, listener: socket.socket, stopping: Callable[[], Awaitable[None]]) -> None:
    """Serve until `stopping` returns; connections then get a moment to end."""
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.graceful_timeout = CLOSE_GRACE_S
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.accesslog = None  # a path may name a model, and nobody asked for a list of who called when
    config.errorlog = logging.getLogger("hypercorn.error")
    address = listener.getsockname()

    async def hang_up_late() -> None:
        await stopping()
        await trio.sleep(CLOSE_GRACE_S + 1)
        hang_up(address)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_up_late)
            await serve(app, config, shutdown_trigger=stopping, mode="asgi")
            nursery.cancel_scope.cancel()
    finally:
        listener.detach()  # hypercorn has closed it


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
