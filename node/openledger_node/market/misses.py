"""Adapters that a filter promised and its seller did not have. A filter that misses often is not believed."""

from collections.abc import Callable

from openledger_protocol.primitives import AdapterId

MISSES_MAX = 3
"""So many different adapters missed within an hour, and a seller's filter counts no more. An honest filter holds one
in 120 adapters by mistake, so this takes hundreds of different ones."""

KEPT_S = 3_600.0
PEERS_MAX = 1_024


class FilterMisses:
    """Misses of the last hour, by peer."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._missed: dict[str, dict[AdapterId, float]] = {}  # with the time of each miss

    def note(self, peer_id: str, adapter: AdapterId) -> None:
        """Note that a peer was called for an adapter that its filter holds, and did not have it."""
        missed = self._missed.pop(peer_id, {})  # newest last
        self._missed[peer_id] = {**self._recent(missed), adapter: self._now_s()}
        if len(self._missed) > PEERS_MAX:
            self._missed.pop(next(iter(self._missed)))

    def believes(self, peer_id: str, adapter: AdapterId) -> bool:
        """True if a peer's filter counts for an adapter."""
        missed = self._recent(self._missed.get(peer_id, {}))
        return adapter not in missed and len(missed) < MISSES_MAX

    def _recent(self, missed: dict[AdapterId, float]) -> dict[AdapterId, float]:
        since_s = self._now_s() - KEPT_S
        return {adapter: at_s for adapter, at_s in missed.items() if at_s >= since_s}
