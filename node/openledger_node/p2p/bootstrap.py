"""A bootstrap node: a process without engine or money, where the peers of one network find each other.

It serves rendezvous, relay and provider records, dials back peers that ask for it, and passes gossip on.
`openledger-node network bootstrap` runs it.
"""

import logging
import resource
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from random import SystemRandom

import trio

from openledger_protocol.advertisement import Advertisement, stated_in
from openledger_protocol.errors import ProtocolError
from openledger_protocol.wire.ads import AdsTopic, parse_ads_topic, shard_of

from ..config_tables import RELAY_BYTES_PER_S
from ..plugs import load_plug
from .address_book import AddressBook
from .connections import Connections
from .envelopes import GossipVerdict, judge_envelope
from .identity import ensure_identity
from .provider_records import serve_providers
from .rates import Rates
from .reach_watch import ReachWatch
from .scopes import group_of, scope_of_network
from .tally import Level, TrafficTally
from .transport import Gossip, PeerId, Transport, peer_id_from_address

CONNECTIONS_MAX = 1_024
FILES_FOR_OTHERS = 768
"""Files beside the sockets of peers that dial in: handshakes, connections of this node's own, and files."""

log = logging.getLogger(__name__)

MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 2.0, 20.0
"""Messages passed on per origin."""

SELLERS_MAX = 16_384
"""Sellers whose bases are remembered, each once a base; the one that advertised longest ago is forgotten."""

TOPICS_MAX = 256

TOPICS_A_PEER_MAX = 16
"""Topics of a peer that counts. Nodes follow 8 bases at most, so more are a bootstrap node's, or made up."""

VOTE = 720_720
"""The vote of one network of addresses, which 1 to 16 topics share without a remainder."""

LOOK_S = 1.0

Judge = Callable[[str, PeerId, bytes], GossipVerdict]
"""Judges a message by topic, origin and content."""


def open_bootstrap(
    folder: Path,
    listen: tuple[str, ...],
    bootstrap: tuple[str, ...] = (),
    *,
    announce: tuple[str, ...] = (),
    relay_bytes_per_s: int = RELAY_BYTES_PER_S,
    tally: TrafficTally | None = None,
) -> Transport:
    """Open the transport of a bootstrap node, with the identity in `folder`.

    `relay_bytes_per_s` is for all circuits together; 0 is no limit.

    Raises:
        ConfigError: an address to listen on or to announce is invalid.
        KeyFileError: the identity can't be read.
    """
    transport: Transport = load_plug("transport", "libp2p")(
        identity=ensure_identity(folder),
        listen=listen,
        announce=announce,
        serve_rendezvous=True,
        bootstrap=(*listen, *announce, *bootstrap),
        inbound_max=bootstrap_places(),
        serve_relay=True,
        relay_bytes_per_s=relay_bytes_per_s,
        is_bootstrap=True,
        tally=tally,
    )
    return transport


async def serve(
    transport: Transport,
    *,
    network: str,
    folder: Path,
    bootstrap: tuple[str, ...] = (),
    announce: tuple[str, ...] = (),
    tally: TrafficTally | None = None,
    now_s: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[ReachWatch] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve one network until cancelled; `bootstrap` are its other bootstrap nodes.

    Raises:
        NetworkError: it can't listen.
    """
    tally = tally or TrafficTally()
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        records = serve_providers(transport, network, now_s)
        tally.watch(Level.RECORDS, lambda: {"": records.num_records})
        connections = Connections(
            transport, network=network, bootstrap=bootstrap, book=AddressBook(folder), random=SystemRandom()
        )
        reach = ReachWatch(  # serves dialback, too
            transport,
            network=network,
            scope=scope_of_network((*transport.addresses, *bootstrap)),
            points=map(peer_id_from_address, bootstrap),
            known=connections.known,
            random=SystemRandom(),
            announced=announce,
            is_port_fixed=True,
            tally=tally,
        )
        nursery.start_soon(connections.run)
        nursery.start_soon(reach.run)
        follower = TopicFollower(
            transport,
            network=network,
            judge=GossipJudge(network, now_s=now_s, clock=trio.current_time).judge,
            others=frozenset(map(peer_id_from_address, bootstrap)),
        )
        tally.watch(Level.TOPICS, lambda: {"": len(follower.followed)})
        nursery.start_soon(follower.run)
        task_status.started(reach)


@cache
def bootstrap_places() -> int:
    """The peers that may dial in to a bootstrap node in this process."""
    return places_for(CONNECTIONS_MAX)


def places_for(peers_max: int) -> int:
    """The peers that may dial in: `peers_max`, or fewer if this process may not open as many files."""
    wanted = peers_max + FILES_FOR_OTHERS
    allowed = raise_file_limit(wanted)
    places = max(1, min(peers_max, allowed - FILES_FOR_OTHERS))
    if places < peers_max:
        log.warning(
            "%d peers can be connected at once, not %d, because this process may open only %d files: "
            "raise its hard limit (`ulimit -Hn`, or LimitNOFILE= of its systemd unit) to %d",
            places,
            peers_max,
            allowed,
            wanted,
        )
    return places


def raise_file_limit(wanted: int) -> int:
    """Raise the soft limit to `wanted` if the hard limit allows it, and return the limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


class GossipJudge:
    """Judges messages as far as their bytes, the clock and earlier messages on the same topic tell.

    A bootstrap node has no chain and no board. Nodes ignore an advertisement on a topic of another base or shard. If
    this node passed it on, one stranger could send their advertisement to the sellers of every base.
    """

    def __init__(self, network: str, *, now_s: Callable[[], float], clock: Callable[[], float]) -> None:
        self._network = network
        self._now_s = now_s  # since 1970
        self._rates: Rates[PeerId] = Rates(per_s=MESSAGES_A_SECOND, burst=MESSAGES_AT_ONCE, clock=clock)
        self._sold: OrderedDict[tuple[PeerId, str], None] = (
            OrderedDict()
        )  # seller and prefix of its base, latest last

    def judge(self, topic: str, origin: PeerId, content: bytes) -> GossipVerdict:
        """Judge a message; only a wrong envelope counts against the forwarder."""
        if not self._rates.take(origin):
            return GossipVerdict.IGNORE
        verdict = judge_envelope(topic, origin, content)
        named = parse_ads_topic(self._network, topic)
        if verdict is not GossipVerdict.PASS or named is None:
            return verdict
        try:
            ad = stated_in(content)
        except ProtocolError:
            return GossipVerdict.IGNORE
        return GossipVerdict.PASS if self._belongs(ad, origin, named) else GossipVerdict.IGNORE

    def _belongs(self, ad: Advertisement, origin: PeerId, topic: AdsTopic) -> bool:
        """True for a live advertisement of this base and shard, or the first of a seller that has left the base."""
        if ad.network != self._network or ad.expires_s <= self._now_s() or ad.peer_id != origin:
            return False
        if shard_of(origin, topic.bits) != topic.index:
            return False
        has_sold = (origin, topic.prefix) in self._sold
        self._sold.pop((origin, topic.prefix), None)
        if not ad.base.startswith(f"0x{topic.prefix}"):
            return has_sold
        self._sold[origin, topic.prefix] = None
        if len(self._sold) > SELLERS_MAX:
            self._sold.popitem(last=False)
        return True


class TopicFollower:
    """Follows the topics of advertisements that peers have subscribed to; `run` is its task.

    Anyone can subscribe to a topic that nobody needs. So each network of 256 addresses has one vote, which the topics
    of its peers share, and a topic that is followed already comes before a new one with as many votes. To push out a
    topic that is the only one of n networks, a stranger needs 256 × n networks. Without a chain, no bonds are known.
    """

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
