"""The peers that were asked for the advertisements of one base, and the one to ask next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from ..p2p.transport import PeerId
from .board import Buckets

GREETED_MIN = 2
"""Peers that a newcomer asks. One alone could hide sellers from it."""

ASK_AGAIN_S = 5.0
"""A peer that has just connected may be a newcomer itself, so it is asked again after it has asked others."""

ASK_NEW_EVERY_S, ASK_NEW_BURST = 60.0, 4
"""Peers that connect later may come from a part of the network that was cut off.

After a quiet time so many of them are asked at once, and then one in the pause, so that many new connections are no
storm of requests.
"""

RETRY_S = 60.0
"""The pause before a peer that did not answer is asked again."""


@dataclass(slots=True)
class AskedPeers:
    """The connected peers that were asked for one base."""

    answered: set[PeerId] = field(default_factory=set)
    tried_s: dict[PeerId, float] = field(default_factory=dict)  # the last time
    running_s: dict[PeerId, float] = field(default_factory=dict)  # requests without an answer yet, and since when
    again_s: dict[PeerId, float] = field(default_factory=dict)  # peers to ask once more, and when
    due_s: float = 0.0  # when to ask any peer
    new_peers: Buckets[None] = field(default_factory=lambda: bucket(ASK_NEW_BURST))

    def forget(self, connected: Sequence[PeerId]) -> None:
        """Forget peers that have left; one that comes back may know more."""
        self.answered &= set(connected)
        self.tried_s = {peer: at_s for peer, at_s in self.tried_s.items() if peer in connected}
        self.again_s = {peer: at_s for peer, at_s in self.again_s.items() if peer in connected}

    def next(
        self, followers: Sequence[PeerId], connected: Sequence[PeerId], *, now_s: float, draw: Callable[[], float]
    ) -> PeerId | None:
        """The peer to ask now: one that follows the base, or at first any. `draw` draws a number below 1."""
        free = [peer_id for peer_id in followers if peer_id not in self.running_s]
        fresh = [peer_id for peer_id in free if now_s - self.tried_s.get(peer_id, -RETRY_S) >= RETRY_S]
        fresh = [peer_id for peer_id in fresh if peer_id not in self.answered]
        if len(self.answered) < GREETED_MIN and fresh:
            return fresh[0]
        if not followers and len(self.tried_s) < GREETED_MIN:
            return next((each for each in connected if each not in self.tried_s), None)
        waiting = [peer_id for peer_id in self.again_s if peer_id in free]  # one that does not follow would for ever
        if again := [peer_id for peer_id in waiting if self.again_s[peer_id] <= now_s]:
            return again[0]
        if fresh and not waiting and self.new_peers.take(None):
            return fresh[0]
        rested = [peer_id for peer_id in free if now_s - self.tried_s.get(peer_id, -RETRY_S) >= RETRY_S]
        return rested[int(draw() * len(rested))] if rested and now_s >= self.due_s else None

    def is_due(self, peer_id: PeerId, now_s: float) -> bool:
        """True if a peer is to be asked once more now."""
        return peer_id in self.again_s and self.again_s[peer_id] <= now_s


def bucket(burst: int) -> Buckets[None]:
    """A budget of so many requests at once, and one more in `ASK_NEW_EVERY_S`."""
    return Buckets(interval_s=ASK_NEW_EVERY_S, burst=burst, now_s=trio.current_time)
