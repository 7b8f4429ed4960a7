"""Sellers that this node has called since it started: how often, how often they won, and why not the last time."""

from dataclasses import dataclass, replace

from ..p2p.transport import PeerId

KEPT_MAX = 1_024


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
        if len(self._asked) > KEPT_MAX:
            self._asked.pop(next(iter(self._asked)))

    def find(self, peer_id: PeerId) -> AskedSeller:
        """The calls to one peer."""
        return self._asked.get(peer_id, AskedSeller())
