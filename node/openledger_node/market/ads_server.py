"""Answers peers that ask for advertisements."""

from collections.abc import Callable

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import MalformedError, OverloadedError, ProtocolError
from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import (
    ADS_MAX,
    BASES_MAX,
    BUCKET_BYTES,
    Ads,
    Bases,
    GetAds,
    GetBases,
    bucket_of,
    decode,
    differing,
    digest_of,
    encode,
)

from ..errors import NetworkError
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId
from .board import AD_BURST, AD_INTERVAL_S, AdTable, Buckets, Held
from .offered_bases import OfferedBases

STREAM_TIMEOUT_S = 20.0

REQUESTS_MAX, SENT_MAX = 16, 2 * ADS_MAX
"""Requests on one stream, and advertisements in all answers to them."""


class AdsServer:
    """Tells each peer what it lacks, in one stream in 10 s."""

    def __init__(
        self,
        *,
        table: AdTable,
        offered: OfferedBases,
        own: Callable[[], Held | None],
        ask_back: Callable[[PeerId, Digest], None],
    ) -> None:
        self._table = table
        self._ask_back = ask_back  # told of an asker that may know more of a base
        self._offered = offered
        self._own = own
        self._buckets: Buckets[PeerId] = Buckets(interval_s=AD_INTERVAL_S, burst=AD_BURST, now_s=trio.current_time)

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Answer the requests of a stream, and learn the opener's own advertisement if it sends one after them."""
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        try:
            with trio.move_on_after(STREAM_TIMEOUT_S):
                await self._answer_all(peer_id, messages)
        except ProtocolError as error:
            await messages.refuse(error, timeout_s=STREAM_TIMEOUT_S)
        except NetworkError:
            pass  # it left

    async def _answer_all(self, peer_id: PeerId, messages: MessageStream) -> None:
        if not self._buckets.take(peer_id):
            raise OverloadedError(f"you have asked more often than once in {AD_INTERVAL_S:.0f} s: come back later")
        num_left, may_list = SENT_MAX, True
        for number in range(REQUESTS_MAX):
            request = decode(await messages.receive())
            if isinstance(request, Ads) and number:
                for content in request.ads[:1]:
                    self._table.learn(content)
                return
            if isinstance(request, GetAds):
                held = self.held(request)
                found = ads_lacking(held, request)[:num_left]
                num_left -= len(found)
                if may_know_more(held, request):
                    self._ask_back(peer_id, request.base)
                await messages.send(encode(Ads(ads=found)))
            elif isinstance(request, GetBases) and may_list:
                may_list = False  # an answer is thousands of times larger than the request
                bases = self._offered.list_bases(min(request.count_max, BASES_MAX))
                await messages.send(encode(Bases(bases=tuple(bases))))
            else:
                raise MalformedError("a stream has `get`, one `get_bases` and at last `ads`")

    def held(self, request: GetAds) -> list[Held]:
        """The advertisements that a request is for and that are here, this node's own too."""
        own = self._own()
        if request.peer_id:
            return [own] if own and own.peer_id == request.peer_id else self._table.held_of(request.peer_id)
        return [*self._table.held(request.base), *((own,) if own and own.base == request.base else ())]


def ads_lacking(held: list[Held], request: GetAds) -> tuple[bytes, ...]:
    """The advertisements in buckets that differ from those of the asker, in the order of the buckets."""
    buckets = _differing(held, request)
    lacking = [(bucket, each) for each in held if (bucket := bucket_of(each.peer_id)) in buckets]
    lacking = [(bucket, each) for bucket, each in lacking if bucket >= request.bucket_min]
    lacking.sort(key=lambda found: (found[0], found[1].peer_id))
    return tuple(each.content for _, each in lacking[: min(request.count_max, ADS_MAX)])


def may_know_more(held: list[Held], request: GetAds) -> bool:
    """True if the asker has advertisements in a bucket that differs from what is here."""
    if not request.digest:
        return False
    places = (bucket * BUCKET_BYTES for bucket in _differing(held, request))
    return any(any(request.digest[at : at + BUCKET_BYTES]) for at in places)


def _differing(held: list[Held], request: GetAds) -> frozenset[int]:
    return differing(digest_of((each.peer_id, each.seq) for each in held), request.digest)
