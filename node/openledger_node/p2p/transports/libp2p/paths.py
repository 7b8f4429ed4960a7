"""The connections with one peer: direct ones, and those over a relay."""

from typing import Any

from libp2p.connection_types import ConnectionType
from libp2p.host.ping import ID as PING
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify_push.identify_push import ID_PUSH as IDENTIFY_PUSH
from libp2p.network.swarm import Swarm
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11

from ....errors import NetworkError
from ...transport import Path, PeerId
from .names import library_id

QUIET = frozenset({PROTOCOL_ID_V11, IDENTIFY, IDENTIFY_PUSH, PING})
"""Protocols whose streams are no use of a connection: every connection has them, and they begin again on another."""


class Paths:
    """Tells connections apart, and remembers which ones were punched."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._punched: set[PeerId] = set()
        self._unused: set[int] = set()  # relayed connections that were found without use

    def path_to(self, peer_id: PeerId) -> Path | None:
        """The path of new streams to a peer."""
        if self.has_direct(peer_id):
            return Path.PUNCHED if peer_id in self._punched else Path.DIRECT
        self._punched.discard(peer_id)
        return Path.RELAYED if self._with(peer_id) else None

    def direct(self, peer_id: PeerId) -> Any | None:
        """A direct connection with a peer; None if there is none."""
        return next((each for each in self._with(peer_id) if not is_relayed(each.muxed_conn)), None)

    def has_direct(self, peer_id: PeerId) -> bool:
        """True if a direct connection with a peer is open."""
        return self.direct(peer_id) is not None

    def has_relayed(self, peer_id: PeerId) -> bool:
        """True if a connection over a relay is open."""
        return any(is_relayed(each.muxed_conn) for each in self._with(peer_id))

    def only_relayed(self) -> list[PeerId]:
        """Peers that are connected over a relay and not directly."""
        peers = [PeerId(str(peer)) for peer in self._swarm.get_connections_map()]
        return [peer for peer in peers if self.path_to(peer) is Path.RELAYED]

    def note_direct(self, peer_id: PeerId) -> None:
        """Note that a direct connection with a peer was made."""
        if self.has_relayed(peer_id):
            self._punched.add(peer_id)

    def to_retire(self) -> list[Any]:
        """Relayed connections that a direct one has replaced, found without use twice in turn.

        The other side may have opened a stream that has not arrived yet.
        """
        unused = [
            each
            for peer, connections in self._swarm.get_connections_map().items()
            if self.has_direct(PeerId(str(peer)))
            for each in connections
            if is_relayed(each.muxed_conn) and not each.is_closed and not _is_used(each)
        ]
        found = [each for each in unused if id(each) in self._unused]
        self._unused = {id(each) for each in unused}
        return found

    def _with(self, peer_id: PeerId) -> list[Any]:
        try:
            connections = self._swarm.get_connections(library_id(peer_id))
        except NetworkError:  # not a peer id, so nobody is connected under it
            return []
        return [each for each in connections if not each.is_closed]


def is_relayed(connection: Any) -> bool:
    """True for a connection over a relay."""
    return bool(connection.get_connection_type() is ConnectionType.RELAYED)


def _is_used(connection: Any) -> bool:
    return any(stream.get_protocol() not in QUIET for stream in connection.get_streams())
