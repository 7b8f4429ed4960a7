"""Pings of a connection by Yamux itself, on a clock that jumps."""

import struct
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID
from libp2p.stream_muxer import muxer_multistream
from libp2p.stream_muxer.yamux.yamux import FLAG_ACK, TYPE_PING, TYPE_WINDOW_UPDATE, YAMUX_HEADER_FORMAT
from node.p2p.provided import id_of
from support.peers import seed
from trio.testing import MockClock

from openledger_node.p2p.transports.libp2p import host, open_transport
from openledger_node.p2p.transports.libp2p.host import PING_EVERY_S, PING_S, PINGS_MISSED_MAX, PingedYamux

PERIOD_S = PING_EVERY_S + PING_S


class Other:
    """The other side of a connection, as its bytes."""

    def __init__(self, *, reads: bool = True, answers: bool = True) -> None:
        self.reads, self.answers = reads, answers
        self.num_pings = 0
        self.is_closed = trio.Event()
        self._send, self._receive = trio.open_memory_channel[bytes](100)
        self._rest = b""

    async def write(self, frame: bytes) -> None:
        if not self.reads:
            await trio.sleep_forever()
        _, kind, _, _, value = struct.unpack(YAMUX_HEADER_FORMAT, frame[:12])
        self.num_pings += kind == TYPE_PING
        if kind == TYPE_PING and self.answers:
            self.say(TYPE_PING, FLAG_ACK, value)

    def say(self, kind: int, flags: int = 0, value: int = 0) -> None:
        self._send.send_nowait(struct.pack(YAMUX_HEADER_FORMAT, 0, kind, flags, 0, value))

    async def read(self, n: int | None = None) -> bytes:
        while not self._rest:
            self._rest = await self._receive.receive()
        content, self._rest = self._rest[:n], self._rest[n or len(self._rest) :]
        return content

    async def close(self) -> None:
        self.is_closed.set()
        self._send.close()

    def get_remote_address(self) -> None:
        return None


async def lasts_s(other: Any, at_most_s: float) -> float:
    """How long a connection with this other side lasts."""
    connection = PingedYamux(other, ID.from_string(id_of("other")), is_initiator=True)
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.start)
        with trio.move_on_after(at_most_s):
            await other.is_closed.wait()
        lasted_s = trio.current_time() - began_s
        nursery.cancel_scope.cancel()
    return lasted_s


async def test_a_peer_that_answers_is_kept_and_pinged_every_20_s(autojump_clock: MockClock) -> None:
    other = Other()
    assert await lasts_s(other, 3_600) == 3_600
    assert 179 <= other.num_pings <= 180


@pytest.mark.parametrize("reads", [True, False])
async def test_a_silent_peer_is_given_up_after_two_pings(autojump_clock: MockClock, reads: bool) -> None:
    other = Other(reads=reads, answers=False)
    assert await lasts_s(other, 3_600) == PINGS_MISSED_MAX * PERIOD_S
    assert other.num_pings == (PINGS_MISSED_MAX if reads else 0)


async def test_a_peer_whose_answer_waits_is_kept(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    other = Other(answers=False)

    async def say_on() -> None:
        while not other.is_closed.is_set():
            other.say(TYPE_WINDOW_UPDATE)
            await trio.sleep(5)

    nursery.start_soon(say_on)
    assert await lasts_s(other, 600) == 600


def test_the_library_makes_connections_that_ping() -> None:
    """If this fails after an update of the library, look where it makes them now."""
    open_transport(identity=seed("ada"), listen=(), serve_rendezvous=False)
    assert muxer_multistream.Yamux is host.PingedYamux  # type: ignore[attr-defined]
    assert "Yamux" in muxer_multistream.MuxerMultistream.new_conn.__code__.co_names
    assert "_measure_rtt_loop" in PingedYamux.start.__code__.co_names
