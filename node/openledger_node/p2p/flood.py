"""Limits on the gossip that one neighbour sends, so that no single one can occupy a node.

The numbers fit together: an honest node passes on at most `PASSED_PER_S` messages and answers as many requests, so it
stays below what its neighbours accept, whatever reaches it.
"""

from collections.abc import Callable
from time import monotonic

from .rates import Rates
from .transport import PeerId

MESSAGES_PER_S, MESSAGES_AT_ONCE = 200.0, 1_000.0
BYTES_PER_S, BYTES_AT_ONCE = 500_000.0, 2_000_000.0
"""Messages and bytes of one neighbour; one that sends more is cut off."""

CHECKED_PER_S, CHECKED_AT_ONCE = 20.0, 100.0
"""New messages of one neighbour whose signatures are checked; more are dropped without a mark."""

PASSED_PER_S, PASSED_AT_ONCE = 60.0, 300.0
"""New messages of all neighbours together. A message takes up to 5 ms, so this is at most a third of a core."""

UNHEARD_PER_S, UNHEARD_AT_ONCE = 1.0, 20.0
"""Messages of a neighbour whose score is too low for it to be heard; one that sends more is cut off."""

ERRORS_PER_S, ERRORS_AT_ONCE = 0.05, 3.0
"""RPCs of one neighbour that can't be read; one that sends more is cut off."""


class FloodLimits:
    """The buckets of all neighbours."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        def rates(per_s: float, at_once: float) -> Rates[PeerId | None]:
            return Rates(per_s=per_s, burst=at_once, clock=clock)

        self._messages = rates(MESSAGES_PER_S, MESSAGES_AT_ONCE)
        self._bytes = rates(BYTES_PER_S, BYTES_AT_ONCE)
        self._checked = rates(CHECKED_PER_S, CHECKED_AT_ONCE)
        self._passed = rates(PASSED_PER_S, PASSED_AT_ONCE)
        self._unheard = rates(UNHEARD_PER_S, UNHEARD_AT_ONCE)
        self._errors = rates(ERRORS_PER_S, ERRORS_AT_ONCE)

    def may_send(self, forwarder: PeerId, *, num_messages: int, num_bytes: int) -> bool:
        """Count an RPC; False if its sender floods this node."""
        return self._messages.take(forwarder, num_messages) and self._bytes.take(forwarder, num_bytes)

    def may_pass(self, forwarder: PeerId) -> bool:
        """Count a new message before its signature is checked; False if it must be dropped."""
        return self._checked.take(forwarder) and self._passed.take(None)

    def may_send_unheard(self, forwarder: PeerId) -> bool:
        """Count a message of a neighbour that is not heard; False if it goes on all the same."""
        return self._unheard.take(forwarder)

    def may_err(self, forwarder: PeerId) -> bool:
        """Count an RPC that can't be read; False if there were too many."""
        return self._errors.take(forwarder)
