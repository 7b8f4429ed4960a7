"""Gossip of one peer of a memory network: over all links, or by a mesh as gossipsub forms it.

Without conditions a message goes along all links at once. Under conditions each topic has a mesh of six neighbours,
others are told the ids of recent messages and ask for what they lack, and a neighbour that floods is cut off.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import trio

from ....errors import NetworkError
from ...envelopes import GossipVerdict
from ...flood import FloodLimits
from ...streams import Inbox
from ...transport import GOSSIP_BYTES_MAX, GOSSIP_MEMORY_S, TOPICS_PER_PEER_MAX, Accept, Gossip, PeerId, content_id

if TYPE_CHECKING:
    from .network import MemoryNetwork

DEGREE, DEGREE_LOW, DEGREE_HIGH, DEGREE_LAZY = 6, 4, 12, 6
WINDOW, HISTORY = 3, 5
"""Heartbeats: messages that are announced, and messages that are kept for requests. All as in the libp2p plug."""

ENVELOPE_BYTES = 350
"""Signature, key, origin, topic and number around a message, and the sender's record beside it."""

CONTROL_BYTES, ID_BYTES = 60, 34
"""An announcement or request, and each id in it."""

UNHEARD_MARKS = 4.0
MARKS_DECAY = 0.9
"""A neighbour is not heard from so many wrong messages on; each heartbeat forgives a tenth of them."""


class MemoryGossip:
    """The topics of one peer, and its neighbours on each."""

    def __init__(
        self,
        network: "MemoryNetwork",
        peer_id: PeerId,
        linked: Callable[[], Iterable[PeerId]],
        cut: Callable[[PeerId], None],
    ) -> None:
        self._network = network
        self._peer_id = peer_id
        self._linked = linked
        self._cut = cut  # hangs up on a peer, and lets it in again only later
        self._inboxes: dict[str, Inbox] = {}
        self._meshes: dict[str, dict[PeerId, None]] = {}
        self._seen: OrderedDict[bytes, float] = (
            OrderedDict()
        )  # id of a message → time until which it is remembered; oldest first
        self._kept: dict[bytes, tuple[int, str, Gossip]] = {}  # id → heartbeat, topic, message; oldest first
        self._num_beats = 0
        self._marks: dict[PeerId, float] = {}  # wrong messages that each neighbour passed on
        self._limits = FloodLimits(clock=trio.current_time)

    @property
    def topics(self) -> tuple[str, ...]:
        """Subscribed topics, as many as other peers note."""
        return tuple(self._inboxes)[:TOPICS_PER_PEER_MAX]

    def subscribe(self, topic: str, accept: Accept) -> "trio.MemoryReceiveChannel[Gossip]":
        """Receive messages of a topic from now on."""
        assert topic not in self._inboxes, f"{topic} is subscribed to already"
        self._inboxes[topic], self._meshes[topic] = Inbox(topic, accept), {}
        return self._inboxes[topic].receive

    def unsubscribe(self, topic: str) -> None:
        """Receive no more messages of a topic; its reader comes to the end."""
        if inbox := self._inboxes.pop(topic, None):
            inbox.close()
            for peer_id in self._meshes.pop(topic):
                self._of(peer_id)._meshes.get(topic, {}).pop(self._peer_id, None)

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

    def forget(self, peer_id: PeerId) -> None:
        """Take a peer whose link has ended out of the meshes."""
        for mesh in self._meshes.values():
            mesh.pop(peer_id, None)

    # ---- messages

    def take(self, forwarder: PeerId, topic: str, digest: bytes, gossip: Gossip) -> None:
        """Receive a message and pass it on, if it is new and passes."""
        inbox = self._inboxes.get(topic)
        if inbox is None or not self._may_come(forwarder, gossip) or self._has_seen(digest):
            return
        if self._network.conditions and not self._limits.may_pass(forwarder):
            return
        self._remember(digest)
        self._network.traffic[self._peer_id].num_checked += 1
        verdict = inbox.judge(gossip.origin, gossip.content)
        if verdict is GossipVerdict.PASS:
            inbox.put(gossip)
            self._pass_on(topic, digest, gossip, forwarder)
        elif verdict is GossipVerdict.REJECT:
            self._marks[forwarder] = self._num_marks(forwarder) + 1

    def _may_come(self, forwarder: PeerId, gossip: Gossip) -> bool:
        """Count a message of a neighbour, and cut the neighbour off if it floods."""
        if self._network.conditions is None:
            return True
        if forwarder not in self._linked():
            return False  # it has left
        self._network.traffic[self._peer_id].num_copies += 1
        if not self._limits.may_send(forwarder, num_messages=1, num_bytes=len(gossip.content)):
            self._cut(forwarder)
            return False
        is_heard = self._num_marks(forwarder) < UNHEARD_MARKS
        if not is_heard and not self._limits.may_send_unheard(forwarder):
            self._cut(forwarder)
        return is_heard

    def _pass_on(self, topic: str, digest: bytes, gossip: Gossip, forwarder: PeerId | None = None) -> None:
        if self._network.conditions:
            self._kept[digest] = (self._num_beats, topic, gossip)
        for peer_id in self._targets(topic):
            if peer_id not in (forwarder, gossip.origin):
                self._send(peer_id, topic, digest, gossip)

    def _targets(self, topic: str) -> list[PeerId]:
        """The neighbours that get a message: the mesh, or some subscribers for a peer that does not subscribe."""
        if self._network.conditions is None:
            return list(self._linked())
        if topic in self._meshes:
            return list(self._meshes[topic])
        found = self._subscribers(topic)
        return self._network.conditions.random.sample(found, min(DEGREE, len(found)))

    def _send(self, peer_id: PeerId, topic: str, digest: bytes, gossip: Gossip) -> None:
        arrive = partial(self._of(peer_id).take, self._peer_id, topic, digest, gossip)
        self._network.send(self._peer_id, peer_id, len(gossip.content) + ENVELOPE_BYTES, arrive)

    def _has_seen(self, digest: bytes) -> bool:
        return self._seen.get(digest, 0.0) > trio.current_time()

    def _remember(self, digest: bytes) -> None:
        now = trio.current_time()
        self._seen.pop(digest, None)
        self._seen[digest] = now + GOSSIP_MEMORY_S
        while next(iter(self._seen.values())) <= now:
            self._seen.popitem(last=False)

    # ---- the mesh

    def beat(self) -> None:
        """Keep the meshes at their size, and announce recent messages to neighbours outside them."""
        self._num_beats += 1
        while self._kept and next(iter(self._kept.values()))[0] <= self._num_beats - HISTORY:
            del self._kept[next(iter(self._kept))]
        self._marks = {peer: kept for peer, each in self._marks.items() if (kept := each * MARKS_DECAY) > 0.1}
        for topic in self.topics:
            self._keep_mesh(topic)
            self._announce(topic)

    def _keep_mesh(self, topic: str) -> None:
        assert self._network.conditions is not None
        mesh, random = self._meshes[topic], self._network.conditions.random
        if len(mesh) < DEGREE_LOW:
            found = [each for each in self._subscribers(topic) if each not in mesh and self._num_marks(each) < 1]
            for peer_id in random.sample(found, min(DEGREE - len(mesh), len(found))):
                if self._of(peer_id).take_graft(self._peer_id, topic):
                    mesh[peer_id] = None
        elif len(mesh) > DEGREE_HIGH:
            for peer_id in random.sample(list(mesh), len(mesh) - DEGREE):
                del mesh[peer_id]
                self._of(peer_id)._meshes.get(topic, {}).pop(self._peer_id, None)

    def take_graft(self, peer_id: PeerId, topic: str) -> bool:
        """Take a neighbour into the mesh of a topic; False if it is not wanted there."""
        mesh = self._meshes.get(topic)
        if mesh is None or len(mesh) > DEGREE_HIGH or self._num_marks(peer_id) >= 1:
            return False
        mesh[peer_id] = None
        return True

    def _announce(self, topic: str) -> None:
        assert self._network.conditions is not None
        since = self._num_beats - WINDOW
        recent = [digest for digest, (beat, where, _) in self._kept.items() if where == topic and beat >= since]
        others = [each for each in self._subscribers(topic) if each not in self._meshes[topic]] if recent else []
        for peer_id in self._network.conditions.random.sample(others, min(DEGREE_LAZY, len(others))):
            arrive = partial(self._of(peer_id).take_announcement, self._peer_id, topic, recent)
            self._network.send(self._peer_id, peer_id, CONTROL_BYTES + ID_BYTES * len(recent), arrive)

    def take_announcement(self, peer_id: PeerId, topic: str, digests: list[bytes]) -> None:
        """Ask a neighbour for the messages that it has and this peer lacks."""
        self._network.traffic[self._peer_id].num_controls += 1
        lacking = [digest for digest in digests if not self._has_seen(digest)]
        if lacking and topic in self._inboxes and peer_id in self._linked():
            arrive = partial(self._of(peer_id).take_request, self._peer_id, lacking)
            self._network.send(self._peer_id, peer_id, CONTROL_BYTES + ID_BYTES * len(lacking), arrive)

    def take_request(self, peer_id: PeerId, digests: list[bytes]) -> None:
        """Send the messages that a neighbour lacks."""
        self._network.traffic[self._peer_id].num_controls += 1
        for digest in digests:
            if digest in self._kept and peer_id in self._linked():
                _, topic, gossip = self._kept[digest]
                self._send(peer_id, topic, digest, gossip)

    def _num_marks(self, peer_id: PeerId) -> float:
        return self._marks.get(peer_id, 0.0)

    def _subscribers(self, topic: str) -> list[PeerId]:
        return [peer_id for peer_id in self._linked() if topic in self._of(peer_id)._inboxes]

    def _of(self, peer_id: PeerId) -> "MemoryGossip":
        return self._network.peers[peer_id].gossip
