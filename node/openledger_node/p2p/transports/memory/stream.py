"""Streams between two peers of a memory network."""

from collections.abc import Callable

import trio

BUFFERED_WRITES = 64
"""Unread writes before the writer has to wait, in place of a socket's buffers."""

Way = Callable[[int], float]
"""Counts so many bytes that are sent, and returns trio's time at which they arrive."""


class MemoryStream(trio.abc.Stream):
    """One end of a stream: the other end receives what is sent, in order."""

    def __init__(
        self,
        send: "trio.MemorySendChannel[tuple[float, bytes]]",
        receive: "trio.MemoryReceiveChannel[tuple[float, bytes]]",
        way: Way | None = None,
    ) -> None:
        self._send = send
        self._receive = receive
        self._way = way  # None: everything arrives at once
        self._rest = b""
        self._due_s = 0.0  # when the rest arrives
        self.is_closed = False
        self.on_close: Callable[[], object] = lambda: None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits while the other end is behind."""
        due_s = self._way(len(data)) if self._way else 0.0
        await self._send.send((due_s, bytes(data)))

    async def wait_send_all_might_not_block(self) -> None:
        """Return immediately: `send_all` waits if it must."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive available bytes, at most `max_bytes`; empty at the end."""
        if not self._rest:
            try:
                self._due_s, self._rest = await self._receive.receive()
            except trio.EndOfChannel:
                return b""
        if self._due_s > trio.current_time():
            await trio.sleep_until(self._due_s)  # if it is cancelled here, the bytes are still there
        cut = len(self._rest) if max_bytes is None else max_bytes
        received, self._rest = self._rest[:cut], self._rest[cut:]
        return received

    def close(self) -> None:
        """Close both directions."""
        if not self.is_closed:
            self.is_closed = True
            self.on_close()
        self._send.close()
        self._receive.close()

    async def aclose(self) -> None:
        """Close both directions."""
        self.close()
        await trio.lowlevel.checkpoint()


def stream_pair(there: Way | None = None, back: Way | None = None) -> tuple[MemoryStream, MemoryStream]:
    """Both ends of a stream; `there` is the way of what the first end sends."""
    there_send, there_receive = trio.open_memory_channel[tuple[float, bytes]](BUFFERED_WRITES)
    back_send, back_receive = trio.open_memory_channel[tuple[float, bytes]](BUFFERED_WRITES)
    return MemoryStream(there_send, back_receive, there), MemoryStream(back_send, there_receive, back)
