"""Pings, by which a node notices peers that stopped answering: a machine that lost power closes nothing."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio
from libp2p.host.ping import ID as PING

from ....errors import NetworkError
from ...transport import PeerId

PING_EVERY_S, PING_S, PINGS_MISSED_MAX = 20.0, 8.0, 2  # a ping has less time than a call
PING_BYTES = 32


async def ping_all(
    connected: Callable[[], tuple[PeerId, ...]],
    open_stream: Callable[[PeerId, str], Awaitable[trio.abc.Stream]],
    close_peer: Callable[[PeerId], Awaitable[None]],
) -> None:
    """Close connections with peers that miss several pings in turn."""
    missed: dict[PeerId, int] = {}

    async def ping(peer_id: PeerId) -> None:
        with trio.move_on_after(PING_S) as waiting, suppress(NetworkError, trio.BrokenResourceError):
            stream = await open_stream(peer_id, PING)
            await stream.send_all(bytes(PING_BYTES))
            await stream.receive_some(PING_BYTES)
            await stream.aclose()
        if not waiting.cancelled_caught:  # a refusal is an answer too
            missed[peer_id] = 0
            return
        missed[peer_id] += 1
        if missed[peer_id] >= PINGS_MISSED_MAX:
            await close_peer(peer_id)

    while True:
        await trio.sleep(PING_EVERY_S)
        missed = {peer_id: missed.get(peer_id, 0) for peer_id in connected()}
        async with trio.open_nursery() as nursery:
            for peer_id in missed:
                nursery.start_soon(ping, peer_id)
