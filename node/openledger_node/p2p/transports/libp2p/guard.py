"""Guards against exceptions that a peer provokes, so that none of them ends the node.

The library runs its tasks and all stream handlers in one nursery, so an exception that escapes one of them ends the
host. Here exceptions are caught, and the connection that they belong to is closed.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import Service, TrioManager

from ...rates import Rates

STREAMS_PER_PEER_MAX = 64
STREAMS_PER_S, STREAMS_AT_ONCE = 50.0, 500.0  # of one peer; a negotiation takes about 10 ms
CLOSE_S = 1.0
RETRY_S = 1.0

log = logging.getLogger(__name__)

StreamHandler = Callable[[INetStream], Awaitable[None]]


class GuardedManager(TrioManager):
    """Runs the tasks of one of the library's services and survives their failures."""

    def run_task(
        self, async_fn: Any, *args: Any, daemon: bool = False, name: str | None = None, _internal: bool = False
    ) -> None:
        """Run a task in the background, guarded unless the service can't work without it."""
        name = name or getattr(async_fn, "__qualname__", repr(async_fn))
        if getattr(async_fn, "__name__", "") == "heartbeat":
            async_fn = partial(_run_again, async_fn)
        elif not daemon and not _internal:
            async_fn = partial(_run_guarded, async_fn)
        super().run_task(async_fn, *args, daemon=daemon, name=name, _internal=_internal)


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Run one of the library's services in the background; it works until it is stopped at the end."""
    manager, kept = GuardedManager(service), trio.CancelScope(shield=True)
    service._manager = manager

    async def keep() -> None:
        with kept:
            await manager.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        try:
            await manager.wait_started()
            yield
        finally:
            if manager.is_started:  # the library refuses to stop a service that has not started
                with trio.move_on_after(CLOSE_S, shield=True):
                    await manager.stop()
            kept.cancel()


async def close_connections(swarm: Swarm) -> None:
    """Close all listeners and connections: the library itself leaves their sockets open, and listeners at work."""
    with trio.move_on_after(CLOSE_S, shield=True):
        async with trio.open_nursery() as nursery:
            for listener in swarm.listeners.values():
                nursery.start_soon(close_quietly, listener)
            for connection in swarm.get_connections():
                nursery.start_soon(close_quietly, connection)


async def close_peer(swarm: Swarm, peer: ID) -> None:
    """Close all connections with a peer, even with one that reads nothing.

    NOTE: the library writes a farewell first. That never ends if the peer reads nothing, and a connection whose
    closing was cancelled is never closed. So the sockets are closed after a moment, which ends the write.
    """
    with trio.move_on_after(2 * CLOSE_S, shield=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_close_sockets_later, swarm.get_connections(peer))
            with suppress(Exception):
                await swarm.close_peer(peer)
            nursery.cancel_scope.cancel()


async def _close_sockets_later(connections: list[Any]) -> None:
    await trio.sleep(CLOSE_S)
    for connection in connections:
        await close_quietly(connection.muxed_conn.secured_conn)


async def close_socket_at_end(connection: Any) -> None:
    """Close the socket of a connection that this node dialled when the other side ends it: the library does not."""
    muxed = connection.muxed_conn
    await muxed.event_closed.wait()
    with trio.move_on_after(CLOSE_S, shield=True):
        await close_quietly(muxed.secured_conn)


def guarded(handler: StreamHandler) -> StreamHandler:
    """Wrap a stream handler so that it raises nothing and serves a bounded number of streams per peer."""
    num_streams: Counter[object] = Counter()
    rates: Rates[object] = Rates(per_s=STREAMS_PER_S, burst=STREAMS_AT_ONCE)

    async def handle(stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        if num_streams[peer] >= STREAMS_PER_PEER_MAX or not rates.take(peer):
            return await reset(stream)
        num_streams[peer] += 1
        try:
            await handler(stream)
        except Exception as error:
            log.debug("a stream of peer %s ended badly: %r", peer, error)
            await reset(stream)
        finally:
            num_streams[peer] -= 1
            if not num_streams[peer]:
                del num_streams[peer]
        return None

    return handle


async def reset(stream: INetStream) -> None:
    """Reset a stream in any state."""
    with trio.move_on_after(CLOSE_S, shield=True), suppress(Exception):
        await stream.reset()


async def close_quietly(closable: Any) -> None:
    """Close something of the library in any state."""
    with suppress(Exception):
        await closable.close()


async def _run_guarded(async_fn: Callable[..., Awaitable[None]], *args: object) -> None:
    try:
        await async_fn(*args)
    except Exception as error:
        log.debug("a task of the network ended badly: %r", error, exc_info=True)
        owner: Any = getattr(async_fn, "__self__", None)
        if hasattr(owner, "muxed_conn") or hasattr(owner, "secured_conn"):  # a connection's own task
            with trio.move_on_after(CLOSE_S, shield=True):
                await close_quietly(owner)


async def _run_again(async_fn: Callable[..., Awaitable[None]], *args: object) -> None:
    while True:
        try:
            return await async_fn(*args)
        except Exception:
            log.exception("a task of the network ended badly, and begins again")
            await trio.sleep(RETRY_S)


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """True if a record is not the library's, which logs some of its own under no name."""
        return "/site-packages/libp2p/" not in record.pathname


_SILENCE = _Silence()


def silence_library() -> None:
    """Keep the library's log out of the node's, because it logs each normal end of a connection as an error."""
    library = logging.getLogger("libp2p")
    library.setLevel(logging.CRITICAL)
    if not library.handlers:
        library.addHandler(logging.NullHandler())
    library.propagate = False  # some of its modules set their own levels
    logging.getLogger().addFilter(_SILENCE)  # adding a filter twice has no effect
