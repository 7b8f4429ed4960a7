"""The socket for whatever carries bytes between peers."""

from collections.abc import Awaitable, Callable
from typing import NewType, Protocol

import trio

PeerId = NewType("PeerId", str)

Handler = Callable[[PeerId, trio.abc.Stream], Awaitable[None]]
"""Serves one stream that a peer has opened; the stream is closed when it returns."""


class Transport(Protocol):
    """One peer's place on a network."""

    @property
    def peer_id(self) -> PeerId:
        """Our own."""

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol from now on; what a handler raises ends its stream and nothing else."""

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        """Open a stream to a peer.

        Raises:
            NetworkError: nobody of that name is there, or it does not speak the protocol.
        """

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be on the network until cancelled."""
