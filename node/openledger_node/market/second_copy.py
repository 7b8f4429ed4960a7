"""A second copy of this node on the network: another process that advertises with the same keys.

Both copies notice each other, because each hears an advertisement that only its own keys can sign and that it has not
made. Both stop selling, and go on advertising that they do, until one of them is silent.
"""

import logging
from collections import deque
from collections.abc import Callable

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.primitives import Address

from ..p2p.transport import PeerId

OWN_MAX = 64
"""Advertisements of our own that are remembered; older ones have expired."""

SILENT_S = 120
"""Another copy counts as gone after so long. While two copies hear each other, each advertises every 40 s."""

log = logging.getLogger(__name__)


class CopyWatch:
    """Remembers what this process has advertised, and notices what another one has."""

    def __init__(self, *, peer_id: PeerId, signer: Address, now_s: Callable[[], float]) -> None:
        self._peer_id = peer_id
        self._signer = signer
        self._now_s = now_s
        self._started_s = now_s()
        self._own: deque[int] = deque(maxlen=OWN_MAX)  # sequences
        self._other: Advertisement | None = None
        self.seq_last = 0  # of the other copy: ours must be higher, or nobody hears them

    def add_own(self, seq: int) -> None:
        """Remember an advertisement before it is published."""
        self._own.append(seq)

    def see(self, ad: Advertisement) -> None:
        """Look at an advertisement that is valid, of whatever peer.

        One that was issued before this process began may be its own from an earlier life.
        """
        is_ours = ad.peer_id == self._peer_id
        if not is_ours and ad.signer != self._signer:
            return
        if (is_ours and ad.seq in self._own) or ad.issued_s <= self._started_s:
            return
        if _is_over(ad, self._now_s()):
            return
        if is_ours:
            self.seq_last = max(self.seq_last, ad.seq)
        if self.other is None:
            log.warning("%s", self._explain(ad))
        if self._other is None or ad.issued_s > self._other.issued_s:
            self._other = ad

    @property
    def other(self) -> Advertisement | None:
        """The other copy's newest advertisement; None once it is silent."""
        if self._other and _is_over(self._other, self._now_s()):
            self._other = None
            log.warning("the other copy of this node is silent: this one sells again")
        return self._other

    @property
    def why_not(self) -> str | None:
        """The reason why this node sells nothing; None if it is the only copy."""
        return self._explain(self.other) if self.other else None

    def _explain(self, ad: Advertisement) -> str:
        where = ", ".join(ad.addresses) or "an unknown address"
        return (
            f"a second copy of this node is on the network at {where}, with the same keys, and both sell nothing: "
            "stop one with `openledger-node stop`, and the other goes on within two minutes"
        )


def _is_over(ad: Advertisement, now_s: float) -> bool:
    return min(ad.expires_s, ad.issued_s + SILENT_S) <= now_s
