"""Messages over a byte stream, one msgpack map per frame, and inboxes of gossip topics."""

import logging
from collections import deque
from collections.abc import Mapping
from math import inf
from typing import Any

import trio

from openledger_protocol.codec import CONTROL_FRAME_BYTES_MAX, FrameDecoder, encode_frame
from openledger_protocol.errors import ProtocolError
from openledger_protocol.wire.inference import encode, error_message

from ..errors import NetworkError
from .envelopes import GossipVerdict, judge_envelope
from .transport import GOSSIP_WAITING_MAX, Accept, Gossip, PeerId

RECEIVE_BYTES = 16 * 1024
HANG_UP_S = 1.0

log = logging.getLogger(__name__)


class MessageStream:
    """Sends and receives messages as frames; one task may send while another receives."""

    def __init__(self, stream: trio.abc.Stream, *, frame_bytes_max: int = CONTROL_FRAME_BYTES_MAX) -> None:
        self._stream = stream
        self._frame_bytes_max = frame_bytes_max
        self._decoder = FrameDecoder(size_bytes_max=frame_bytes_max)
        self._received: deque[dict[str, Any]] = deque()
        self._sending = trio.Lock()  # frames are never interleaved

    async def send(self, message: Mapping[str, object], *, timeout_s: float = inf) -> None:
        """Send one message.

        Raises:
            MalformedError: it is too large for a frame.
            NetworkError: the other side has gone, or has read nothing for `timeout_s`.
        """
        frame = encode_frame(message, size_bytes_max=self._frame_bytes_max)
        try:
            with trio.move_on_after(timeout_s) as scope:
                async with self._sending:
                    await self._stream.send_all(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise NetworkError("the other side of a stream has gone") from error
        if scope.cancelled_caught:
            raise NetworkError(f"the other side of a stream has read nothing for {timeout_s:.0f} s")

    async def offer(self, message: Mapping[str, object], *, timeout_s: float = inf) -> None:
        """Send one message to a peer that may have left; what it sent before still counts."""
        try:
            await self.send(message, timeout_s=timeout_s)
        except NetworkError as error:
            log.info("a peer did not get the last message: %s", error)

    async def refuse(self, error: ProtocolError, *, timeout_s: float = inf) -> None:
        """Tell a peer why its request is refused, if it is still there. All protocols write errors alike."""
        await self.offer(encode(error_message(error)), timeout_s=timeout_s)

    async def receive(self) -> dict[str, Any]:
        """Wait for the next message.

        Raises:
            MalformedError: the received bytes are not a frame.
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
        """Close the stream."""
        await self._stream.aclose()

    async def aclose_shielded(self) -> None:
        """Close the stream even if cancelled, and wait at most a second for a side that has stopped reading."""
        with trio.move_on_after(HANG_UP_S, shield=True):
            await self.aclose()


# ---- Messages of one topic that wait to be read.


class Inbox:
    """The newest messages of one topic."""

    def __init__(self, topic: str, accept: Accept) -> None:
        self._topic = topic
        self._accept = accept
        self._send, self.receive = trio.open_memory_channel[Gossip](GOSSIP_WAITING_MAX)

    def judge(self, origin: PeerId, content: bytes) -> GossipVerdict:
        """Ask the subscriber, and find the reason for a plain refusal; an exception drops the message."""
        try:
            answer = self._accept(origin, content)
        except Exception:
            log.exception("a message on %s could not be checked", self._topic)
            return GossipVerdict.IGNORE
        if isinstance(answer, GossipVerdict):
            return answer
        if answer:
            return GossipVerdict.PASS
        is_wrong = judge_envelope(self._topic, origin, content) is GossipVerdict.REJECT
        return GossipVerdict.REJECT if is_wrong else GossipVerdict.IGNORE

    def put(self, gossip: Gossip) -> None:
        """Add a message; if there is no room, the oldest is dropped."""
        try:
            self._send.send_nowait(gossip)
        except trio.WouldBlock:
            self.receive.receive_nowait()
            self._send.send_nowait(gossip)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # nobody receives any more; messages are still passed on

    def close(self) -> None:
        """End the channel; its reader gets what waits, and then the end."""
        self._send.close()
