"""Memory of the calls to sellers since the start: who won, who was not reached, and whose filter was wrong."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from openledger_protocol.primitives import AdapterId

from ..p2p.transport import PeerId

# ---- calls and their results

ASKED_MAX = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSeller:
    """The calls to one seller."""

    num_asked: int = 0
    num_won: int = 0
    why: str | None = None  # the reason why its last bid did not win; None: it won, or was not called


class AskedSellers:
    """Calls by peer, in memory only, of the peers that were called most recently."""

    def __init__(self) -> None:
        self._asked: dict[PeerId, AskedSeller] = {}

    def note(self, peer_id: PeerId, *, has_won: bool, why: str | None) -> None:
        """Note one call and its result."""
        known = self._asked.pop(peer_id, AskedSeller())  # newest last
        self._asked[peer_id] = replace(
            known, num_asked=known.num_asked + 1, num_won=known.num_won + has_won, why=None if has_won else why
        )
        if len(self._asked) > ASKED_MAX:
            self._asked.pop(next(iter(self._asked)))

    def find(self, peer_id: PeerId) -> AskedSeller:
        """The calls to one peer."""
        return self._asked.get(peer_id, AskedSeller())


# ---- sellers that could not be reached: they rest, and are not blamed, since the way to them may be at fault

REST_S, REST_S_MAX = 30.0, 600.0
"""A seller that was not reached is not dialled again for so long, and for twice as long after each further time."""

RESTS_MAX = 4_096
UPLINK_PEERS = 2
"""If at least so many sellers were dialled and none was reached, this machine's own connection may be down."""


class UnreachedPeers:
    """Peers that were not reached, in memory only: a restart may well have changed the way to them."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._rests: dict[PeerId, tuple[float, float]] = {}  # its length, and its end

    def note(self, peer_id: PeerId) -> None:
        """Rest a peer that was not reached."""
        length_s, _ = self._rests.pop(peer_id, (REST_S / 2, 0.0))  # newest last
        length_s = min(2 * length_s, REST_S_MAX)
        self._rests[peer_id] = (length_s, self._now_s() + length_s)
        if len(self._rests) > RESTS_MAX:
            self._rests.pop(next(iter(self._rests)))

    def forget(self, peer_id: PeerId) -> None:
        """Forget a peer's rests, since it was reached."""
        self._rests.pop(peer_id, None)

    def is_resting(self, peer_id: PeerId) -> bool:
        """True if a peer should not be dialled yet."""
        _, until_s = self._rests.get(peer_id, (0.0, 0.0))
        return until_s > self._now_s()


def is_own_uplink(num_asked: int, unreached: Collection[PeerId]) -> bool:
    """True if nobody at all was reached, which says more about this machine than about so many sellers."""
    return num_asked >= UPLINK_PEERS and len(unreached) == num_asked


# ---- adapters that a filter promised and its seller did not have

MISSES_MAX = 3
"""So many different adapters missed within an hour, and a seller's filter counts no more. An honest filter holds one
in 120 adapters by mistake, so this takes hundreds of different ones."""

MISSES_S = 3_600.0
MISSED_PEERS_MAX = 1_024


class FilterMisses:
    """Misses of the last hour, by peer."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._missed: dict[str, dict[AdapterId, float]] = {}  # with the time of each miss

    def note(self, peer_id: str, adapter: AdapterId) -> None:
        """Note that a peer was called for an adapter that its filter holds, and did not have it."""
        missed = self._missed.pop(peer_id, {})  # newest last
        self._missed[peer_id] = {**self._recent(missed), adapter: self._now_s()}
        if len(self._missed) > MISSED_PEERS_MAX:
            self._missed.pop(next(iter(self._missed)))

    def believes(self, peer_id: str, adapter: AdapterId) -> bool:
        """True if a peer's filter counts for an adapter."""
        missed = self._recent(self._missed.get(peer_id, {}))
        return adapter not in missed and len(missed) < MISSES_MAX

    def _recent(self, missed: dict[AdapterId, float]) -> dict[AdapterId, float]:
        since_s = self._now_s() - MISSES_S
        return {adapter: at_s for adapter, at_s in missed.items() if at_s >= since_s}
