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
    """Recent opens of channels without a deposit, and of those that are being looked up."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._recent: deque[tuple[float, PeerId]] = deque(maxlen=ALL_MAX)  # oldest first
        self._num_refused = 0

    def begin(self, peer_id: PeerId) -> None:
        """Count a look at a channel that this node has not seen; `forget` takes it back if there is a deposit.

        It counts from its beginning. Otherwise any number of opens at the same time would each be looked up.

        Raises:
            OverloadedError: too many channels without a deposit were opened lately.
        """
        while self._recent and self._recent[0][0] < self._now_s() - WINDOW_S:
            self._recent.popleft()
        num_own = sum(other == peer_id for _, other in self._recent)
        if num_own >= PEER_MAX or len(self._recent) >= ALL_MAX:
            self._num_refused += 1
            if self._num_refused % ASK_ONE_IN:
                raise OverloadedError(
                    f"too many channels without a deposit were opened here in the last {WINDOW_S:.0f} s, so new "
                    "channels are seldom looked up: try again in a minute"
                )
        self._recent.append((self._now_s(), peer_id))

    def forget(self, peer_id: PeerId) -> None:
        """Take back a peer's newest look."""
        for number in range(len(self._recent) - 1, -1, -1):
            if self._recent[number][1] == peer_id:
                del self._recent[number]
                return
