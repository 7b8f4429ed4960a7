"""Limits on dialling addresses that other peers named.

Anyone can name the address of a victim, and every node that believes it would dial there. So a node dials an endpoint
that has never answered twice an hour at most, and few endpoints of one internet address.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from ..errors import NetworkError
from .scopes import endpoint_of, host_of, is_public_host

PERIOD_S = 3600.0
UNANSWERED_MAX = 2
"""Dials in an hour to an endpoint that has never answered, whatever peer id comes with it."""

UNANSWERED_PER_HOST_MAX = 8
"""The same for all ports of an internet address together."""

ENDPOINTS_MAX = 8192


@dataclass(slots=True)
class _Dials:
    """The newest failed dials, by the clock; `has_answered` once one succeeded."""

    failed_s: deque[float] = field(default_factory=lambda: deque(maxlen=UNANSWERED_PER_HOST_MAX))
    has_answered: bool = False


class DialLimits:
    """Results of dials, in bounded memory.

    A peer that answers at an endpoint lifts the limit for itself and for the internet address, but not for other peer
    ids at that endpoint. Anyone can make those up, and each would cost the peer there a handshake.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._dials: OrderedDict[str, _Dials] = OrderedDict()  # address, endpoint, IP address, or origin

    def check(self, address: str) -> None:
        """Check that an address may be dialled now.

        Raises:
            NetworkError: this peer has never answered there, and it was tried often enough.
        """
        if self.has_answered(address) or _origin(address.rpartition("/p2p/")[2], host_of(address)) in self._dials:
            return
        now = self._clock()
        for name, num_max in self._limits_of(address):
            dials = self._dials.get(name)
            if dials is None or dials.has_answered:
                continue
            while dials.failed_s and now - dials.failed_s[0] >= PERIOD_S:
                dials.failed_s.popleft()
            if len(dials.failed_s) >= num_max:
                wait_min = (PERIOD_S - (now - dials.failed_s[0])) / 60
                raise NetworkError(f"{address} has never answered; it is tried again in {wait_min:.0f} minutes")

    def has_answered(self, address: str) -> bool:
        """True if a dial to this peer at this endpoint has succeeded."""
        dials = self._dials.get(address)
        return dials is not None and dials.has_answered

    def note_dialled_in(self, peer_id: str, host: str) -> None:
        """Note where a peer dialled in from, which nobody else can make up: it may be dialled back there."""
        self._keep(_origin(peer_id, host), _Dials(has_answered=True))

    def note(self, address: str, *, has_answered: bool) -> None:
        """Note the result of a dial; an answer clears what failed before."""
        if self.has_answered(address) and not has_answered:
            return  # a peer that has restarted is no reason to refuse others
        endpoint = endpoint_of(address)
        for name in ((address,) if has_answered else ()) + tuple(name for name, _ in self._limits_of(address)):
            dials = self._dials.pop(name, None) or _Dials()
            if has_answered:
                dials.has_answered = name != endpoint
                dials.failed_s.clear()
            elif not dials.has_answered:
                dials.failed_s.append(self._clock())
            self._keep(name, dials)

    def _keep(self, name: str, dials: _Dials) -> None:
        self._dials[name] = dials
        self._dials.move_to_end(name)
        if len(self._dials) > ENDPOINTS_MAX:
            self._dials.popitem(last=False)

    def _limits_of(self, address: str) -> list[tuple[str, int]]:
        limits = [(endpoint_of(address), UNANSWERED_MAX)]
        host = host_of(address)
        if host and is_public_host(host):
            limits.append((host, UNANSWERED_PER_HOST_MAX))
        return limits


def _origin(peer_id: str, host: str | None) -> str:
    return f"{peer_id} from {host}"
