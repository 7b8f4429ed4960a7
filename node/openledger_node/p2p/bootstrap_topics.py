"""The topics of advertisements that a bootstrap node follows: those that its peers have subscribed to.

Anyone can subscribe to a topic that nobody needs, so a topic counts by the number of networks of 256 addresses that
have subscribers, and one that is followed already comes before a new one with as many.
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
    """The topics to follow: those with subscribers in most groups of addresses; peers without an address are one."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for peer_id, topics in topics_of_peers.items():
        if len(topics) <= TOPICS_A_PEER_MAX:
            for topic in topics:
                groups[topic].add(group(peer_id))
    ranked = sorted(filter(is_ours, groups), key=lambda topic: (-len(groups[topic]), topic not in followed, topic))
    return frozenset(ranked[:TOPICS_MAX])


async def _discard(channel: "trio.MemoryReceiveChannel[Gossip]") -> None:
    async for _ in channel:
        pass
