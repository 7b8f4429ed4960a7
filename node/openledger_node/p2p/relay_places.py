"""Places at a relay: who may be reached over it, and who may open a circuit. Nobody gets the share of others.

A relay costs its owner bandwidth, and strangers use it. So all is counted by what a stranger can't make up: the
connection that a peer is reached by, and the internet address that it comes from.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from time import monotonic

from .rates import Rates
from .scopes import group_of, is_public_host
from .transport import PeerId

RESERVATIONS_MAX, RESERVATION_S = 128, 3600.0
RESERVATIONS_PER_HOST_MAX, RESERVATIONS_PER_GROUP_MAX = 4, 8
"""Reservations from one internet address, and from one /24 (IPv6: /64)."""

CIRCUITS_MAX = 64
CIRCUITS_PER_PEER_MAX, CIRCUITS_PER_HOST_MAX, CIRCUITS_PER_GROUP_MAX = 4, 8, 16
"""Circuits that one peer has opened, that one internet address has, and that one /24 has."""

CIRCUITS_PER_TARGET_MAX = 16
"""Circuits that lead to one peer."""

REQUESTS_PER_S, REQUESTS_AT_ONCE = 1.0, 16.0
"""Requests of one internet address, or of one peer in a LAN."""


class Refusal(Enum):
    """The reason for which a relay refuses a request."""

    TOO_MANY_REQUESTS = "too many requests"
    NO_PLACE = "no place"
    NO_RESERVATION = "no reservation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """A circuit between two peers, opened by the source; `host` is where the source comes from."""

    source: PeerId
    host: str
    target: PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    host: str
    until_s: float


class RelayPlaces:
    """The reservations and circuits of one relay."""

    def __init__(
        self,
        *,
        connected: Callable[[], Collection[PeerId]],
        reservations_max: int = RESERVATIONS_MAX,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._connected = connected
        self._reservations_max = reservations_max
        self._clock = clock
        self._places: dict[PeerId, _Place] = {}
        self._circuits: list[Circuit] = []
        self._requests: Rates[str] = Rates(per_s=REQUESTS_PER_S, burst=REQUESTS_AT_ONCE, clock=clock)

    def reserve(self, peer_id: PeerId, host: str) -> Refusal | None:
        """Give a peer that is connected from `host` a place for `RESERVATION_S`, or more time; or say why not.

        A place ends with the connection. Nobody loses one to a newcomer, because its holder has told others of it.
        """
        if not self._requests.take(_origin(peer_id, host)):
            return Refusal.TOO_MANY_REQUESTS
        self._forget()
        others = [place.host for who, place in self._places.items() if who != peer_id]
        if len(others) >= self._reservations_max or _is_crowded(
            host, others, per_host=RESERVATIONS_PER_HOST_MAX, per_group=RESERVATIONS_PER_GROUP_MAX
        ):
            return Refusal.NO_PLACE
        self._places[peer_id] = _Place(host=host, until_s=self._clock() + RESERVATION_S)
        return None

    def open(self, circuit: Circuit) -> Refusal | None:
        """Count a circuit from now on, or say why it is refused; `close` must follow."""
        if not self._requests.take(_origin(circuit.source, circuit.host)):
            return Refusal.TOO_MANY_REQUESTS
        if not self.has_place(circuit.target):
            return Refusal.NO_RESERVATION
        num_from = sum(each.source == circuit.source for each in self._circuits)
        num_to = sum(each.target == circuit.target for each in self._circuits)
        hosts = [each.host for each in self._circuits]
        if (
            len(self._circuits) >= CIRCUITS_MAX
            or num_from >= CIRCUITS_PER_PEER_MAX
            or num_to >= CIRCUITS_PER_TARGET_MAX
            or _is_crowded(circuit.host, hosts, per_host=CIRCUITS_PER_HOST_MAX, per_group=CIRCUITS_PER_GROUP_MAX)
        ):
            return Refusal.NO_PLACE
        self._circuits.append(circuit)
        return None

    def close(self, circuit: Circuit) -> None:
        """Give the place of a circuit back."""
        self._circuits.remove(circuit)

    def has_place(self, peer_id: PeerId) -> bool:
        """True if a peer can be reached over this relay."""
        self._forget()
        return peer_id in self._places

    def holders(self) -> frozenset[PeerId]:
        """Peers that can be reached over this relay."""
        self._forget()
        return frozenset(self._places)

    def num_circuits(self) -> int:
        """The number of open circuits."""
        return len(self._circuits)

    def _forget(self) -> None:
        connected, now = set(self._connected()), self._clock()
        self._places = {who: place for who, place in self._places.items() if who in connected and place.until_s > now}


def _is_crowded(host: str, others: Iterable[str], *, per_host: int, per_group: int) -> bool:
    """True if an internet address, or its neighbourhood, has its share already."""
    if not is_public_host(host):
        return False
    public = [each for each in others if is_public_host(each)]
    return public.count(host) >= per_host or Counter(map(group_of, public))[group_of(host)] >= per_group


def _origin(peer_id: PeerId, host: str) -> str:
    return host if is_public_host(host) else peer_id
