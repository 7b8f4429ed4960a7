"""The topics of advertisements that a node follows: of its own base, and of bases that its owner asked for.

Above 300 sellers a base is split into shards, by a hash of the peer id. A node follows its own
shard, publishes on its topic, and asks peers for sellers of the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import SHARD_BITS_MAX, AdsTopic, ads_topic, parse_ads_topic, shard_of

from ..p2p.transport import PeerId
from .worth import Coverage

BASES_MAX = 8
"""Bases that are followed at once; the one that was asked for longest ago makes room."""

ASKED_S = 3_600.0
"""The time for which a base is followed that the owner asked for."""

SHARD_MAX, SHARD_MIN = 300, 120
"""Sellers of a shard above which it splits in two, and below which two become one again."""

SHARD_CROWDED = 190
"""Above this others may have split already, and below it others may not have yet, so a node publishes where both hear
it. With these three numbers nodes hear each other while their counts differ by up to a fifth."""

SETTLE_S = 1_200.0
"""The time after a change in which a node waits to have heard all sellers of its shard, before it leaves it again."""

PEERS_MIN = 3
"""Peers of a base that a newcomer needs to see before it goes where they are."""


@dataclass(slots=True)
class _Followed:
    bits: int  # the depth of its shards
    begun_s: float  # when it was first followed
    since_s: float  # when it came to this depth
    until_s: float


class FollowedBases:
    """The bases that this node follows, and the depth of their shards."""

    def __init__(self, network: str, peer_id: PeerId, own: Callable[[], Digest], now_s: Callable[[], float]) -> None:
        self._network = network
        self._peer_id = peer_id
        self._own = own
        self._now_s = now_s
        self._followed: dict[Digest, _Followed] = {}  # most recently asked for last

    @property
    def own(self) -> Digest:
        """This node's own base."""
        return self._own()

    @property
    def bases(self) -> tuple[Digest, ...]:
        """The bases that are followed now, this node's own one first."""
        self._expire()
        return self.own, *(base for base in self._followed if base != self.own)

    def ask(self, base: Digest) -> None:
        """Follow a base for an hour, because the owner asked for it."""
        followed = self._followed.pop(base, None) or self._new()
        followed.until_s = self._now_s() + ASKED_S
        self._followed[base] = followed
        self._expire()

    def expect(self, base: Digest, depths: Sequence[int], *, num_heard: int, num_in_shard: int) -> None:
        """Go where half of the peers are: a newcomer hears too few sellers to find the depth by itself.

        `num_heard` are the base's sellers of all shards that were heard of and are not known to lack a bond. A base
        has shards only if each of its nodes knows 120 sellers or more, so fewer show that deep peers lie. A newcomer
        looks again until it could have heard all sellers itself. So peers that connect later correct the first ones.
        """
        followed = self._of(base)
        if self._now_s() - followed.begun_s >= SETTLE_S:
            return
        bits = median_low(depths) if len(depths) >= PEERS_MIN and num_heard >= SHARD_MIN else 0
        if bits > followed.bits or (bits < followed.bits and num_in_shard < SHARD_MIN):
            followed.bits, followed.since_s = bits, self._now_s()

    def step(self, num_in_shard: Callable[[Digest], int]) -> None:
        """Split or join shards by the number of sellers with a bond that are in this node's own."""
        for base in self.bases:
            followed = self._of(base)
            is_settled = self._now_s() - followed.since_s >= SETTLE_S
            bits = bits_after(followed.bits, num_in_shard(base), is_settled=is_settled)
            if bits != followed.bits:
                followed.bits, followed.since_s = bits, self._now_s()

    def bits(self, base: Digest) -> int:
        """The depth of a base's shards; 0 for a base that is not followed."""
        followed = self._followed.get(base)
        return followed.bits if followed else 0

    def topics(self) -> dict[str, AdsTopic]:
        """The topics to subscribe to, by name."""
        found = {}
        for base in self.bases:
            bits = self.bits(base)
            index = shard_of(self._peer_id, bits)
            found[ads_topic(self._network, base, bits, index)] = AdsTopic(base[2:10], bits, index)
        return found

    def published(self, base: Digest, num_in_shard: int) -> tuple[str, ...]:
        """The topics to publish an advertisement for a base on: at this node's depth, and where others may listen."""
        depths = published_bits(self.bits(base), num_in_shard)
        return tuple(ads_topic(self._network, base, bits, shard_of(self._peer_id, bits)) for bits in depths)

    def coverage(self, ad: Advertisement) -> Coverage:
        """The part that an advertisement has in what this node follows."""
        if ad.base != self.own and ad.base not in self._followed:
            return Coverage.OTHER_BASE
        if not self._is_mine(ad.peer_id, self.bits(ad.base)):
            return Coverage.OTHER_SHARD
        return Coverage.OWN_BASE if ad.base == self.own else Coverage.FOLLOWED

    def is_mine(self, base: Digest, peer_id: str) -> bool:
        """True if a peer is in the shard that this node follows."""
        return self._is_mine(peer_id, self.bits(base))

    def _is_mine(self, peer_id: str, bits: int) -> bool:
        return not bits or shard_of(peer_id, bits) == shard_of(self._peer_id, bits)

    def _of(self, base: Digest) -> _Followed:
        return self._followed.setdefault(base, self._new())

    def _new(self) -> _Followed:
        now_s = self._now_s()
        return _Followed(bits=0, begun_s=now_s, since_s=now_s, until_s=0.0)

    def _expire(self) -> None:
        now_s, own = self._now_s(), self.own
        self._of(own)
        asked = [base for base, followed in self._followed.items() if base != own and followed.until_s > now_s]
        kept = {own, *asked[-(BASES_MAX - 1) :]}
        self._followed = {base: followed for base, followed in self._followed.items() if base in kept}


def depths_of_peers(network: str, base: Digest, topics_of_peers: Mapping[PeerId, frozenset[str]]) -> list[int]:
    """The depths at which peers follow a base. A bootstrap node with topics of several shards has none."""
    depths = []
    for peer_id, names in topics_of_peers.items():
        topics = [parse_ads_topic(network, name) for name in names]
        found = [each for each in topics if each and each.prefix == base[2:10]]
        if len(found) == 1 and shard_of(peer_id, found[0].bits) == found[0].index:
            depths.append(found[0].bits)
    return depths


def bits_after(bits: int, num_in_shard: int, *, is_settled: bool) -> int:
    """The depth of shards after a look at the number of sellers in one's own."""
    if num_in_shard > SHARD_MAX:
        return min(bits + 1, SHARD_BITS_MAX)
    # Shards of one depth are about as large, so a node that liars have led too deep is back after one wait.
    while is_settled and bits and num_in_shard < SHARD_MIN:
        bits, num_in_shard = bits - 1, 2 * num_in_shard
    return bits


def published_bits(bits: int, num_in_shard: int) -> tuple[int, ...]:
    """The depths to publish at: one's own, and the one next to it that nodes with another count may be at."""
    neighbour = bits + 1 if num_in_shard > SHARD_CROWDED else bits - 1
    return (bits, neighbour) if 0 <= neighbour <= SHARD_BITS_MAX else (bits,)
