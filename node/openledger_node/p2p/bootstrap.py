"""A bootstrap node: a process without engine or money, where the peers of one network find each other.

It serves rendezvous, relay and provider records, dials back peers that ask for it, and passes gossip on.
`openledger-node network bootstrap` runs it.
"""

import logging
import resource
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import SystemRandom

import trio

from ..config_tables import RELAY_BYTES_PER_S
from ..plugs import load_plug
from .address_book import AddressBook
from .bootstrap_gossip import GossipJudge
from .bootstrap_topics import TopicFollower
from .connections import Connections
from .identity import ensure_identity
from .provider_records import serve_providers
from .reach_watch import ReachWatch
from .scopes import scope_of_network
from .tally import Level, TrafficTally
from .transport import Transport, peer_id_from_address

CONNECTIONS_MAX = 1_024
FILES_FOR_OTHERS = 768
"""Files beside the sockets of peers that dial in: handshakes, connections of this node's own, and files."""

log = logging.getLogger(__name__)


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
