"""Streams between two peers of a memory network."""

import trio

BUFFERED_WRITES = 64
"""Unread writes before the writer has to wait, in place of a socket's buffers."""


class MemoryStream(trio.abc.Stream):
    """One end of a stream: the other end receives what is sent, in order."""

    def __init__(self, send: "trio.MemorySendChannel[bytes]", receive: "trio.MemoryReceiveChannel[bytes]") -> None:
        self._send = send
        self._receive = receive
        self._rest = b""
        self.is_closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits while the other end is behind."""
        await self._send.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Return immediately: `send_all` waits if it must."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive available bytes, at most `max_bytes`; empty at the end."""
        if not self._rest:
            try:
                self._rest = await self._receive.receive()
            except trio.EndOfChannel:
                return b""
        cut = len(self._rest) if max_bytes is None else max_bytes
        received, self._rest = self._rest[:cut], self._rest[cut:]
        return received

    def close(self) -> None:
        """Close both directions."""
        self.is_closed = True
        self._send.close()
        self._receive.close()

    async def aclose(self) -> None:
        """Close both directions."""
        self.close()
        await trio.lowlevel.checkpoint()


def stream_pair() -> tuple[MemoryStream, MemoryStream]:
    """Both ends of a stream."""
    there_send, there_receive = trio.open_memory_channel[bytes](BUFFERED_WRITES)
    back_send, back_receive = trio.open_memory_channel[bytes](BUFFERED_WRITES)
    return MemoryStream(there_send, back_receive), MemoryStream(back_send, there_receive)
