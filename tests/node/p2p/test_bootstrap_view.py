"""A bootstrap node as its operator sees it: what proves that others reach it, and the figures of its log."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from openledger_node.p2p.bootstrap_view import BootstrapView
from openledger_node.p2p.reachability import NOT_CHECKED, ReachState
from openledger_node.p2p.tally import TrafficTally
from openledger_node.p2p.transport import Path, PeerId

OWN = "/ip4/8.8.8.8/tcp/4001/p2p/point"
LAN = "/ip4/192.168.1.7/tcp/4001/p2p/point"
LOOPBACK = "/ip4/127.0.0.1/tcp/4001/p2p/point"


class Peers:
    """A transport whose peers come from IP addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.hosts: dict[PeerId, str] = {}
        self.path = Path.DIRECT
        self.watch = SimpleNamespace(reach=NOT_CHECKED)  # what other bootstrap nodes have found
        self.view = BootstrapView(self, self.watch, TrafficTally(), clock=lambda: 0.0)  # type: ignore[arg-type]

    def connected(self) -> tuple[PeerId, ...]:
        return tuple(self.hosts)

    def seen_host(self, peer_id: PeerId) -> str:
        return self.hosts[peer_id]

    def path_to(self, _: PeerId) -> Path:
        return self.path


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
def test_a_peer_from_elsewhere_proves_that_it_is_reached(address: str, host: str, is_reached: bool | None) -> None:
    peers = Peers(address)
    peers.hosts[PeerId("ada")] = host
    peers.path = Path.RELAYED
    assert peers.view.reach().is_reached is None, "a peer over a relay proves nothing"
    peers.path = Path.DIRECT
    assert peers.view.reach().is_reached is is_reached
    peers.hosts.clear()
    assert peers.view.reach().is_reached is is_reached, "once reached it stays so while nobody is there"


def test_other_bootstrap_nodes_tell_where_nobody_has_come_yet() -> None:
    peers = Peers(OWN)
    assert peers.view.reach().words == "nobody has dialled in from the internet yet"
    peers.watch.reach = replace(NOT_CHECKED, state=ReachState.PUBLIC, addresses=("/ip4/8.8.8.8/tcp/4001",))
    assert peers.view.reach().is_reached is True
    peers.watch.reach = replace(NOT_CHECKED, state=ReachState.UNREACHABLE)
    reach = peers.view.reach()
    assert reach.is_reached is False
    assert "accept TCP connections to port 4001" in reach.words
