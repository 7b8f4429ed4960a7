"""The topics of advertisements that a bootstrap node follows: those that its peers have subscribed to.

Anyone can subscribe to a topic that nobody needs. So each network of 256 addresses has one vote, which the topics of
its peers share, and a topic that is followed already comes before a new one with as many votes. To push out a topic
that is the only one of n networks, a stranger needs 256 × n networks. It knows no bonds, for lack of a chain.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial

import trio

from openledger_protocol.wire.ads import parse_ads_topic

from .envelopes import GossipVerdict
from .scopes import group_of
from .transport import Gossip, PeerId, Transport

TOPICS_MAX = 256

TOPICS_A_PEER_MAX = 16
"""Topics of a peer that counts. Nodes follow 8 bases at most, so more are a bootstrap node's, or made up."""

VOTE = 720_720
"""The vote of one network of addresses, which 1 to 16 topics share without a remainder."""

LOOK_S = 1.0

Judge = Callable[[str, PeerId, bytes], GossipVerdict]
"""Judges a message by topic, origin and content."""


class TopicFollower:
    """Follows topics while peers need them; `run` is its task."""

    def __init__(self, transport: Transport, *, network: str, judge: Judge, others: frozenset[PeerId]) -> None:
        self._transport = transport
        self._network = network
        self._judge = judge
        self._others = others  # bootstrap nodes: two of them would keep each other's topics alive
        self.followed: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Follow topics until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._look(nursery)
                await trio.sleep(LOOK_S)

    def _look(self, nursery: trio.Nursery) -> None:
        topics = chosen_topics(
            {peer: topics for peer, topics in self._transport.topics_of_peers().items() if peer not in self._others},
            lambda peer_id: group_of(self._transport.seen_host(peer_id)),
            followed=self.followed,
            is_ours=lambda topic: parse_ads_topic(self._network, topic) is not None,
        )
        for topic in self.followed - topics:
            self._transport.unsubscribe(topic)
        for topic in sorted(topics - self.followed):
            nursery.start_soon(_discard, self._transport.subscribe(topic, partial(self._judge, topic)))
        self.followed = topics


def chosen_topics(
    topics_of_peers: Mapping[PeerId, frozenset[str]],
    group: Callable[[PeerId], str],
    *,
    followed: frozenset[str],
    is_ours: Callable[[str], bool],
) -> frozenset[str]:
    """The topics to follow: those with most votes of groups of addresses; peers without an address are one group."""
    topics_of_groups: defaultdict[str, set[str]] = defaultdict(set)
    for peer_id, topics in topics_of_peers.items():
        if len(topics) <= TOPICS_A_PEER_MAX:
            topics_of_groups[group(peer_id)] |= topics
    votes: defaultdict[str, int] = defaultdict(int)
    for named in topics_of_groups.values():
        ours = list(filter(is_ours, named))
        for topic in ours:
            votes[topic] += VOTE // len(ours)
    ranked = sorted(votes, key=lambda topic: (-votes[topic], topic not in followed, topic))
    return frozenset(ranked[:TOPICS_MAX])


async def _discard(channel: "trio.MemoryReceiveChannel[Gossip]") -> None:
    async for _ in channel:
        pass
