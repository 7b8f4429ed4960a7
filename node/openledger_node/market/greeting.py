"""Asks peers for advertisements instead of waiting for gossip.

A newcomer asks two peers for all that they have heard of its base. Later it asks one now and then. Each request
carries a digest of what is here already, so that only the rest is sent.

After a partition two neighbours are the first to learn of the other side. A node that learns something from one peer
asks a few others. They see by its digest that it knows more now, and ask back. So the news spreads like gossip.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf

import trio

from openledger_protocol.advertisement import peer_id_of
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import MalformedError, ProtocolError, StaleError, UnknownVersionError
from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import (
    ADS_MAX,
    Ads,
    AdsMessage,
    Bases,
    GetAds,
    GetBases,
    ads_protocol,
    ads_topic,
    bucket_of,
    decode,
    digest_of,
    encode,
)
from openledger_protocol.wire.inference import ErrorMessage

from ..beats import sleep_to_beat
from ..errors import LedgerError, NetworkError
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId, Transport
from .ads_server import REQUESTS_MAX, SENT_MAX
from .board import AD_INTERVAL_S, AdTable, Buckets, Held
from .offered_bases import OfferedBases
from .topics import BASES_MAX, FollowedBases

NEWS_PEERS, NEWS_BURST = 3, 8
"""Other peers that are asked after one has told something new, and the most such requests at once.

Requests back to a peer that may know more count too. Afterwards there is one in `ASK_NEW_EVERY_S`. News of several
bases goes to the same peers, because a peer takes one stream in 10 s.
"""

ASK_TIMEOUT_S = 10.0
IMPATIENT_S = 2.0
"""The time after which another peer is asked beside one that has not answered yet."""

ASK_EVERY_S = 600.0
"""The usual pause between requests, about as long as that between advertisements."""

ASK_COPY_EVERY_S = 30.0
"""The pause between requests where a second copy of this node may have told its own advertisement."""

LOOK_S = 1.0
ASKS_MAX = 4
"""Peers that are asked at the same time."""

ROUNDS_MAX = 3
"""Requests for one base on one stream."""

OTHER_REQUESTS = 2
"""Requests on a stream that are for no base: one for the list of bases, and one that tells this node's own offer."""

SEARCH_TIMEOUT_S = 3.0

log = logging.getLogger(__name__)

GREETED_MIN = 2
"""Peers that a newcomer asks. One alone could hide sellers from it."""

ASK_AGAIN_S = 5.0
"""A peer that has just connected may be a newcomer itself, so it is asked again after it has asked others."""

ASK_NEW_EVERY_S, ASK_NEW_BURST = 60.0, 4
"""Peers that connect later may come from a part of the network that was cut off.

After a quiet time so many of them are asked at once, and then one in the pause, so that many new connections are no
storm of requests.
"""

RETRY_S = 60.0
"""The pause before a peer that did not answer is asked again."""


@dataclass(slots=True)
class _Fetched:
    """The cost of asking for one base on one stream, and its yield."""

    num_requests: int = 0
    num_told: int = 0
    num_new: int = 0  # of those told


@dataclass(slots=True)
class AskedPeers:
    """The connected peers that were asked for one base."""

    answered: set[PeerId] = field(default_factory=set)
    tried_s: dict[PeerId, float] = field(default_factory=dict)  # the last time
    running_s: dict[PeerId, float] = field(default_factory=dict)  # requests without an answer yet, and since when
    again_s: dict[PeerId, float] = field(default_factory=dict)  # peers to ask once more, and when
    due_s: float = 0.0  # when to ask any peer
    new_peers: Buckets[None] = field(default_factory=lambda: _bucket(ASK_NEW_BURST))

    def forget(self, connected: Sequence[PeerId]) -> None:
        """Forget peers that have left; one that comes back may know more."""
        self.answered &= set(connected)
        self.tried_s = {peer: at_s for peer, at_s in self.tried_s.items() if peer in connected}
        self.again_s = {peer: at_s for peer, at_s in self.again_s.items() if peer in connected}

    def next(
        self, followers: Sequence[PeerId], connected: Sequence[PeerId], *, now_s: float, draw: Callable[[], float]
    ) -> PeerId | None:
        """The peer to ask now: one that follows the base, or at first any. `draw` draws a number below 1."""
        free = [peer_id for peer_id in followers if peer_id not in self.running_s]
        fresh = [peer_id for peer_id in free if now_s - self.tried_s.get(peer_id, -RETRY_S) >= RETRY_S]
        fresh = [peer_id for peer_id in fresh if peer_id not in self.answered]
        if len(self.answered) < GREETED_MIN and fresh:
            return fresh[0]
        if not followers and len(self.tried_s) < GREETED_MIN:
            return next((each for each in connected if each not in self.tried_s), None)
        waiting = [peer_id for peer_id in self.again_s if peer_id in free]  # one that does not follow would for ever
        if again := [peer_id for peer_id in waiting if self.again_s[peer_id] <= now_s]:
            return again[0]
        if fresh and not waiting and self.new_peers.take(None):
            return fresh[0]
        rested = [peer_id for peer_id in free if now_s - self.tried_s.get(peer_id, -RETRY_S) >= RETRY_S]
        return rested[int(draw() * len(rested))] if rested and now_s >= self.due_s else None

    def is_due(self, peer_id: PeerId, now_s: float) -> bool:
        """True if a peer is to be asked once more now."""
        return peer_id in self.again_s and self.again_s[peer_id] <= now_s


class Greeter:
    """Asks peers for the bases that this node follows; `run` is its task."""

    def __init__(
        self,
        *,
        network: str,
        transport: Transport,
        table: AdTable,
        followed: FollowedBases,
        offered: OfferedBases,
        own: Callable[[], Held | None],
        renew: Callable[[], Awaitable[bytes | None]],
        jitter: Callable[[], float],
    ) -> None:
        self._network = network
        self._transport = transport
        self._table = table
        self._followed = followed
        self._offered = offered
        self._own = own
        self._renew = renew  # signs this node's advertisement anew
        self._jitter = jitter
        self._asked: dict[Digest, AskedPeers] = {}
        self._news = _bucket(NEWS_BURST)
        self._asking = trio.CapacityLimiter(ASKS_MAX)
        self._looked_s = -RETRY_S  # the time of the last look around

    async def run(self) -> None:
        """Ask until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._list_on)
            while True:
                self._look(nursery)
                await sleep_to_beat(LOOK_S)

    async def _list_on(self) -> None:
        """Ask two peers at first, and one now and then, which bases the network has."""
        tried_s, num_answers = dict[PeerId, float](), 0
        while True:
            connected, now_s = self._transport.connected(), trio.current_time()
            tried_s = {peer_id: at_s for peer_id, at_s in tried_s.items() if peer_id in connected}
            free = [peer_id for peer_id in connected if now_s - tried_s.get(peer_id, -RETRY_S) >= RETRY_S]
            if free:
                own = self._followers(self._followed.own)
                peer_id = min(free, key=lambda each: each in own)  # used at once
                tried_s[peer_id] = now_s
                num_answers += await self._ask(peer_id, is_listing=True)
            await trio.sleep(LOOK_S if num_answers < GREETED_MIN else ASK_EVERY_S * (0.5 + self._jitter()))

    async def run_for_copies(self) -> None:
        """Ask a peer now and then, and tell it our own: a second copy of this node is heard of in no other way.

        Gossip drops messages that seem to be our own. Both copies prefer the same peers, so that they meet there.
        """
        while True:
            await trio.sleep(ASK_COPY_EVERY_S * (0.5 + self._jitter()))
            for peer_id in sorted(self._transport.connected(), key=self._preference)[:ASKS_MAX]:
                if await self._ask(peer_id, [self._followed.own], is_telling=True):
                    break

    async def look_around(self) -> None:
        """Learn the network's bases and follow those with most sellers, so that a search finds what they offer."""
        with trio.move_on_after(SEARCH_TIMEOUT_S):
            if trio.current_time() - self._looked_s >= RETRY_S:  # the list of bases changes seldom
                self._looked_s = trio.current_time()
                async with trio.open_nursery() as nursery:
                    for peer_id in self._others_first()[:GREETED_MIN]:
                        nursery.start_soon(self._ask_bases, peer_id)
            bases = [known.base for known in self._offered.list_bases(BASES_MAX)]
            if self._followed.own not in bases:
                bases = bases[: BASES_MAX - 1]  # its own one is followed as well
            for base in bases:
                self._followed.ask(base)
            while not all(self._has_tried(base) for base in bases):  # noqa: ASYNC110  # `run` asks them
                await trio.sleep(LOOK_S / 10)

    def ask_back(self, peer_id: PeerId, base: Digest) -> None:
        """Ask a peer soon that may know more, by the digest of its own request."""
        asked, now_s = self._asked.get(base), trio.current_time()
        if asked is None or not asked.answered or peer_id in asked.again_s:
            return
        if now_s - asked.tried_s.get(peer_id, -inf) >= AD_INTERVAL_S and self._may_ask(peer_id):
            asked.again_s[peer_id] = now_s

    # ---- whom to ask

    def _look(self, nursery: trio.Nursery) -> None:
        connected, now_s = self._transport.connected(), trio.current_time()
        self._asked = {base: self._asked.get(base) or AskedPeers() for base in self._followed.bases}
        due: dict[PeerId, dict[Digest, AskedPeers]] = {}  # all bases for one peer go on one stream
        for base, asked in self._asked.items():
            asked.forget(connected)
            is_waiting = any(now_s - at_s <= IMPATIENT_S for at_s in asked.running_s.values())
            if is_waiting or len(asked.running_s) >= ASKS_MAX:
                continue
            if peer_id := asked.next(self._followers(base), connected, now_s=now_s, draw=self._jitter):
                asked.running_s[peer_id] = asked.tried_s[peer_id] = now_s
                asked.again_s.pop(peer_id, None)
                due.setdefault(peer_id, {})[base] = asked
        for peer_id, bases in due.items():
            nursery.start_soon(self._greet, peer_id, bases)

    def _followers(self, base: Digest) -> list[PeerId]:
        """Connected peers that follow a base, or one whose topic has the same name."""
        begin = ads_topic(self._network, base).rpartition("/")[0]
        topics = self._transport.topics_of_peers()
        return [
            peer_id
            for peer_id in self._transport.connected()
            if any(topic.startswith((f"{begin}/", f"{begin}.")) for topic in topics.get(peer_id, ()))
        ]

    def _others_first(self) -> list[PeerId]:
        """Connected peers, those of other bases first, because the others may know of this node's base alone."""
        own = self._followers(self._followed.own)
        return sorted(self._transport.connected(), key=lambda peer_id: peer_id in own)

    def _has_tried(self, base: Digest) -> bool:
        asked = self._asked.get(base)
        return asked is not None and bool(asked.tried_s) and not asked.running_s

    def _preference(self, peer_id: PeerId) -> bytes:
        return sha256(f"{self._transport.peer_id} {peer_id}".encode()).digest()

    # ---- asking

    async def _greet(self, peer_id: PeerId, bases: Mapping[Digest, AskedPeers]) -> None:
        """Ask a peer for bases on one stream; those that find no room there are due at the next look."""
        first = {base for base, asked in bases.items() if len(asked.answered) < GREETED_MIN}
        num_new: dict[Digest, int] = {}
        is_done = await self._ask(peer_id, [*bases], num_new=num_new, is_listing=bool(first))
        for base, asked in bases.items():
            del asked.running_s[peer_id]
            if base in num_new:
                self._note_answer(peer_id, base, asked, num_new=num_new[base], is_first=base in first)
            elif is_done:
                asked.tried_s.pop(peer_id, None)

    def _note_answer(self, peer_id: PeerId, base: Digest, asked: AskedPeers, *, num_new: int, is_first: bool) -> None:
        followers, now_s = self._followers(base), trio.current_time()
        if peer_id not in followers:
            return
        if num_new and asked.answered:  # a newcomer learns all from the first, and nobody lacks it
            self._pass_on(asked, [each for each in followers if each != peer_id])
        if is_first:
            asked.again_s[peer_id] = now_s + ASK_AGAIN_S
        asked.answered.add(peer_id)
        asked.due_s = now_s + ASK_EVERY_S * (0.5 + self._jitter())

    def _pass_on(self, asked: AskedPeers, others: Sequence[PeerId]) -> None:
        """Ask some peers, which see then that this node knows more than they do."""
        first = int(self._jitter() * len(others))
        drawn = sorted((*others[first:], *others[:first]), key=lambda peer_id: not self._is_due(peer_id))
        for peer_id in drawn[:NEWS_PEERS]:
            if self._may_ask(peer_id):
                asked.again_s[peer_id] = trio.current_time()

    def _may_ask(self, peer_id: PeerId) -> bool:
        """True if the budget for news allows one more request, or one is due that this one goes with."""
        return self._is_due(peer_id) or self._news.take(None)

    def _is_due(self, peer_id: PeerId) -> bool:
        now_s = trio.current_time()
        return any(asked.is_due(peer_id, now_s) for asked in self._asked.values())

    async def _ask_bases(self, peer_id: PeerId) -> None:
        await self._ask(peer_id, is_listing=True)

    async def _ask(
        self,
        peer_id: PeerId,
        bases: Sequence[Digest] = (),
        *,
        num_new: dict[Digest, int] | None = None,
        is_listing: bool = False,
        is_telling: bool = False,
    ) -> bool:
        """Ask a peer; True if it answered.

        `num_new` gets, for each base that the stream had room for, the number of advertisements that were new.
        """
        has_answered = False
        try:
            async with self._asking:
                with trio.move_on_after(ASK_TIMEOUT_S):
                    stream = await self._transport.open_stream(peer_id, ads_protocol(self._network))
                    async with stream:
                        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
                        if is_listing:
                            await self._fetch_bases(peer_id, messages)
                        await self._fetch_all(bases, messages, {} if num_new is None else num_new)
                        if is_telling and (own := await self._renew()):
                            await messages.send(encode(Ads(ads=(own,))))
                    has_answered = True
        except (NetworkError, ProtocolError, LedgerError) as error:
            log.info("%s tells no advertisements: %s", peer_id, error)
        return has_answered

    async def _fetch_all(self, bases: Sequence[Digest], messages: MessageStream, num_new: dict[Digest, int]) -> None:
        """Ask for bases in turn, while the limits of a stream leave room for each; `num_new` gets those done."""
        num_requests, num_ads = OTHER_REQUESTS, 0
        for base in bases:
            if num_requests + ROUNDS_MAX > REQUESTS_MAX or num_ads + ADS_MAX > SENT_MAX:
                return
            fetched = await self._fetch(base, messages)
            num_requests, num_ads = num_requests + fetched.num_requests, num_ads + fetched.num_told
            num_new[base] = fetched.num_new

    async def _fetch(self, base: Digest, messages: MessageStream) -> _Fetched:
        """Ask for the advertisements of a base that are not here."""
        fetched, bucket_min = _Fetched(), 0
        while fetched.num_requests < ROUNDS_MAX:
            request = GetAds(base=base, digest=self._digest(base), bucket_min=bucket_min)
            reply = await _exchange(messages, request)
            if not isinstance(reply, Ads):
                raise MalformedError("a peer answers `get` with something else than `ads`")
            for content in reply.ads:
                fetched.num_new += await self._learn(content)
            fetched.num_requests += 1
            fetched.num_told += len(reply.ads)
            if len(reply.ads) < ADS_MAX:
                break
            bucket_min = bucket_of(peer_id_of(reply.ads[-1]))
        return fetched

    async def _fetch_bases(self, peer_id: PeerId, messages: MessageStream) -> None:
        """Ask for the bases of the network, and keep one advertisement of each that is not followed."""
        reply = await _exchange(messages, GetBases())
        if not isinstance(reply, Bases):
            raise MalformedError("a peer answers `get_bases` with something else than `bases`")
        for known in reply.bases:
            await self._learn(known.ad)
        self._offered.tell(peer_id, reply.bases)

    async def _learn(self, content: bytes) -> bool:
        """Take an advertisement that a peer tells; True if it was new.

        Raises:
            ProtocolError: it is forged. An honest peer has checked it, so nothing else is taken from this one.
        """
        await trio.lowlevel.checkpoint()  # checking signatures takes time, and other tasks wait
        try:
            self._table.take(content)
        except (StaleError, UnknownVersionError) as error:
            self._table.why_refused = error.message
            return False
        return True

    def _digest(self, base: Digest) -> bytes:
        own = self._own()
        held = [*self._table.held(base), *((own,) if own and own.base == base else ())]
        return digest_of((each.peer_id, each.seq) for each in held)


async def _exchange(messages: MessageStream, request: AdsMessage) -> AdsMessage:
    """Send a request and return the answer.

    Raises:
        NetworkError: the stream has ended, or the peer refuses.
        MalformedError: the answer can't be read.
    """
    await messages.send(encode(request))
    reply = decode(await messages.receive())
    if isinstance(reply, ErrorMessage):
        raise NetworkError(f"it refuses: {reply.message}")
    return reply


def _bucket(burst: int) -> Buckets[None]:
    """A budget of so many requests at once, and one more in `ASK_NEW_EVERY_S`."""
    return Buckets(interval_s=ASK_NEW_EVERY_S, burst=burst, now_s=trio.current_time)
