"""Counts since the start, and levels now, of what a node carries for others; a bootstrap node's metrics show them.

The parts of a transport count into it, and know nothing of who reads. No figure names a peer or an address.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum


class Counted(StrEnum):
    """Something that is counted; most have kinds."""

    GOSSIP = "gossip"
    """A message of a topic, by verdict: passed, ignored or rejected. Copies of one that was seen are not counted."""
    REFUSAL = "refusal"
    """Something that a peer was refused, by reason."""
    CIRCUIT = "circuit"
    """A circuit that was opened over this relay."""
    RELAYED_BYTES = "relayed bytes"
    """Bytes that circuits have carried, in both directions."""
    DIALBACK = "dialback"
    """A question whether this node reaches a peer, by result: reached or not reached."""


class Reason(StrEnum):
    """The kinds of `Counted.REFUSAL`."""

    BARRED = "barred"
    """A connection of a peer or an internet address that was cut off a while ago."""
    HANDSHAKES = "handshakes"
    """A connection beside too many unfinished handshakes, or too many handshakes of one address."""
    CONNECTIONS = "connections"
    """A connection for which there is no place."""
    FLOOD = "flood"
    """A peer that was cut off because it sent too much gossip."""
    REGISTRATION = "registration"
    """A registration for rendezvous that breaks a rule."""
    RELAY_RATE = "relay_rate"
    """A request to the relay beside too many of the same origin."""
    RELAY_PLACE = "relay_place"
    """A reservation or a circuit for which there is no place."""
    RELAY_TARGET = "relay_target"
    """A circuit to a peer that has no reservation, or does not answer."""
    DIALBACK = "dialback"
    """A question to dial back that comes too soon, or from an address that must not be dialled."""


class Level(StrEnum):
    """Something that is measured when it is read."""

    CONNECTIONS = "connections"
    """Connected peers, by kind."""
    RESERVATIONS = "reservations"
    """Peers with a place at this relay."""
    CIRCUITS = "circuits"
    """Open circuits."""
    REGISTRATIONS = "registrations"
    """Peers that are registered for rendezvous."""
    RECORDS = "records"
    """Provider records that this bootstrap node keeps."""
    TOPICS = "topics"
    """Gossip topics of the network that a bootstrap node follows."""


class TrafficTally:
    """The counts and levels of one node."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Counted, str]] = Counter()
        self._levels: dict[Level, Callable[[], Mapping[str, int]]] = {}

    def count(self, event: Counted, kind: str = "", *, num: int = 1) -> None:
        """Count an event."""
        self._counts[event, kind] += num

    def refuse(self, reason: Reason) -> None:
        """Count a refusal."""
        self.count(Counted.REFUSAL, reason)

    def watch(self, level: Level, read: Callable[[], Mapping[str, int]]) -> None:
        """Read a level by `read`, which returns one figure per kind; the kind "" is for a level without kinds."""
        self._levels[level] = read

    def counts(self, event: Counted) -> dict[str, int]:
        """The counts of an event, by kind."""
        return {kind: num for (each, kind), num in sorted(self._counts.items()) if each is event}

    def total(self, event: Counted) -> int:
        """The count of an event, of all kinds together."""
        return sum(self.counts(event).values())

    def level(self, level: Level) -> dict[str, int]:
        """A level now, by kind; empty if this node does not have it."""
        read = self._levels.get(level)
        return dict(read()) if read else {}
