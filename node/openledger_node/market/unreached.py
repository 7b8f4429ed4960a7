"""Sellers that could not be reached: rested for a while and not blamed, since the fault may be the way to them."""

from collections.abc import Callable, Collection

from ..p2p.transport import PeerId

REST_S, REST_S_MAX = 30.0, 600.0
"""A seller that was not reached is not dialled again for so long, and for twice as long after each further time."""

KEPT_MAX = 4_096
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
        if len(self._rests) > KEPT_MAX:
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
