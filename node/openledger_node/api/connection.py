"""One HTTP connection: hypercorn's, but that it ends with its client, and that a refusal arrives.

Hypercorn keeps a connection that its client has closed, and its descriptor, for as long as it might have been idle;
and it closes over a body that nobody read, which takes the refusal away from a client that still sends.
"""

from typing import Final

import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer

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
