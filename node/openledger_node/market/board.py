"""The advertisement table: valid advertisements, and the models that can be bought under each name.

Advertisements from peers are checked here, without waiting, before they are believed or passed on.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from openledger_protocol.advertisement import Advertisement, OfferedAdapter, open_advertisement, peer_id_of
from openledger_protocol.bloom import may_hold
from openledger_protocol.constants import AD_BYTES_MAX
from openledger_protocol.errors import MalformedError, ProtocolError, StaleError, UnknownModelError
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Digest
from openledger_protocol.wire.ads import AdsTopic, shard_of

from ..ledger.peers import Peers
from ..p2p.transport import PeerId
from .call_memory import FilterMisses
from .names import Named, Names, Resolved, full_name, resolve
from .places import Placed, PlacedAds
from .second_copy import CopyWatch
from .worth import CoverageOf, Worth, WorthOf, covers_all, crowded_out

# ---- Token buckets: a peer that sends too much is ignored, without slowing down others.

KEYS_MAX = 4_096
"""Buckets kept in memory; beyond that, full ones are dropped first, then the least recently used."""

Key = TypeVar("Key")


class Buckets(Generic[Key]):
    """One bucket per key, full at first: `burst` at once, then one per `interval_s`."""

    def __init__(self, *, interval_s: float, burst: int, now_s: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._burst = burst
        self._now_s = now_s
        self._empty_at: dict[Key, float] = {}  # the time at which the bucket would have been empty

    def take(self, key: Key) -> bool:
        """Take one token from a key's bucket; False if it is empty."""
        now = self._now_s()
        full_at = now - self._burst * self._interval_s
        # A clock that was set back refills nothing, and blocks nobody longer than an empty bucket does.
        since = min(max(self._empty_at.pop(key, full_at), full_at), now)
        can_take = now - since >= self._interval_s
        self._empty_at[key] = since + self._interval_s if can_take else since
        if len(self._empty_at) > KEYS_MAX:
            self._forget(full_at)
        return can_take

    def _forget(self, full_at: float) -> None:
        kept = {key: since for key, since in self._empty_at.items() if since > full_at}
        self._empty_at = dict(list(kept.items())[-KEYS_MAX:])


# ---- advertisements

AD_INTERVAL_S, AD_BURST = 10.0, 3
"""Rate limit per origin: a node publishes every ten minutes, and a few times more on changes."""

SEQS_MAX = 4_096

NAMES_MAX = 1_024
"""Adapter names that are remembered: a node that has evicted an adapter still has it, but no longer names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An adapter that is offered on the network."""

    adapter: OfferedAdapter
    base: Digest
    num_nodes: int  # that have it, warm or cold


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A live advertisement as it is passed on."""

    base: Digest
    peer_id: str
    seq: int
    content: bytes


@dataclass(slots=True, kw_only=True)
class _AdEntry:
    """A peer's newest advertisement, with its signed bytes."""

    ad: Advertisement
    content: bytes
    came_by_gossip: bool  # received by gossip; a second time would be a replay
    has_told_names: bool = False  # its names are remembered


class AdTable:
    """Live advertisements, one per peer."""

    def __init__(
        self,
        network: str,
        now_s: Callable[[], float],
        peers: Peers,
        *,
        own: PeerId | None = None,
        base_names: Mapping[Digest, str] | None = None,
        copies: CopyWatch | None = None,
    ) -> None:
        self._network = network
        self._now_s = now_s
        self._peers = peers
        self._own = own
        self._copies = copies
        self._base_names = dict(base_names or {})
        self._buckets: Buckets[PeerId] = Buckets(interval_s=AD_INTERVAL_S, burst=AD_BURST, now_s=now_s)
        self._entries: dict[str, _AdEntry] = {}
        self._places = PlacedAds()
        self._expires_s = inf  # nothing on the board expires before
        self._seqs: dict[str, int] = peers.seqs()
        self._unkept: dict[str, int] = {}
        self._noted_ns = 0  # when the newest sequence was noted
        self._named: dict[Named, None] = {}  # most recent last
        self.num_taken = 0  # advertisements since the start
        self.misses = FilterMisses(now_s)
        self.worth_of: WorthOf = lambda _: Worth()  # set by whoever reads the chain
        self.coverage_of: CoverageOf = covers_all  # set by whoever chooses the bases to follow
        self.want: Callable[[Digest], None] = lambda _: None  # told of each base that a request or a command names
        self.why_refused: str | None = None  # the latest refusal

    # ---- incoming advertisements

    def receive(self, origin: PeerId, content: bytes, topic: AdsTopic | None = None) -> bool:
        """Take an advertisement received by gossip; False if it is invalid and must not be passed on."""
        try:
            self._receive(origin, content, topic)
        except ProtocolError as error:
            self.why_refused = error.message
            return False
        return True

    def learn(self, content: bytes) -> bool:
        """Take an advertisement that another peer passed on when asked; its origin may be any peer."""
        try:
            self.take(content)
        except ProtocolError as error:
            self.why_refused = error.message
            return False
        return True

    def take(self, content: bytes) -> None:
        """Take an advertisement as in `learn`.

        Raises:
            StaleError: it is here already, is not newer than the last one, has expired, or finds no room.
            ProtocolError: it is wrong, which a peer that passes it on could have seen.
        """
        self._take(content, came_by_gossip=False)

    def keep(self) -> None:
        """Write the sequence numbers accepted since the last call; blocks.

        Raises:
            LedgerError: they can't be written now; the next call tries them again.
        """
        unkept, self._unkept = self._unkept, {}
        if not unkept:
            return
        try:
            self._peers.keep_seqs(unkept, now_ns=self._noted_ns)
        except BaseException:
            self._unkept = {**unkept, **self._unkept}
            raise

    # ---- queries

    def live(self) -> list[Advertisement]:
        """Advertisements that have not expired, of peers that serve or not."""
        self._expire()
        return [entry.ad for entry in self._entries.values()]

    def unread(self, count_max: int) -> list[Advertisement]:
        """Advertisements whose bond was not read yet, the newest first, since older ones make room for it."""
        self._expire()
        unread = [each for each in self._places.values() if self.worth_of(each.ad).bonded_wei is None]
        return [each.ad for each in sorted(unread, key=lambda each: -each.number)[:count_max]]

    def held(self, base: Digest) -> list[Held]:
        """Live advertisements of a base, with their signed bytes as received."""
        self._expire()
        return [_held(entry) for entry in self._entries.values() if entry.ad.base == base]

    def held_of(self, peer_id: str) -> list[Held]:
        """A peer's live advertisement, if there is one."""
        self._expire()
        return [_held(entry) for entry in (self._entries.get(peer_id),) if entry]

    def bases(self) -> dict[Digest, Held]:
        """Each base with a live seller, and the advertisement of one: of a seller with a bond if any has, and new."""
        best = sorted(self._fit(), key=lambda ad: (self.worth_of(ad).is_bonded, ad.issued_s))
        return {ad.base: _held(self._entries[ad.peer_id]) for ad in best}

    def num_by_base(self) -> Counter[Digest]:
        """The number of each base's live sellers."""
        return Counter(ad.base for ad in self._serving())

    def num_sellers(self, base: Digest, is_counted: Callable[[Advertisement], bool]) -> int:
        """The number of a base's live sellers that are counted."""
        return sum(ad.base == base and is_counted(ad) for ad in self._serving())

    def find(self, peer_id: str) -> Advertisement | None:
        """A peer's live advertisement."""
        self._expire()
        entry = self._entries.get(peer_id)
        return entry.ad if entry else None

    def has_bond(self, peer_id: str) -> bool:
        """True if a peer advertises with a wallet whose bond the chain confirms."""
        entry = self._entries.get(peer_id)
        return entry is not None and self.worth_of(entry.ad).is_bonded

    def offers(self, base: Digest, adapter: AdapterId) -> list[Advertisement]:
        """Advertisements for an adapter, or for the base alone: cheapest first, then warm, then with free slots."""
        found = [ad for ad in self._serving() if ad.base == base and self._may_have(ad, adapter)]
        return sorted(found, key=lambda ad: (_price(ad), not is_warm(ad, adapter), -ad.slots_free, ad.peer_id))

    def fit_offers(self, base: Digest, adapter: AdapterId) -> list[Advertisement]:
        """The offers that may win a call, cheapest first: all but those without a bond by the chain."""
        return [ad for ad in self.offers(base, adapter) if self.worth_of(ad).bonded_wei != 0]

    def resolve(self, name: str) -> Resolved:
        """Resolve a model's name among the advertised models; see `names.resolve`.

        Raises:
            UnknownModelError: the name means nothing, or several models (all named).
            UnavailableError: it means a base that this node knows and nobody serves now.
        """
        bases = frozenset(ad.base for ad in self._serving())
        names = Names(base_names=self._base_names, named=self._names(), bases=bases, is_offered=self._is_offered)
        try:
            found = resolve(name, names)
            self.want(found.base)
            return found
        except UnknownModelError as error:
            if not self._is_unbonded_name(name):
                raise
            raise UnknownModelError(
                f"{error.message}: only sellers without the network's minimum stake name it. "
                "Their owners can bond it with `openledger-node stake add`"
            ) from error

    def adapters(self) -> list[Listed]:
        """Models offered by name, each with the number of nodes that have it."""
        serving = self._fit()
        listed = [
            Listed(adapter=offered, base=base, num_nodes=num_nodes)
            for base, offered in self._names()
            if (num_nodes := sum(ad.base == base and self._may_have(ad, offered.id) for ad in serving))
        ]
        return sorted(listed, key=lambda one: (one.adapter.name, one.adapter.id, one.base))

    # ---- helpers

    def _receive(self, origin: PeerId, content: bytes, topic: AdsTopic | None) -> None:
        if len(content) > AD_BYTES_MAX:
            raise MalformedError(f"an advertisement of {len(content)} bytes is over its cap of {AD_BYTES_MAX}")
        if not self._buckets.take(origin):
            raise StaleError(f"{origin} advertises more often than once in {AD_INTERVAL_S:.0f} s")
        if (peer_id := peer_id_of(content)) != origin:
            raise MalformedError(f"{origin} publishes an advertisement of {peer_id}: each publishes its own")
        entry = self._entries.get(peer_id)
        if entry and entry.content == content and not entry.came_by_gossip:
            entry.came_by_gossip = True  # passed on before the gossip came; peers behind us may not have it
            return
        if topic and shard_of(peer_id, topic.bits) != topic.index:
            raise StaleError(f"{origin} belongs to another shard of its base")
        self._take(content, came_by_gossip=True, topic=topic)

    def _take(self, content: bytes, *, came_by_gossip: bool, topic: AdsTopic | None = None) -> None:
        peer_id = peer_id_of(content)
        before = self._entries.get(peer_id)
        if before and before.content == content:
            raise StaleError("this advertisement is here already")
        if peer_id == self._own:
            if self._copies:
                self._copies.see(self._open(content, seq_last=None))
            raise StaleError("an advertisement of our own comes back")
        self._expire()
        seq_last = self._seqs.get(peer_id)
        if seq_last is not None and not came_by_gossip and peer_id not in self._entries:
            seq_last -= 1  # accept the last one from before a restart again: the next may be ten minutes away
        ad = self._open(content, seq_last=seq_last)
        # A seller that has changed its base says so where it has sold before.
        if topic and not any(
            base.startswith(f"0x{topic.prefix}") for base in (ad.base, before and before.ad.base) if base
        ):
            raise StaleError(f"{peer_id} advertises base {ad.base} where another one is sold")
        self.num_taken += 1
        if before:
            self._note_names(before)  # its bond may have been read only after it came
        self._entries[peer_id] = _AdEntry(ad=ad, content=content, came_by_gossip=came_by_gossip)
        self._places.put(Placed(ad=ad, number=self.num_taken))
        self._expires_s = min(self._expires_s, ad.expires_s)
        self._note_seq(peer_id, ad.seq)
        self._make_room(ad)
        self._note_names(self._entries[peer_id])
        if self._copies:
            self._copies.see(ad)

    def _make_room(self, newest: Advertisement) -> None:
        """Drop what is worth least in each group that the newest advertisement has filled.

        Raises:
            StaleError: the newest one is worth least itself.
        """
        now_s = self._now_s()
        while worst := crowded_out(self._places, newest, self.worth_of, self.coverage_of, now_s=now_s):
            self._drop(worst)
            if worst == newest.peer_id:
                raise StaleError("the board is full of advertisements that are worth more: bond the minimum stake")

    def _drop(self, peer_id: str) -> None:
        del self._entries[peer_id]
        self._places.drop(peer_id)

    def _open(self, content: bytes, *, seq_last: int | None) -> Advertisement:
        return open_advertisement(content, network=self._network, now_s=int(self._now_s()), seq_last=seq_last)

    def _note_seq(self, peer_id: str, seq: int) -> None:
        self._seqs.pop(peer_id, None)  # newest last
        self._seqs[peer_id] = self._unkept[peer_id] = seq
        self._noted_ns = int(self._now_s() * 10**9)
        while len(self._seqs) > SEQS_MAX:
            self._seqs.pop(next(iter(self._seqs)))

    def _note_names(self, entry: _AdEntry) -> None:
        """Remember the names that a seller with a bond gives: it keeps adapters that it no longer names."""
        if entry.has_told_names or not self.worth_of(entry.ad).is_bonded:
            return
        entry.has_told_names = True
        for offered in entry.ad.warm if entry.ad.serves else ():
            self._named.pop((entry.ad.base, offered), None)
            self._named[entry.ad.base, offered] = None
        while len(self._named) > NAMES_MAX:
            self._named.pop(next(iter(self._named)))

    def _names(self) -> tuple[Named, ...]:
        """Names that sellers with a bond have given, and new names for new adapters from sellers not read yet.

        A stranger could otherwise make a name ambiguous, by giving it to an adapter that others offer.
        """
        self._expire()
        for entry in self._entries.values():
            self._note_names(entry)
        known = {(base, each) for base, offered in self._named for each in (offered.name, offered.id)}
        unread = (ad for ad in self._fit() if not self.worth_of(ad).is_bonded)
        hinted = {(ad.base, offered): None for ad in unread for offered in ad.warm}
        new = [each for each in hinted if not known & {(each[0], each[1].name), (each[0], each[1].id)}]
        return (*self._named, *new)

    def _is_offered(self, base: Digest, adapter: AdapterId) -> bool:
        return any(ad.base == base and self._may_have(ad, adapter) for ad in self._fit())

    def _is_unbonded_name(self, name: str) -> bool:
        offered = (each for ad in self._serving() if self.worth_of(ad).bonded_wei == 0 for each in ad.warm)
        return any(name.rpartition(":")[2] in (each.name, full_name(each), each.id) for each in offered)

    def _may_have(self, ad: Advertisement, adapter: AdapterId) -> bool:
        return is_warm(ad, adapter) or (may_hold(ad.cold, adapter) and self.misses.believes(ad.peer_id, adapter))

    def _expire(self) -> None:
        if (now := self._now_s()) < self._expires_s:
            return
        for peer_id in [peer_id for peer_id, entry in self._entries.items() if entry.ad.expires_s <= now]:
            self._drop(peer_id)
        self._expires_s = min((entry.ad.expires_s for entry in self._entries.values()), default=inf)

    def _fit(self) -> list[Advertisement]:
        """Serving peers, except those that have no bond by the chain: their names do not count."""
        return [ad for ad in self._serving() if self.worth_of(ad).bonded_wei != 0]

    def _serving(self) -> list[Advertisement]:
        return [ad for ad in self.live() if ad.serves]


def _held(entry: _AdEntry) -> Held:
    return Held(base=entry.ad.base, peer_id=entry.ad.peer_id, seq=entry.ad.seq, content=entry.content)


def is_warm(ad: Advertisement, adapter: AdapterId) -> bool:
    """True if a node has an adapter in memory; the base always is."""
    return adapter == BASE_ONLY or any(offered.id == adapter for offered in ad.warm)


def _price(ad: Advertisement) -> int:
    return ad.terms.price_in_wei + ad.terms.price_out_wei
