"""Pings by Yamux itself, which find out that a machine has lost power: such a peer closes nothing.

A ping is one frame of 12 bytes each way. The ping protocol of libp2p takes a new stream and its negotiation, which
is about 10 ms of work on both sides: too much for a bootstrap node with 1,024 peers.
"""

import struct
from contextlib import suppress

import trio
from libp2p.stream_muxer import muxer_multistream
from libp2p.stream_muxer.yamux.yamux import FLAG_SYN, TYPE_PING, YAMUX_HEADER_FORMAT, Yamux

from .guard import close_quietly

PING_EVERY_S, PING_S, PINGS_MISSED_MAX = 20.0, 8.0, 2


def ping_connections() -> None:
    """Have the library make connections that ping. Calling it again has no effect.

    NOTE: it makes its own class of Yamux, whatever class is registered for the protocol.
    """
    muxer_multistream.Yamux = PingedYamux  # type: ignore[misc]


class PingedYamux(Yamux):
    """A connection that ends when its peer leaves several pings in turn unanswered."""

    async def _measure_rtt_loop(self) -> None:
        """Ping until the connection ends, in place of the library's loop, which closes nothing.

        NOTE: the library's reader sets `_ping_event` when the answer to a ping comes.
        """
        num_missed = 0
        with suppress(Exception):  # the connection has ended
            while num_missed < PINGS_MISSED_MAX:
                with trio.move_on_after(PING_EVERY_S):
                    await self.event_shutting_down.wait()
                    return
                with trio.move_on_after(PING_S) as waiting:
                    await self._ping()
                num_missed = num_missed + 1 if waiting.cancelled_caught else 0
            await close_quietly(self.secured_conn)

    async def _ping(self) -> None:
        self._ping_id += 1
        self._ping_event = trio.Event()
        self._ping_sent_time = trio.current_time()
        await self._write_frame(struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, self._ping_id))
        self._ping_sent_time = trio.current_time()
        await self._ping_event.wait()
