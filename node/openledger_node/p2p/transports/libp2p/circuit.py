"""Circuits of relay v2 as their two ends see them: the messages, and the bytes below a connection.

A connection over a relay is a stream to the relay with the usual handshake inside, so the relay reads nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import trio
from google.protobuf.message import DecodeError, Message
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import IOException
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Status, StopMessage
from libp2p.stream_muxer.yamux.yamux import YamuxStream
from libp2p.utils.varint import encode_varint_prefixed, read_varint_prefixed_bytes_limited

from ....errors import NetworkError
from .guard import CLOSE_S, reset

HOP, STOP = TProtocol("/libp2p/circuit/relay/0.2.0/hop"), TProtocol("/libp2p/circuit/relay/0.2.0/stop")
MESSAGE_BYTES_MAX = 4096
"""The longest message of the protocol; go-libp2p has the same limit."""

MESSAGE_S = 5.0
"""The time in which a message must come."""

WRITE_S = 10.0
"""The time for one write. The library itself gives up after five seconds without room."""

REASONS = {
    Status.RESERVATION_REFUSED: "it gives no place now",
    Status.RESOURCE_LIMIT_EXCEEDED: "it has no place",
    Status.PERMISSION_DENIED: "it does not serve this node",
    Status.CONNECTION_FAILED: "it can't reach the peer",
    Status.NO_RESERVATION: "the peer has no place there",
}

Kind = TypeVar("Kind", bound=Message)


async def read_message(stream: INetStream, kind: type[Kind]) -> Kind:
    """Read one message.

    Raises:
        NetworkError: none came in time, or it is none.
    """
    message = kind()
    try:
        with trio.fail_after(MESSAGE_S):
            message.ParseFromString(await read_varint_prefixed_bytes_limited(stream, MESSAGE_BYTES_MAX))
    except (BaseLibp2pError, DecodeError, trio.TooSlowError, ValueError) as error:
        raise NetworkError(f"no message of relay v2 came: {error!r}") from error
    return message


async def write_message(stream: INetStream, message: Message) -> None:
    """Write one message."""
    await stream.write(encode_varint_prefixed(message.SerializeToString()))


async def ask_relay(stream: INetStream, request: HopMessage) -> HopMessage:
    """Send a relay a request, and return its answer if that is a yes.

    Raises:
        NetworkError: the relay refuses; the message says why.
    """
    await write_message(stream, request)
    answer = await read_message(stream, HopMessage)
    if answer.type != HopMessage.STATUS or answer.status != Status.OK:
        raise NetworkError(f"the relay refuses: {REASONS.get(answer.status, 'it gives no reason')}")
    return answer


async def ask_target(stream: INetStream, request: StopMessage) -> bool:
    """Offer a peer a circuit; True if it takes it.

    Raises:
        NetworkError: no answer came.
    """
    await write_message(stream, request)
    answer = await read_message(stream, StopMessage)
    return bool(answer.type == StopMessage.STATUS and answer.status == Status.OK)


class CircuitSocket(ReadWriteCloser):
    """A stream to a relay in place of a socket.

    Its writes can't be cancelled from outside. A cancelled one would break the connection with the relay, and with it
    everybody else's circuits.
    """

    def __init__(
        self, stream: INetStream, *, note_use: Callable[[], None], note_end: Callable[[], None] = lambda: None
    ) -> None:
        self._stream = stream
        self._note_use = note_use
        self._note_end = note_end
        self._is_closed = False
        self._num_writes = 0

    async def read(self, n: int | None = None) -> bytes:
        """Read up to `n` bytes; empty at the end."""
        try:
            received: bytes = await self._stream.read(n)
        except StreamEOF:
            return b""
        self._note_use()
        return received

    async def write(self, data: bytes) -> None:
        """Write bytes."""
        self._num_writes += 1
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + WRITE_S) as scope:
                await self._stream.write(data)
        finally:
            self._num_writes -= 1
        if scope.cancelled_caught:
            raise IOException("the relay reads nothing")
        self._note_use()

    async def close(self) -> None:
        """End the circuit; what was written still arrives, unless a write is under way."""
        if self._is_closed:
            return
        self._is_closed = True
        self._note_end()
        try:
            with trio.move_on_after(CLOSE_S, shield=True) as closing:
                if not self._num_writes:
                    await self._stream.close()
            is_ended = not self._num_writes and not closing.cancelled_caught
        except Exception:  # the library raises many kinds
            is_ended = False
        if not is_ended:
            await reset(self._stream)
        _wake_reader(self._stream)

    def get_remote_address(self) -> tuple[str, int] | None:
        """None: only the relay sees where the other side is."""
        return None


def _wake_reader(stream: Any) -> None:
    """End a read that waits on a closed stream: the library leaves it waiting for the other side."""
    muxed = stream.muxed_stream
    if isinstance(muxed, YamuxStream):
        muxed.recv_closed = True
        if event := muxed.conn.stream_events.get(muxed.stream_id):
            event.set()
