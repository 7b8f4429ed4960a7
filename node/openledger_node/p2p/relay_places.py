"""Places at a relay: who may be reached over it, and who may open a circuit. Nobody gets the share of others.

A relay costs its owner bandwidth, and strangers use it. So all is counted by what a stranger can't make up: the
connection that a peer is reached by, and the internet address that it comes from.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from ..node_clock import seconds_since_boot
from .rates import Rates
from .scopes import group_of, is_public_host, provider_of
from .transport import PeerId

RESERVATIONS_MAX, RESERVATION_S = 128, 3600.0
RESERVATIONS_PER_HOST_MAX, RESERVATIONS_PER_GROUP_MAX = 4, 8
"""Reservations from one internet address, and from one /24 (IPv6: /64)."""

PROVIDER_PART = 4
"""One /16 (IPv6: /32) has at most this part of the reservations and of the circuits."""

SPARED_S = 600.0
"""A place is not taken from its holder before it has gone unused for this long."""

CIRCUITS_MAX = 64
CIRCUITS_PER_PEER_MAX, CIRCUITS_PER_HOST_MAX, CIRCUITS_PER_GROUP_MAX = 4, 8, 16
"""Circuits that one peer has opened, that one internet address has, and that one /24 has."""

CIRCUITS_PER_TARGET_MAX = 16
"""Circuits that lead to one peer."""

TO_TARGET_PER_HOST_MAX, TO_TARGET_PER_PROVIDER_MAX = 4, 8
"""Of the circuits to one peer, those from one internet address, and from one /16."""

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
    used_s: float  # when it was made, or a circuit to it last opened or ended


class RelayPlaces:
    """The reservations and circuits of one relay."""

    def __init__(
        self,
        *,
        connected: Callable[[], Collection[PeerId]],
        reservations_max: int = RESERVATIONS_MAX,
        hang_up: Callable[[PeerId], None] = lambda _: None,
        is_wanted: Callable[[PeerId], bool] = lambda _: False,
        clock: Callable[[], float] = seconds_since_boot,
    ) -> None:
        self._connected = connected
        self._reservations_max = reservations_max
        self._hang_up = hang_up  # tells a holder that its place is gone
        self._is_wanted = is_wanted  # the relay itself buys from it or asks it something
        self._clock = clock
        self._places: dict[PeerId, _Place] = {}
        self._circuits: list[Circuit] = []
        self._requests: Rates[str] = Rates(per_s=REQUESTS_PER_S, burst=REQUESTS_AT_ONCE, clock=clock)

    def reserve(self, peer_id: PeerId, host: str) -> Refusal | None:
        """Give a peer that is connected from `host` a place for `RESERVATION_S`, or more time; or say why not.

        A place ends with the connection. A full relay takes a place from the /16 that has the most, if that one has
        more than the newcomer's would have, and hangs up on its holder. So the holder looks for another relay, and
        stops to tell others of this one.
        """
        if not self._requests.take(_origin(peer_id, host)):
            return Refusal.TOO_MANY_REQUESTS
        self._forget()
        others = {who: place for who, place in self._places.items() if who != peer_id}
        hosts = [place.host for place in others.values()]
        per_provider = max(1, self._reservations_max // PROVIDER_PART)
        if _is_crowded(
            host, hosts, RESERVATIONS_PER_HOST_MAX, RESERVATIONS_PER_GROUP_MAX, per_provider
        ) or not self._make_room(host, others):
            return Refusal.NO_PLACE
        now, old = self._clock(), self._places.get(peer_id)
        used_s = old.used_s if old else now
        self._places[peer_id] = _Place(host=host, until_s=now + RESERVATION_S, used_s=used_s)
        return None

    def _make_room(self, host: str, others: dict[PeerId, _Place]) -> bool:
        """True if there is a place for a peer at `host` beside the others; one of them may lose its own."""
        if len(others) < self._reservations_max:
            return True
        if not is_public_host(host):
            return False
        num_of = Counter(provider_of(place.host) for place in others.values() if is_public_host(place.host))
        most = max(num_of.values(), default=0)
        if most <= num_of[provider_of(host)] + 1:
            return False
        reached, now = {each.target for each in self._circuits}, self._clock()
        spare = [
            who
            for who, place in others.items()
            if num_of[provider_of(place.host)] == most
            and not (who in reached or self._is_wanted(who))
            and now - place.used_s >= SPARED_S
        ]
        if not spare:
            return False
        leaver = min(spare, key=lambda who: others[who].used_s)
        del self._places[leaver]
        self._hang_up(leaver)
        return True

    def open(self, circuit: Circuit) -> Refusal | None:
        """Count a circuit from now on, or say why it is refused; `close` must follow."""
        if not self._requests.take(_origin(circuit.source, circuit.host)):
            return Refusal.TOO_MANY_REQUESTS
        if not self.has_place(circuit.target):
            return Refusal.NO_RESERVATION
        num_from = sum(each.source == circuit.source for each in self._circuits)
        hosts = [each.host for each in self._circuits]
        to_target = [each.host for each in self._circuits if each.target == circuit.target]
        per_host, per_provider = TO_TARGET_PER_HOST_MAX, TO_TARGET_PER_PROVIDER_MAX
        if (
            len(self._circuits) >= CIRCUITS_MAX
            or num_from >= CIRCUITS_PER_PEER_MAX
            or len(to_target) >= CIRCUITS_PER_TARGET_MAX
            or _is_crowded(circuit.host, to_target, per_host, per_host, per_provider)
            or _is_crowded(
                circuit.host, hosts, CIRCUITS_PER_HOST_MAX, CIRCUITS_PER_GROUP_MAX, CIRCUITS_MAX // PROVIDER_PART
            )
        ):
            return Refusal.NO_PLACE
        self._circuits.append(circuit)
        self._note_use(circuit)
        return None

    def close(self, circuit: Circuit) -> None:
        """Give the place of a circuit back."""
        self._circuits.remove(circuit)
        self._note_use(circuit)

    def _note_use(self, circuit: Circuit) -> None:
        """Note that a place is in use. A holder that tests its own place uses nothing."""
        place = self._places.get(circuit.target)
        if place and circuit.source != circuit.target:
            self._places[circuit.target] = replace(place, used_s=self._clock())

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


def _is_crowded(host: str, others: Iterable[str], per_host: int, per_group: int, per_provider: int) -> bool:
    """True if an internet address, its /24 or its /16 has its share already."""
    if not is_public_host(host):
        return False
    public = [each for each in others if is_public_host(each)]
    return (
        public.count(host) >= per_host
        or Counter(map(group_of, public))[group_of(host)] >= per_group
        or Counter(map(provider_of, public))[provider_of(host)] >= per_provider
    )


def _origin(peer_id: PeerId, host: str) -> str:
    return host if is_public_host(host) else peer_id
