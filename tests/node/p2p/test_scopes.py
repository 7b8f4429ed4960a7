"""Which addresses of others are dialled, and which ones count as one neighbourhood."""

import pytest

from openledger_node.p2p.scopes import Scope, endpoint_of, group_of, may_dial, scope_of, scope_of_network

PEER = "/tcp/4120/p2p/12D3KooW"


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("/ip4/127.0.0.1", Scope.MACHINE),
        ("/ip6/::ffff:127.0.0.1", Scope.MACHINE),
        ("/ip4/192.168.1.7", Scope.LAN),
        ("/ip4/169.254.169.254", Scope.LAN),
        ("/ip4/100.64.0.1", Scope.LAN),
        ("/ip6/fd00::1", Scope.LAN),
        ("/ip4/8.8.8.8", Scope.INTERNET),
        ("/ip6/2606:4700::1", Scope.INTERNET),
        ("/ip4/0.0.0.0", None),
        ("/ip4/224.0.0.1", None),
        ("/dns4/localhost", None),
    ],
)
def test_the_scope_of_an_address(host: str, scope: Scope | None) -> None:
    assert scope_of(f"{host}{PEER}") == scope


@pytest.mark.parametrize(
    ("host", "network", "is_dialled"),
    [
        ("/ip4/8.8.8.8", Scope.INTERNET, True),
        ("/ip4/127.0.0.1", Scope.INTERNET, False),
        ("/ip4/10.0.0.1", Scope.INTERNET, False),
        ("/ip4/192.168.1.9", Scope.INTERNET, True),  # of our own LAN
        ("/ip4/192.168.2.9", Scope.INTERNET, False),
        ("/ip4/10.0.0.1", Scope.LAN, True),
        ("/ip4/127.0.0.1", Scope.LAN, False),
    ],
)
def test_a_named_address_is_dialled_within_the_network(host: str, network: Scope, is_dialled: bool) -> None:
    own = ("/ip4/192.168.1.7/tcp/4120", "/ip4/127.0.0.1/tcp/4120")
    assert may_dial(f"{host}{PEER}", network=network, own=own) is is_dialled


def test_a_network_reaches_as_far_as_its_farthest_bootstrap_node() -> None:
    assert scope_of_network(()) is Scope.MACHINE
    assert scope_of_network((f"/ip4/127.0.0.1{PEER}",)) is Scope.MACHINE
    assert scope_of_network((f"/ip4/127.0.0.1{PEER}", f"/ip4/10.1.2.3{PEER}")) is Scope.LAN
    assert scope_of_network((f"/ip4/10.1.2.3{PEER}", f"/dns4/point.example{PEER}")) is Scope.INTERNET


def test_addresses_of_one_network_are_one_neighbourhood() -> None:
    assert group_of("8.8.8.8") == group_of("8.8.8.200") != group_of("8.8.9.8")
    assert group_of("2606:4700::1") == group_of("2606:4700::ffff") != group_of("2606:4700:1::1")
    assert endpoint_of("/ip4/8.8.8.8/tcp/1/p2p/a") == endpoint_of("/ip4/8.8.8.8/tcp/1/p2p/b")
