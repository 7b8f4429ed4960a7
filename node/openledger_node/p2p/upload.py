"""Fair shares of this node's uplink among the peers that fetch adapters and rows from it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.errors import OverloadedError, ProtocolError

from ..errors import NetworkError
from .streams import MessageStream
from .transport import PeerId

IDLE_S, UNREAD_S = 30.0, 30.0
"""A stream is closed when nothing is requested, or an answer is not read, for this long."""

STREAMS_PER_PEER = 2
STREAMS_MAX = 16
TURN_S = 10.0
"""A chunk waits for its turn no longer than this, because the other side gives up after 20 s."""


@dataclass(slots=True, eq=False)
class UploadPlace:
    """One stream's place; `asked_s` is when its last request came, and `is_waiting` is true until the next one."""

    peer_id: PeerId
    asked_s: float
    is_waiting: bool = True
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class UploadPlaces:
    """Places for streams. If all are taken, a newcomer gets one of a peer that has two, or the one idle longest."""

    def __init__(self, *, streams_max: int = STREAMS_MAX, clock: Callable[[], float] = trio.current_time) -> None:
        self._streams_max = streams_max
        self._clock = clock
        self._places: list[UploadPlace] = []

    @contextmanager
    def entered(self, peer_id: PeerId) -> Iterator[UploadPlace]:
        """Take a place for a stream; its scope is cancelled when another peer needs the place.

        Raises:
            OverloadedError: the peer has its share, or all places are in use.
        """
        num_of = Counter(place.peer_id for place in self._places)
        if num_of[peer_id] >= STREAMS_PER_PEER:
            raise OverloadedError(f"you have {STREAMS_PER_PEER} streams open here: use these")
        if len(self._places) >= self._streams_max:
            self._make_room(num_of, peer_id)
        place = UploadPlace(peer_id, self._clock())
        self._places.append(place)
        try:
            with place.scope:
                yield place
        finally:
            if place in self._places:
                self._places.remove(place)

    def _make_room(self, num_of: Counter[PeerId], peer_id: PeerId) -> None:
        spare = [place for place in self._places if place.is_waiting]
        if not num_of[peer_id]:  # a peer without a stream comes before the second stream of another
            spare = [place for place in self._places if num_of[place.peer_id] > 1] or spare
        if not spare:
            raise OverloadedError(f"{self._streams_max} streams are open here: come back later")
        leaver = min(spare, key=lambda place: (not place.is_waiting, place.asked_s))
        self._places.remove(leaver)
        leaver.scope.cancel()


def streams_at(bytes_per_s: int) -> int:
    """The number of streams that an uplink of this rate can serve in time; 0 is no limit."""
    turns = int(bytes_per_s * TURN_S // CHUNK_BYTES) if bytes_per_s else STREAMS_MAX
    return max(1, min(STREAMS_MAX, turns))


class Uplink:
    """Paces what is sent to a rate; those that wait get their turns in the order in which they came.

    Its places are for all that it carries, adapters and rows: each of them has its turn in time.
    """

    def __init__(self, bytes_per_s: int) -> None:
        self.places = UploadPlaces(streams_max=streams_at(bytes_per_s))
        self._bytes_per_s = bytes_per_s  # 0: no limit
        self._turn = trio.Lock()
        self._free_s = 0.0

    async def wait(self, num_bytes: int) -> None:
        """Wait until so many bytes may be sent."""
        if not self._bytes_per_s:
            return
        async with self._turn:
            await trio.sleep_until(self._free_s)
            self._free_s = max(self._free_s, trio.current_time()) + num_bytes / self._bytes_per_s


AnswerAll = Callable[[MessageStream, UploadPlace], Awaitable[None]]
"""Answers the requests of one stream until it ends; raises ProtocolError for a request that it refuses."""


async def serve_upload(peer_id: PeerId, stream: trio.abc.Stream, uplink: Uplink, answer_all: AnswerAll) -> None:
    """Serve one stream in a place of its own, and tell the peer why it is refused, if it is."""
    messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
    with suppress(NetworkError, trio.TooSlowError):
        try:
            with uplink.places.entered(peer_id) as place:
                await answer_all(messages, place)
            if place.scope.cancelled_caught:
                raise OverloadedError("another peer needs this stream's place: come back later")
        except ProtocolError as error:
            await messages.refuse(error, timeout_s=IDLE_S)


async def next_request(messages: MessageStream, place: UploadPlace) -> dict[str, Any]:
    """The next request of a stream; until it comes, another peer may be given the stream's place.

    Raises:
        TooSlowError: none came for `IDLE_S`.
        NetworkError: the peer has gone.
    """
    place.is_waiting = True
    with trio.fail_after(IDLE_S):
        found = await messages.receive()
    place.is_waiting, place.asked_s = False, trio.current_time()
    return found
