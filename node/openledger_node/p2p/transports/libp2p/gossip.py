"""Gossipsub 1.1, configured for this network, with the library's gaps filled."""

import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from google.protobuf.message import DecodeError
from libp2p.abc import IHost, INetStream
from libp2p.io.exceptions import IOException, MessageTooLarge
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb.rpc_pb2 import RPC, ControlMessage, Message
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.score import PeerScorer, ScoreParams, TopicScoreParams
from libp2p.pubsub.validators import signature_validator
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from ...envelopes import GossipVerdict
from ...flood import FloodLimits
from ...streams import Inbox
from ...transport import (
    GOSSIP_BYTES_MAX,
    GOSSIP_MEMORY_S,
    TOPICS_PER_PEER_MAX,
    Gossip,
    PeerId,
    content_id,
)
from .guard import running

HEARTBEAT_S = 1
RPC_BYTES_MAX = 64 * 1024
RPC_SLACK_BYTES = 4 * 1024  # room for the sender's record, which is added last
RPC_WAITING_MAX = 256
TOPIC_LENGTH_MAX = 128
SUBSCRIPTIONS_A_MESSAGE = 4  # that count as much as one message
ORIGIN_BYTES = 38  # of an Ed25519 key; other kinds of keys are not used
WINDOW, HISTORY = 3, 5  # heartbeats: messages that are announced, and messages that are kept for requests

# NOTE: the library subtracts weight × count, so weights are positive here where the specification has negative ones.
SCORES = ScoreParams(
    p4_invalid_messages=TopicScoreParams(weight=10.0, cap=20.0, decay=0.9),
    p5_behavior_penalty_weight=1.0,
    p5_behavior_penalty_decay=0.9,
    gossip_threshold=-20.0,
    publish_threshold=-40.0,
    graylist_threshold=-80.0,
    p7_ip_colocation_weight=0.0,  # families and labs share an address
)

log = logging.getLogger(__name__)


class GossipRouter(Pubsub):
    """Puts messages into their inboxes, and survives malformed ones."""

    def __init__(self, host: IHost, inboxes: dict[str, Inbox], cut: Callable[[PeerId], None]) -> None:
        router = GossipSub(
            protocols=[PROTOCOL_ID_V11],  # 1.2 takes twice the time per message
            degree=6,
            degree_low=4,
            degree_high=12,
            gossip_window=WINDOW,
            gossip_history=HISTORY,
            heartbeat_interval=HEARTBEAT_S,
            adaptive_gossip_enabled=False,  # it slows heartbeats down from a second to a minute
            spam_protection_enabled=False,  # it drops our own messages too; `FloodLimits` takes its place
            eclipse_protection_enabled=False,
        )
        router.mcache = ContentCache(WINDOW, HISTORY)
        super().__init__(
            host,
            router,
            seen_ttl=int(GOSSIP_MEMORY_S),
            msg_id_constructor=message_id,
            max_inbound_rpc_size=RPC_BYTES_MAX,
            max_subscriptions_per_peer=TOPICS_PER_PEER_MAX,
        )
        self._scores = PeerScorer(SCORES)
        router.scorer = self._scores
        self._inboxes = inboxes
        self._limits = FloodLimits()
        self._cut = cut  # hangs up on a peer, and lets it in again only later
        self._num_read: Counter[ID] = Counter()  # streams of a peer that are read now
        self._following = trio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take part in gossip."""
        try:
            async with running(self), running(self.router):  # type: ignore[arg-type]
                await self.wait_until_ready()
                await self.follow()
                yield
        finally:
            self.seen_messages._stop_event.set()  # its thread sleeps up to a minute, and `stop` would wait for it

    async def follow(self) -> None:
        """Subscribe to the topics that have an inbox, and to no others."""
        async with self._following:  # or an older change could end after a newer one
            for topic in [each for each in self.topic_ids if each not in self._inboxes]:
                await self.unsubscribe(topic)
            for topic in [each for each in self._inboxes if each not in self.topic_ids]:
                await self.subscribe(topic)

    def topics_of_peers(self) -> dict[PeerId, frozenset[str]]:
        """The topics of each peer."""
        found: defaultdict[ID, set[str]] = defaultdict(set)
        for topic, peers in self.peer_topics.items():
            for peer in peers:
                found[peer].add(topic)
        return {_name(peer): frozenset(topics) for peer, topics in found.items()}

    def handle_subscription(self, origin_id: ID, sub_message: RPC.SubOpts) -> None:
        """Remember a subscription.

        NOTE: the library starts three tasks for each, also for a topic that this node does not follow.
        """
        topic = sub_message.topicid
        if not sub_message.subscribe or topic in self._inboxes:
            super().handle_subscription(origin_id, sub_message)
        elif len(topic) <= TOPIC_LENGTH_MAX and origin_id not in self.peer_topics.get(topic, ()):
            count = self._peer_subscription_count.get(origin_id, 0)
            if count < TOPICS_PER_PEER_MAX:
                self.peer_topics.setdefault(topic, set()).add(origin_id)
                self._peer_subscription_count[origin_id] = count + 1

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Take a peer's RPCs one after another until it leaves or is cut off.

        NOTE: the library starts a task for each message, so one RPC with hundreds of them holds up everything else.
        """
        forwarder = stream.muxed_conn.peer_id
        self._num_read[forwarder] += 1
        with suppress(StreamError, IOException, RawConnError):
            try:
                while self.manager.is_running:
                    content = await read_varint_prefixed_bytes_limited(stream, RPC_BYTES_MAX)
                    if not await self._take_rpc(forwarder, content):
                        break
            except (MessageTooLarge, DecodeError) as error:
                log.debug("an RPC of peer %s can't be read: %r", forwarder, error)
                if not self._limits.may_err(_name(forwarder)):
                    self._cut(_name(forwarder))
            finally:
                self._num_read[forwarder] -= 1
                self._num_read += Counter()  # drops what is zero
                if forwarder not in self.peers:  # it has left
                    self._forget_all_subscriptions(forwarder)
            await stream.reset()
            self._handle_dead_peer(forwarder)

    def _forget_all_subscriptions(self, peer_id: ID) -> None:
        """Forget a peer's subscriptions, unless it has told them on another stream.

        A peer that changes from a relay to a direct connection opens a new stream before the old one ends.
        """
        if not self._num_read[peer_id]:
            super()._forget_all_subscriptions(peer_id)

    async def _take_rpc(self, forwarder: ID, content: bytes) -> bool:
        """Take one RPC; False if the peer sends so much that it is cut off.

        Raises:
            DecodeError: it is not an RPC.
        """
        rpc = RPC.FromString(content)
        num_wanted = sum(len(each.messageIDs) for each in rpc.control.iwant)  # each is answered with a message
        num_messages = 1 + len(rpc.publish) + num_wanted + len(rpc.subscriptions) // SUBSCRIPTIONS_A_MESSAGE
        if not self._limits.may_send(_name(forwarder), num_messages=num_messages, num_bytes=len(content)):
            self._cut(_name(forwarder))
            return False
        for message in rpc.publish:
            await self.push_msg(forwarder, message)
            await trio.lowlevel.checkpoint()  # a signature takes about a millisecond, and other tasks wait
            if self.is_peer_blacklisted(forwarder):
                return False
        if len(rpc.subscriptions) <= TOPICS_PER_PEER_MAX:
            for subscription in rpc.subscriptions:
                self.handle_subscription(forwarder, subscription)
        if rpc.HasField("control"):
            rpc.ClearField("senderRecord")  # peers' addresses come from their advertisements
            self._trim(rpc.control)
            await self.router.handle_rpc(rpc, forwarder)
        return True

    def _trim(self, control: ControlMessage) -> None:
        """Remove from control messages what could make the library dial or remember whatever a stranger names.

        NOTE: the library dials the peers that a PRUNE proposes, and keeps an entry for each topic of a PRUNE.
        """
        lists: tuple[Any, ...] = (control.ihave, control.graft, control.prune)
        for entries in lists:
            known = [each for each in entries if each.topicID in self._inboxes]
            del entries[:]
            entries.extend(known)
        for prune in control.prune:
            prune.ClearField("peers")
        control.ClearField("idontwant")  # of gossipsub 1.2, which is not spoken here

    async def push_msg(self, msg_forwarder: ID, msg: Message) -> None:
        """Check a message, receive it and pass it on."""
        if msg_forwarder == self.my_id:
            return await super().push_msg(msg_forwarder, msg)
        if len(msg.topicIDs) != 1 or msg.topicIDs[0] not in self._inboxes or _is_ours(self, msg):
            return None
        forwarder, topic = _name(msg_forwarder), msg.topicIDs[0]
        if not self._scores.allow_publish(msg_forwarder, [topic]):
            if not self._limits.may_send_unheard(forwarder):
                self._cut(forwarder)
            return None
        if len(msg.data) > GOSSIP_BYTES_MAX or len(msg.from_id) != ORIGIN_BYTES:
            return self._mark(msg_forwarder, topic)
        if self._is_msg_seen(msg) or not self._limits.may_pass(forwarder):
            return None
        if not _is_signed(msg):
            return self._mark(msg_forwarder, topic)
        self._mark_msg_seen(msg)  # only now: a forged copy must not shut out the true message
        verdict = self._inboxes[topic].judge(_origin(msg), msg.data)
        if verdict is GossipVerdict.REJECT:
            self._mark(msg_forwarder, topic)
        elif verdict is GossipVerdict.PASS:
            self._inboxes[topic].put(Gossip(_origin(msg), msg.data))
            await self.router.publish(msg_forwarder, msg)
        return None

    def _mark(self, forwarder: ID, topic: str) -> None:
        """Count a message against the peer that passed it on, although it could have seen what is wrong with it."""
        self._scores.on_invalid_message(forwarder, topic)

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """Greet a new peer.

        NOTE: the library packs up to 1 MiB into one RPC, and drops what exceeds 32 unread RPCs. It tells a peer no
        topics that change while it greets that peer.
        """
        before = set(self.topic_ids)
        await super()._handle_new_peer(peer_id)
        queue = self.peer_queues.get(peer_id)
        if queue is not None:  # an empty one is false
            queue.max_message_size = RPC_BYTES_MAX - RPC_SLACK_BYTES
            queue._queue.max_size = RPC_WAITING_MAX
            for topic in before ^ set(self.topic_ids):
                queue.push(self._build_announce_rpc(topic, topic in self.topic_ids)[0])

    def notify_subscriptions(self, publish_message: Message) -> None:
        """Do nothing: messages of others go into their inboxes in `push_msg`, and our own do not come back."""


class ContentCache(MessageCache):
    """Recent messages under the same ids that mark messages as seen.

    The library's own cache uses origin and number whatever the id is, so each message would be requested again every
    second.
    """

    def put(self, msg: Message) -> None:
        """Keep a message for the length of the history."""
        digest = message_id(msg)
        if digest not in self.msgs:
            self.msgs[digest] = msg
            self.history[0].append(CacheEntry(digest, msg.topicIDs))


def message_id(message: Message) -> bytes:
    """The id by which a message is known to all peers."""
    return content_id(message.topicIDs[0] if message.topicIDs else "", message.from_id, message.data)


def _name(peer: ID) -> PeerId:
    return PeerId(str(peer))


def _origin(message: Message) -> PeerId:
    return _name(ID(message.from_id))


def _is_ours(pubsub: Pubsub, message: Message) -> bool:
    return bool(message.from_id == pubsub.my_id.to_bytes())


def _is_signed(message: Message) -> bool:
    """NOTE: the library takes a key that comes with the message, and an invalid key raises."""
    try:
        return bool(signature_validator(message))
    except Exception as error:
        log.debug("the signature of a message can't be checked: %r", error)
        return False
