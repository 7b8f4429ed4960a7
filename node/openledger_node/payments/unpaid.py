"""Opens of channels without a deposit: questions to the chain on behalf of strangers are rationed.

Channels and peer ids cost nothing to make up, and each one that a node has not seen costs it questions to the chain.
"""

from collections import deque
from collections.abc import Callable

from openledger_protocol.errors import OverloadedError

from ..p2p.transport import PeerId

WINDOW_S = 60.0
PEER_MAX, ALL_MAX = 3, 8
"""Opens without a deposit in that time, of one peer and of all. After that, few others are looked up."""

ASK_ONE_IN = 40
"""Of further opens of channels that this node has not seen, so many are refused for each one that is looked up.

A look takes two questions, since the node's endpoint may be a block behind, so there is one in twenty opens.
"""


class UnpaidOpens:
    """Recent opens of channels without a deposit."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._recent: deque[tuple[float, PeerId]] = deque(maxlen=ALL_MAX)  # oldest first
        self._num_refused = 0

    def check(self, peer_id: PeerId) -> None:
        """Require that the chain may be asked about a channel that this node has not seen.

        Raises:
            OverloadedError: too many channels without a deposit were opened lately.
        """
        while self._recent and self._recent[0][0] < self._now_s() - WINDOW_S:
            self._recent.popleft()
        num_own = sum(other == peer_id for _, other in self._recent)
        if num_own < PEER_MAX and len(self._recent) < ALL_MAX:
            return
        self._num_refused += 1
        if self._num_refused % ASK_ONE_IN:
            raise OverloadedError(
                f"too many channels without a deposit were opened here in the last {WINDOW_S:.0f} s, so new channels "
                "are seldom looked up: try again in a minute"
            )

    def note(self, peer_id: PeerId) -> None:
        """Note an open of a channel that has no deposit."""
        self._recent.append((self._now_s(), peer_id))
