"""A bootstrap node as its operator sees it: whether others reach it, and what it carries for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..text import counted, size_text
from .reach_watch import ReachWatch
from .reachability import IS_DIRECT, ReachState, port_of
from .scopes import Scope, host_of, scope_of, scope_of_host, scope_of_network
from .tally import Counted, Level, TrafficTally
from .transport import Path, Transport

SCOPE_WORDS = {Scope.MACHINE: "this machine", Scope.LAN: "the local network", Scope.INTERNET: "the internet"}


@dataclass(frozen=True, slots=True)
class BootstrapReach:
    """The answer to the question of whether others reach a bootstrap node; None if nobody has shown it yet."""

    is_reached: bool | None
    words: str  # the reason


class BootstrapView:
    """Reads the state of a running bootstrap node.

    A peer that has dialled in from another machine proves that others reach it. Other bootstrap nodes, which this one
    dials itself, are asked to dial back.
    """

    def __init__(
        self,
        transport: Transport,
        watch: ReachWatch,
        tally: TrafficTally,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._watch = watch
        self._clock = clock
        self._started_s = clock()
        self._was_visited = False
        self.tally = tally
        self.scope = scope_of_network(transport.addresses)

    @property
    def uptime_s(self) -> float:
        """Seconds since the node's start."""
        return self._clock() - self._started_s

    def num_visitors(self) -> int:
        """The number of connected peers that have dialled in directly from other machines of the network."""
        transport = self._transport
        hosts = [
            transport.seen_host(peer_id)
            for peer_id in transport.connected()
            if transport.path_to(peer_id) is Path.DIRECT
        ]
        own = {host_of(address) for address in transport.addresses} if self.scope is not Scope.MACHINE else set()
        num = sum(host not in own and (scope_of_host(host) or Scope.MACHINE) >= self.scope for host in hosts if host)
        self._was_visited = self._was_visited or num > 0
        return num

    def reach(self) -> BootstrapReach:
        """Judge whether others reach this node."""
        num_visitors, found = self.num_visitors(), self._watch.reach
        if not self._transport.addresses:
            return BootstrapReach(False, "it has no address that others could dial; name one with --announce")
        where = SCOPE_WORDS[self.scope]
        if num_visitors:
            return BootstrapReach(True, f"{counted(num_visitors, 'peer')} dialled in from {where}")
        if found.state in IS_DIRECT:
            return BootstrapReach(True, f"other bootstrap nodes have dialled {', '.join(found.addresses)}")
        if self._was_visited:
            return BootstrapReach(True, f"peers have dialled in from {where}, and none is connected now")
        if found.state is ReachState.UNKNOWN:
            return BootstrapReach(None, f"nobody has dialled in from {where} yet")
        ports = " or ".join(sorted({str(port_of(address)) for address in self._transport.addresses}))
        return BootstrapReach(
            False,
            f"other bootstrap nodes could not dial it; let the firewalls of this machine and of its provider accept "
            f"TCP connections to port {ports}",
        )

    def state_line(self) -> str:
        """One line on what the node carries now, and has carried since its start."""
        tally = self.tally
        peers, gossip = tally.level(Level.CONNECTIONS), tally.counts(Counted.GOSSIP)
        kinds = ", ".join(f"{num} {kind}" for kind, num in peers.items() if num)
        now = [
            counted(sum(peers.values()), "peer") + (f" ({kinds})" if kinds else ""),
            f"{sum(tally.level(Level.REGISTRATIONS).values())} registered",
            counted(sum(tally.level(Level.RESERVATIONS).values()), "reservation"),
            counted(sum(tally.level(Level.CIRCUITS).values()), "circuit"),
        ]
        since = [
            f"{gossip.get('passed', 0)} messages passed on",
            f"{gossip.get('ignored', 0)} ignored",
            f"{gossip.get('rejected', 0)} rejected",
            f"{size_text(tally.total(Counted.RELAYED_BYTES))} relayed",
            counted(tally.total(Counted.REFUSAL), "refusal"),
        ]
        return f"{', '.join(now)}; since the start {', '.join(since)}; {self.reach().words}"


def advice(addresses: tuple[str, ...]) -> str:
    """The operator's remedy for addresses that the internet can't dial; empty if it can dial one of them."""
    if any(scope_of(address) in (None, Scope.INTERNET) for address in addresses):
        return ""
    farthest = scope_of_network(addresses)
    return (
        f"only {SCOPE_WORDS[farthest]} can dial these addresses. For a network of the internet, give the public "
        "address with --announce /ip4/<public address>/tcp/<port>"
    )
