"""The bases that the network offers, also those that this node does not follow, with the number of their sellers."""

from collections.abc import Iterable
from statistics import median_low

from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import OfferedBase

from ..p2p.transport import PeerId
from .board import AdTable
from .topics import FollowedBases

TELLERS_MAX = 8
"""Peers whose word on the number of a base's sellers is remembered, the latest ones."""


class OfferedBases:
    """Counts sellers of followed bases itself, and believes half of its peers about others.

    A base is listed only while a live advertisement of one of its sellers is here, so no peer can make one up alone.
    """

    def __init__(self, table: AdTable, followed: FollowedBases) -> None:
        self._table = table
        self._followed = followed
        self._told: dict[Digest, dict[PeerId, int]] = {}  # latest teller last

    def tell(self, peer_id: PeerId, bases: Iterable[OfferedBase]) -> None:
        """Note how many sellers a peer says that each base has."""
        listed = self._table.bases()
        self._told = {base: told for base, told in self._told.items() if base in listed}
        for known in bases:
            if known.base in listed:
                told = self._told.setdefault(known.base, {})
                told.pop(peer_id, None)
                told[peer_id] = known.num_sellers
                while len(told) > TELLERS_MAX:
                    told.pop(next(iter(told)))

    def told(self, base: Digest) -> int:
        """The number of sellers that at least half of the peers agree on; 0 if none said anything."""
        return median_low([*self._told.get(base, {}).values()] or [0])

    def num_sellers(self, base: Digest) -> int:
        """The number of a base's live sellers, estimated where this node does not hear them all."""
        return self._num_sellers(base, self._table.num_by_base()[base])

    def _num_sellers(self, base: Digest, heard: int) -> int:
        if base not in self._followed.bases:
            return max(heard, self.told(base))
        return max(heard, self.num_in_shard(base) << self._followed.bits(base))

    def num_in_shard(self, base: Digest) -> int:
        """The number of a base's sellers with a bond in the shard that this node follows."""
        return self._table.num_sellers(
            base, lambda ad: self._table.worth_of(ad).is_bonded and self._followed.is_mine(base, ad.peer_id)
        )

    def num_credible(self, base: Digest) -> int:
        """The number of a base's live sellers here, without those that the chain shows without a bond."""
        return self._table.num_sellers(base, lambda ad: self._table.worth_of(ad).bonded_wei != 0)

    def list_bases(self, count_max: int) -> list[OfferedBase]:
        """Bases with live sellers: those that this node follows first, then those with most sellers."""
        followed, heard = self._followed.bases, self._table.num_by_base()
        listed = [
            OfferedBase(base=base, num_sellers=self._num_sellers(base, heard[base]), ad=held.content)
            for base, held in self._table.bases().items()
        ]
        listed.sort(key=lambda known: (known.base not in followed, -known.num_sellers, known.base))
        return listed[:count_max]
