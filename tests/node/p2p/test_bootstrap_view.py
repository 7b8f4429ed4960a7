"""A bootstrap node as its operator sees it: what proves that others reach it, and the figures of its log."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from openledger_node.p2p.bootstrap_view import BootstrapView
from openledger_node.p2p.reachability import NOT_CHECKED, Reach, ReachState
from openledger_node.p2p.tally import TrafficTally
from openledger_node.p2p.transport import Path, PeerId

OWN = "/ip4/8.8.8.8/tcp/4001/p2p/point"
LAN = "/ip4/192.168.1.7/tcp/4001/p2p/point"
LOOPBACK = "/ip4/127.0.0.1/tcp/4001/p2p/point"


class World:
    """A transport whose peers come from IP addresses, and what other bootstrap nodes have found."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.hosts: dict[str, str] = {}
        self.relayed: set[str] = set()
        self.reach: Reach = NOT_CHECKED
        self.view = BootstrapView(self, SimpleNamespace(reach=self.reach), TrafficTally(), clock=lambda: 0.0)  # type: ignore[arg-type]

    def found(self, state: ReachState, *addresses: str) -> None:
        self.view._watch = SimpleNamespace(reach=replace(NOT_CHECKED, state=state, addresses=addresses))  # type: ignore[assignment]

    def connected(self) -> tuple[PeerId, ...]:
        return tuple(map(PeerId, self.hosts))

    def seen_host(self, peer_id: PeerId) -> str:
        return self.hosts[peer_id]

    def path_to(self, peer_id: PeerId) -> Path:
        return Path.RELAYED if peer_id in self.relayed else Path.DIRECT


@pytest.mark.parametrize(
    ("address", "host", "is_reached"),
    [
        (OWN, "9.9.9.9", True),
        (OWN, "192.168.1.9", None),  # a neighbour proves nothing about the internet
        (OWN, "8.8.8.8", None),  # this machine itself, by its public address
        (OWN, "", None),  # this node dialled it
        (LAN, "192.168.1.9", True),
        (LAN, "192.168.1.7", None),
        (LAN, "127.0.0.1", None),
        (LOOPBACK, "127.0.0.1", True),
    ],
)
def test_a_peer_from_elsewhere_in_the_network_proves_that_it_is_reached(
    address: str, host: str, is_reached: bool | None
) -> None:
    world = World(address)
    world.hosts["ada"] = host
    assert world.view.reach().is_reached is is_reached
    world.hosts.clear()
    assert world.view.reach().is_reached is is_reached, "once reached it stays so while nobody is there"


def test_a_peer_over_a_relay_proves_nothing() -> None:
    world = World(OWN)
    world.hosts["ada"] = "9.9.9.9"
    world.relayed.add("ada")
    assert world.view.reach().is_reached is None


def test_other_bootstrap_nodes_tell_where_nobody_has_come_yet() -> None:
    world = World(OWN)
    assert world.view.reach().words == "nobody has dialled in from the internet yet"
    world.found(ReachState.PUBLIC, "/ip4/8.8.8.8/tcp/4001")
    assert world.view.reach().is_reached is True
    world.found(ReachState.UNREACHABLE)
    reach = world.view.reach()
    assert reach.is_reached is False
    assert "accept TCP connections to port 4001" in reach.words
