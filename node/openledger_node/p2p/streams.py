"""Messages over a byte stream: one msgpack map a frame."""

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import trio

from openledger_protocol.codec import CONTROL_FRAME_BYTES_MAX, FrameDecoder, encode_frame

from ..errors import NetworkError
from .transport import GOSSIP_WAITING_MAX, Accept, Gossip, PeerId

RECEIVE_BYTES = 16 * 1024
HANG_UP_S = 1.0


class MessageStream:
    """Frames in both directions; one task may send while another receives."""

    def __init__(self, stream: trio.abc.Stream, *, frame_bytes_max: int = CONTROL_FRAME_BYTES_MAX) -> None:
        self._stream = stream
        self._frame_bytes_max = frame_bytes_max
        self._decoder = FrameDecoder(size_bytes_max=frame_bytes_max)
        self._received: deque[dict[str, Any]] = deque()
        self._sending = trio.Lock()  # a frame is never cut by another one

    async def send(self, message: Mapping[str, object]) -> None:
        """Send one message.

        Raises:
            MalformedError: it is too large for a frame.
            NetworkError: the other side has gone.
        """
        frame = encode_frame(message, size_bytes_max=self._frame_bytes_max)
        try:
            async with self._sending:
                await self._stream.send_all(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise NetworkError("the other side of a stream has gone") from error

    async def receive(self) -> dict[str, Any]:
        """Wait for the next message.

        Raises:
            MalformedError: what came is no frame.
            NetworkError: the stream has ended.
        """
        while not self._received:
            try:
                received = await self._stream.receive_some(RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise NetworkError("the other side of a stream has gone") from error
            if not received:
                raise NetworkError("the other side ended the stream")
            self._received.extend(self._decoder.feed(bytes(received)))
        return self._received.popleft()

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()

    async def hang_up(self) -> None:
        """Close it also when cancelled, and wait no longer than a second for a side that reads no more."""
        with trio.move_on_after(HANG_UP_S, shield=True):
            await self.aclose()


# ---- What waits to be read on one topic.

log = logging.getLogger(__name__)


class Inbox:
    """Messages of one topic, the newest of them."""

    def __init__(self, topic: str, accept: Accept) -> None:
        self._topic = topic
        self._accept = accept
        self._send, self.receive = trio.open_memory_channel[Gossip](GOSSIP_WAITING_MAX)

    def can_pass(self, origin: PeerId, content: bytes) -> bool:
        """Ask the subscriber; one that raises has refused."""
        try:
            return self._accept(origin, content)
        except Exception:
            log.exception("a message on %s could not be checked", self._topic)
            return False

    def put(self, gossip: Gossip) -> None:
        """Add a message; where there is no room, the oldest goes."""
        try:
            self._send.send_nowait(gossip)
        except trio.WouldBlock:
            self.receive.receive_nowait()
            self._send.send_nowait(gossip)
        except trio.BrokenResourceError:
            pass  # nobody listens any more; the topic is passed on all the same
