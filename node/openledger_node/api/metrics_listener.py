"""Metrics over plain HTTP/1.1, without the node's API: one path, one request a connection.

The API's server would load a web framework, which takes more memory and time than a bootstrap node itself.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from ..errors import NetworkError
from ..listeners import ListenAddress
from .exposition import CONTENT_TYPE

ANSWER_S: Final = 5.0
"""The time limit of one scrape."""

SCRAPES_MAX: Final = 8
"""Answers that are written at once."""

CONNECTIONS_MAX: Final = 32
"""Connections at once. The oldest one makes room for a new one, so that idle connections keep no scraper out."""

HEAD_BYTES_MAX: Final = 8192
READ_BYTES: Final = 4096
PATH: Final = "/metrics"

log = logging.getLogger(__name__)


async def serve_metrics(
    address: ListenAddress, read: Callable[[], str], *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve what `read` returns at `/metrics` until cancelled. The task reports the port once it listens.

    Raises:
        NetworkError: the address can't be listened on.
    """
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as error:
        raise NetworkError(
            f"cannot serve metrics at {address}: {error.strerror or error}. Choose another address with "
            "--metrics HOST:PORT, or --metrics none"
        ) from error
    task_status.started(listeners[0].socket.getsockname()[1])
    scrape = partial(_serve, read=read, limit=trio.CapacityLimiter(SCRAPES_MAX), opened=[])
    await trio.serve_listeners(scrape, listeners)


async def _serve(
    stream: trio.SocketStream,
    *,
    read: Callable[[], str],
    limit: trio.CapacityLimiter,
    opened: list[trio.CancelScope],
) -> None:
    """Answer one request and hang up. A client that is slow, leaves, or speaks no HTTP gets nothing.

    `opened` has the scopes of open connections, oldest first.
    """
    with trio.move_on_after(ANSWER_S) as scope:
        if len(opened) >= CONNECTIONS_MAX:
            opened.pop(0).cancel()
        opened.append(scope)
        try:
            async with stream:
                head = await _read_head(stream)
                async with limit:
                    await stream.send_all(_answer(head, read))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            if scope in opened:
                opened.remove(scope)


async def _read_head(stream: trio.SocketStream) -> bytes:
    """The request line and headers; empty if there are none, or too many."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) <= HEAD_BYTES_MAX:
        if not (chunk := await stream.receive_some(READ_BYTES)):
            return b""
        head += chunk
    return head if len(head) <= HEAD_BYTES_MAX else b""


def _answer(head: bytes, read: Callable[[], str]) -> bytes:
    """The whole answer to a request; empty if it is not one of HTTP/1."""
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return b""
    method, target, _ = words
    status, text = "200 OK", ""
    if method not in ("GET", "HEAD"):
        status, text = "405 Method Not Allowed", "only GET and HEAD\n"
    elif target.partition("?")[0] != PATH:
        status, text = "404 Not Found", f"only {PATH} is here\n"
    else:
        try:
            text = read()
        except OSError as error:  # with all files open, the system itself can't be asked; the node goes on
            log.warning("the metrics could not be read: %s", error)
            status, text = "500 Internal Server Error", "the metrics could not be read; the node's log says why\n"
    body = text.encode()
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else body)
