"""Streams that are served just now."""

import trio

from ..p2p.transport import Handler, PeerId


class Streams:
    """Counts streams that are served, so that an end can wait for them."""

    def __init__(self) -> None:
        self._num_open = 0
        self._idle = trio.Event()
        self._idle.set()

    def counted(self, serve: Handler) -> Handler:
        """The same handler, counted."""

        async def serve_counted(peer: PeerId, stream: trio.abc.Stream) -> None:
            if self._num_open == 0:
                self._idle = trio.Event()
            self._num_open += 1
            try:
                await serve(peer, stream)
            finally:
                self._num_open -= 1
                if self._num_open == 0:
                    self._idle.set()

        return serve_counted

    async def wait_idle(self) -> None:
        """Return when none is open."""
        await self._idle.wait()
