"""How much of each peer is let through: one bucket a peer, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable

from .transport import PeerId

PEERS_MAX = 4096


class Rates:
    """A token bucket a peer; of too many peers, the one heard longest ago is forgotten."""

    def __init__(self, *, per_s: float, burst: float, clock: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[PeerId, tuple[float, float]] = OrderedDict()  # tokens, and when that was

    def take(self, peer_id: PeerId) -> bool:
        """Take one token of a peer's; False if it has none."""
        now = self._clock()
        tokens, at_s = self._left.pop(peer_id, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at_s) * self._per_s)
        can_pass = tokens >= 1
        self._left[peer_id] = (tokens - can_pass, now)
        while len(self._left) > PEERS_MAX:
            self._left.popitem(last=False)
        return can_pass
