"""Gossip of one peer of a memory network: a message goes along all links at once, from subscriber to subscriber."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from ....errors import NetworkError
from ...envelopes import GossipVerdict
from ...streams import Inbox
from ...transport import GOSSIP_BYTES_MAX, GOSSIP_MEMORY_S, TOPICS_PER_PEER_MAX, Accept, Gossip, PeerId, content_id

if TYPE_CHECKING:
    from .network import MemoryNetwork


class MemoryGossip:
    """The topics of one peer, and what it has heard."""

    def __init__(self, network: "MemoryNetwork", peer_id: PeerId, linked: Callable[[], Iterable[PeerId]]) -> None:
        self._network = network
        self._peer_id = peer_id
        self._linked = linked
        self._inboxes: dict[str, Inbox] = {}
        self._seen: OrderedDict[bytes, float] = (
            OrderedDict()
        )  # id of a message → time until which it is remembered; oldest first

    @property
    def topics(self) -> tuple[str, ...]:
        """Subscribed topics, as many as other peers note."""
        return tuple(self._inboxes)[:TOPICS_PER_PEER_MAX]

    def subscribe(self, topic: str, accept: Accept) -> "trio.MemoryReceiveChannel[Gossip]":
        """Receive messages of a topic from now on."""
        assert topic not in self._inboxes, f"{topic} is subscribed to already"
        self._inboxes[topic] = Inbox(topic, accept)
        return self._inboxes[topic].receive

    def unsubscribe(self, topic: str) -> None:
        """Receive no more messages of a topic; its reader comes to the end."""
        if inbox := self._inboxes.pop(topic, None):
            inbox.close()

    def publish(self, topic: str, content: bytes) -> None:
        """Send a message to the subscribers of a topic.

        Raises:
            NetworkError: it is too long.
        """
        if len(content) > GOSSIP_BYTES_MAX:
            raise NetworkError(f"a message of {len(content)} bytes can't be published here")
        digest = content_id(topic, self._peer_id.encode(), content)
        if not self._has_seen(digest):
            self._remember(digest)
            self._pass_on(topic, digest, Gossip(self._peer_id, content))

    def take(self, forwarder: PeerId, topic: str, digest: bytes, gossip: Gossip) -> None:
        """Receive a message and pass it on, if it is new and passes."""
        inbox = self._inboxes.get(topic)
        if inbox is None or self._has_seen(digest):
            return
        self._remember(digest)
        if inbox.judge(gossip.origin, gossip.content) is GossipVerdict.PASS:
            inbox.put(gossip)
            self._pass_on(topic, digest, gossip, forwarder)

    def _pass_on(self, topic: str, digest: bytes, gossip: Gossip, forwarder: PeerId | None = None) -> None:
        for peer_id in list(self._linked()):
            if peer_id not in (forwarder, gossip.origin):
                self._network.peers[peer_id].gossip.take(self._peer_id, topic, digest, gossip)

    def _has_seen(self, digest: bytes) -> bool:
        return self._seen.get(digest, 0.0) > trio.current_time()

    def _remember(self, digest: bytes) -> None:
        now = trio.current_time()
        self._seen.pop(digest, None)
        self._seen[digest] = now + GOSSIP_MEMORY_S
        while next(iter(self._seen.values())) <= now:
            self._seen.popitem(last=False)
