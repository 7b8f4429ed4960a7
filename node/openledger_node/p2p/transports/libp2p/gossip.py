"""Gossipsub 1.1, configured for this network, with the library's gaps filled."""

import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libp2p.abc import IHost
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb.rpc_pb2 import Message
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.score import ScoreParams, TopicScoreParams

from ...streams import Inbox
from ...transport import GOSSIP_BYTES_MAX, GOSSIP_MEMORY_S, Gossip, PeerId
from .guard import running

HEARTBEAT_S = 1
RPC_BYTES_MAX = 64 * 1024
RPC_SLACK_BYTES = 4 * 1024  # room for the sender's record, which is added last
RPC_WAITING_MAX = 256
TOPICS_PER_PEER_MAX = 16
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

    def __init__(self, host: IHost, inboxes: dict[str, Inbox]) -> None:
        router = GossipSub(
            protocols=[PROTOCOL_ID_V11],  # 1.2 takes twice the time per message
            degree=6,
            degree_low=4,
            degree_high=12,
            gossip_window=WINDOW,
            gossip_history=HISTORY,
            heartbeat_interval=HEARTBEAT_S,
            score_params=SCORES,
            adaptive_gossip_enabled=False,  # it slows heartbeats down from a second to a minute
            spam_protection_enabled=False,  # it drops our own messages too; `accept` limits rates
            eclipse_protection_enabled=False,
        )
        router.mcache = ContentCache(WINDOW, HISTORY)
        super().__init__(
            host,
            router,
            seen_ttl=int(GOSSIP_MEMORY_S),
            msg_id_constructor=content_id,
            validation_cache_ttl=-1,  # never cache: a refused copy must not shut out the one of the true origin
            max_inbound_rpc_size=RPC_BYTES_MAX,
            max_subscriptions_per_peer=TOPICS_PER_PEER_MAX,
        )
        self._inboxes = inboxes

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take part in gossip."""
        try:
            async with running(self), running(self.router):  # type: ignore[arg-type]
                await self.wait_until_ready()
                for topic in self._inboxes:
                    await self.join(topic)
                yield
        finally:
            self.seen_messages._stop_event.set()  # its thread sleeps up to a minute, and `stop` would wait for it

    async def join(self, topic: str) -> None:
        """Take part in one topic."""
        inbox = self._inboxes[topic]

        def can_pass(_: ID, message: Message) -> bool:
            return _is_ours(self, message) or inbox.can_pass(_origin(message), message.data)

        self.set_topic_validator(topic, can_pass, False)
        await self.subscribe(topic)

    async def push_msg(self, msg_forwarder: ID, msg: Message) -> None:
        """Check a message, receive it and pass it on.

        NOTE: the library checks the signature with a key that came with the message, and an invalid key raises.
        """
        if len(msg.topicIDs) != 1 or len(msg.data) > GOSSIP_BYTES_MAX:
            return
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception as error:
            log.debug("a message of peer %s can't be read: %r", msg_forwarder, error)

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """Greet a new peer.

        NOTE: the library packs up to 1 MiB into one RPC, and drops what exceeds 32 unread RPCs.
        """
        await super()._handle_new_peer(peer_id)
        if queue := self.peer_queues.get(peer_id):
            queue.max_message_size = RPC_BYTES_MAX - RPC_SLACK_BYTES
            queue._queue.max_size = RPC_WAITING_MAX

    def notify_subscriptions(self, publish_message: Message) -> None:
        """Put an accepted message into its inbox: the library's own channel drops the newest."""
        inbox = self._inboxes.get(publish_message.topicIDs[0])
        if inbox and not _is_ours(self, publish_message):
            inbox.put(Gossip(_origin(publish_message), publish_message.data))


class ContentCache(MessageCache):
    """Recent messages under the same ids that mark messages as seen.

    The library's own cache uses origin and number whatever the id is, so each message would be requested again every
    second.
    """

    def put(self, msg: Message) -> None:
        """Keep a message for the length of the history."""
        digest = content_id(msg)
        if digest not in self.msgs:
            self.msgs[digest] = msg
            self.history[0].append(CacheEntry(digest, msg.topicIDs))


def content_id(message: Message) -> bytes:
    """The id of a message: equal content means the same message."""
    return hashlib.sha256(message.data).digest()


def _origin(message: Message) -> PeerId:
    return PeerId(str(ID(message.from_id)))


def _is_ours(pubsub: Pubsub, message: Message) -> bool:
    return bool(message.from_id == pubsub.my_id.to_bytes())
