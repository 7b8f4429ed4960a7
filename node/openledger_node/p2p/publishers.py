"""The peers whose gossip a node has passed on lately, in bounded memory: on our networks, those that sell."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from .envelopes import GossipVerdict
from .transport import Accept, PeerId

PUBLISHED_FOR_S = 1_320.0
"""A peer counts for this long after its last message. Sellers advertise every 11 minutes at the latest."""

PEERS_MAX = 8_192


class RecentPublishers:
    """The peers that have published lately; beyond `PEERS_MAX`, the one that did so longest ago is forgotten."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._published_s: OrderedDict[PeerId, float] = OrderedDict()

    def has(self, peer_id: PeerId) -> bool:
        """True for a peer that has published lately."""
        published_s = self._published_s.get(peer_id)
        return published_s is not None and self._clock() - published_s < PUBLISHED_FOR_S

    def noting(self, accept: Accept) -> Accept:
        """The same judgement of messages, which also notes the origins of those that pass."""

        def accept_and_note(origin: PeerId, content: bytes) -> bool | GossipVerdict:
            verdict = accept(origin, content)
            if verdict is True or verdict is GossipVerdict.PASS:
                self._note(origin)
            return verdict

        return accept_and_note

    def _note(self, peer_id: PeerId) -> None:
        self._published_s[peer_id] = self._clock()
        self._published_s.move_to_end(peer_id)
        if len(self._published_s) > PEERS_MAX:
            self._published_s.popitem(last=False)
