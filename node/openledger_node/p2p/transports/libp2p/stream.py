"""A stream with its own buffers on both sides.

The library resets a stream whose reader is behind for five seconds, and a cancelled write breaks the connection's
cipher for all its streams. Therefore two tasks here do all reading and writing, and the user of the stream may be
slow, and may be cancelled. `UnreadBytes` bounds what is kept for slow readers. When a buffer is full, the library
grants five seconds more.
"""

from collections.abc import Callable

import trio
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from ...unread import UnreadBytes

READ_BYTES = 64 * 1024
WRITE_BYTES = 256 * 1024
"""The size of one write: ten times faster than writes of 4 KiB."""
SENT_BYTES_MAX = 2 * WRITE_BYTES
LINGER_S = 5.0
"""Seconds that a closed stream waits for the other side to close too."""


class PumpedStream(trio.abc.Stream):
    """One stream; `pump` must run while it is used."""

    def __init__(
        self,
        net: NetStream,
        *,
        is_lost: Callable[[], bool],
        note_use: Callable[[], None] = lambda: None,
        unread: UnreadBytes | None = None,
    ) -> None:
        self._net = net
        self._note_use = note_use  # called when bytes have moved
        self._unread = unread or UnreadBytes()  # of all streams of the peer
        self._is_lost = is_lost  # the library reports a lost connection as an end
        self._received, self._sent = bytearray(), bytearray()
        self._has_ended = self._is_broken = self._is_closed = False
        self._moved = trio.lowlevel.ParkingLot()  # unparked when any field above changes
        self.done = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive available bytes, at most `max_bytes`; empty at the end."""
        await trio.lowlevel.checkpoint()
        while not self._received and not self._has_ended:
            self._check_use()
            await self._moved.park()
        if self._is_closed:
            raise trio.ClosedResourceError("the stream is closed")
        cut = len(self._received) if max_bytes is None else max_bytes
        received = bytes(self._received[:cut])
        del self._received[:cut]
        self._unread.remove(len(received))
        self._moved.unpark_all()
        return received

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits while the other side is behind."""
        await trio.lowlevel.checkpoint()
        rest = memoryview(bytes(data))
        while rest:
            self._check_use()
            room = SENT_BYTES_MAX - len(self._sent)
            if room <= 0:
                await self._moved.park()
                continue
            self._sent += rest[:room]
            rest = rest[room:]
            self._moved.unpark_all()

    async def wait_send_all_might_not_block(self) -> None:
        """Return when there is room."""
        await trio.lowlevel.checkpoint()
        while len(self._sent) >= SENT_BYTES_MAX and not self._is_broken and not self._is_closed:
            await self._moved.park()

    async def aclose(self) -> None:
        """Close the stream once sent bytes have left the buffer; `pump` does the rest."""
        self._is_closed = True
        self._drop_received()
        self._moved.unpark_all()
        await trio.lowlevel.checkpoint()
        while self._sent and not self._is_broken:
            await self._moved.park()

    def abort(self) -> None:
        """End the stream for both sides immediately."""
        self._is_broken = self._is_closed = True
        self._drop_received()
        self._moved.unpark_all()

    async def pump(self) -> None:
        """Move bytes until the stream is over."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, nursery.cancel_scope)
                nursery.start_soon(self._pump_in)
                nursery.start_soon(self._pump_out, nursery.cancel_scope)
        finally:
            self._is_broken = True
            self._moved.unpark_all()
            with trio.move_on_after(1, shield=True):
                await (self._net.close() if self._has_ended and not self._sent else self._net.reset())
            self.done.set()

    def _drop_received(self) -> None:
        self._unread.remove(len(self._received))
        self._received.clear()

    def _check_use(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("the stream is closed")
        if self._is_broken:
            raise trio.BrokenResourceError("the other side has reset the stream")

    async def _watch(self, scope: trio.CancelScope) -> None:
        while not self._is_broken:
            await self._moved.park()
        scope.cancel()

    async def _pump_in(self) -> None:
        try:
            while chunk := await self._net.read(READ_BYTES):
                self._note_use()
                if not self._is_closed:
                    self._received += chunk
                    self._unread.add(len(chunk))
                self._moved.unpark_all()
                while not self._is_closed and not self._unread.has_room(len(self._received), self._moved.unpark_all):
                    await self._moved.park()
        except StreamEOF:
            pass
        except Exception:  # the library raises many kinds, not all of them its own
            return self.abort_unless_closed()
        if self._is_lost():
            return self.abort_unless_closed()
        self._has_ended = True
        self._moved.unpark_all()
        return None

    async def _pump_out(self, scope: trio.CancelScope) -> None:
        try:
            while self._sent or not self._is_closed:
                if not self._sent:
                    await self._moved.park()
                    continue
                chunk = bytes(self._sent[:WRITE_BYTES])
                await self._net.write(chunk)
                self._note_use()
                del self._sent[: len(chunk)]
                self._moved.unpark_all()
            await self._net.close_write()
        except Exception:
            return self.abort_unless_closed()
        with trio.move_on_after(LINGER_S):
            while not self._has_ended:
                await self._moved.park()
        scope.cancel()
        return None

    def abort_unless_closed(self) -> None:
        """Note that the other side or the connection is gone."""
        self._is_broken = True
        self._moved.unpark_all()


def is_lost(net: NetStream) -> bool:
    """True if the library's end of stream is really a reset, or a lost connection."""
    muxed = net.muxed_stream
    return isinstance(muxed, YamuxStream) and (muxed.reset_received or muxed.conn.event_shutting_down.is_set())
