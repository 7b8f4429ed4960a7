"""The state of reachability and its remedy, judged from evidence alone."""

from dataclasses import replace
from typing import Any

import pytest

from openledger_node.p2p.reachability import (
    Evidence,
    ReachState,
    RouterAnswer,
    RouterState,
    answering_addresses,
    mapped_addresses,
    may_need_relays,
    reach_of,
    withheld_addresses,
)
from openledger_node.p2p.scopes import Scope
from openledger_protocol.wire.dialback import Dialled

HOME, LAN = "/ip4/192.168.1.7/tcp/4120", "/ip4/127.0.0.1/tcp/4120"
OUTSIDE = "/ip4/8.8.4.4/tcp/4120"
RELAY = "/ip4/9.9.9.9/tcp/1/p2p/r/p2p-circuit/p2p/me"
NOBODY = Dialled(host="8.8.4.4", open=())
REACHED = Dialled(host="8.8.4.4", open=(4120,))
MAPPED = RouterAnswer(state=RouterState.MAPPED, words="maps a port", address=OUTSIDE)
AT_HOME = Evidence(network=Scope.INTERNET, listening=(HOME, LAN), port=4120, is_port_fixed=True, num_peers=3)
ON_A_SERVER = replace(AT_HOME, listening=(OUTSIDE, LAN))


def router(state: RouterState) -> RouterAnswer:
    return RouterAnswer(state=state, words=state.value)


@pytest.mark.parametrize(
    ("why", "evidence", "state", "remedy"),
    [
        ("nobody is there", replace(AT_HOME, num_peers=0), "unknown", "No peer is connected. Check"),
        ("nobody has been asked", AT_HOME, "unknown", ""),
        ("a server", replace(ON_A_SERVER, answers=(REACHED,)), "public", ""),
        ("a port that was forwarded by hand", replace(AT_HOME, answers=(REACHED,)), "public", ""),
        ("a mapped port", replace(AT_HOME, router=MAPPED, answers=(REACHED,)), "mapped", ""),
        (
            "a mapped port where nobody comes through",
            replace(AT_HOME, router=MAPPED, answers=(NOBODY,), relays=(RELAY,)),
            "relayed",
            "Your router forwards port 4120, but nobody comes through",
        ),
        (
            "hole punching",
            replace(AT_HOME, answers=(NOBODY,), relays=(RELAY,), has_punched=True, router=router(RouterState.ABSENT)),
            "punched",
            "Turn on UPnP or NAT-PMP in your router, or forward TCP port 4120",
        ),
        ("a relay before any answer", replace(AT_HOME, relays=(RELAY,)), "relayed", ""),
        (
            "carrier-grade NAT",
            replace(AT_HOME, answers=(NOBODY,), relays=(RELAY,), router=router(RouterState.SHARED)),
            "relayed",
            "Your internet provider shares one address",
        ),
        (
            "a firewall on a server",
            replace(ON_A_SERVER, answers=(NOBODY,), relays=(RELAY,)),
            "relayed",
            "Let the firewall of this machine, and of its provider, accept TCP connections to port 4120",
        ),
        (
            "a firewall and no relay",
            replace(ON_A_SERVER, answers=(NOBODY,)),
            "unreachable",
            "No connected peer serves as a relay. Let the firewall",
        ),
        (
            "an announced address that nobody reaches",
            replace(AT_HOME, announced=(OUTSIDE,), answers=(NOBODY,), relays=(RELAY,)),
            "relayed",
            f"Nobody answers at {OUTSIDE}, which [p2p] announce names",
        ),
        (
            "an old announcement",
            replace(AT_HOME, announced=("/ip4/8.8.4.4/tcp/99",), answers=(REACHED,)),
            "public",
            "Correct [p2p] announce: nobody answers at /ip4/8.8.4.4/tcp/99",
        ),
    ],
)
def test_each_situation_has_its_state_and_one_remedy(why: str, evidence: Evidence, state: str, remedy: str) -> None:
    reach = reach_of(evidence)
    assert reach.state == state
    assert reach.remedy.startswith(remedy)
    assert bool(reach.remedy) == bool(remedy)
    assert reach.addresses == ((OUTSIDE,) if state in ("public", "mapped") else ())


@pytest.mark.parametrize(
    ("why", "answers", "expected"),
    [
        ("the only answer counts", (REACHED,), (OUTSIDE,)),
        ("two that differ are doubt", (REACHED, NOBODY), ()),
        ("one liar of three hides nothing", (REACHED, REACHED, NOBODY), (OUTSIDE,)),
        ("and invents nothing", (NOBODY, NOBODY, REACHED), ()),
        ("a victim's address is not believed", (REACHED, REACHED, Dialled(host="7.7.7.7", open=(80,))), (OUTSIDE,)),
        ("an address in a LAN is of no use on the internet", (Dialled(host="192.168.1.9", open=(80,)),), ()),
        ("and takes no vote from others", (REACHED, Dialled(host="127.0.0.1", open=(80,))), (OUTSIDE,)),
        ("an IPv6 address must be our own", (Dialled(host="2a00:1450::7", open=(4120,)),), ()),
    ],
)
def test_an_address_that_most_have_reached_is_believed(
    why: str, answers: tuple[Dialled, ...], expected: tuple[str, ...]
) -> None:
    assert answering_addresses(replace(AT_HOME, answers=answers)) == expected


@pytest.mark.parametrize(
    "named", [{"router": MAPPED}, {"announced": (OUTSIDE,)}, {"listening": (OUTSIDE,)}], ids=lambda named: min(named)
)
def test_half_of_the_peers_are_enough_for_an_address_that_somebody_here_names(named: dict[str, Any]) -> None:
    seen = replace(AT_HOME, **named)
    assert answering_addresses(replace(seen, answers=(REACHED, NOBODY))) == (OUTSIDE,)
    assert answering_addresses(replace(seen, answers=(REACHED, NOBODY, NOBODY))) == ()
    assert answering_addresses(replace(seen, answers=(NOBODY,))) == ()


def test_an_own_ipv6_address_is_believed() -> None:
    own = "/ip6/2a00:1450::7/tcp/4120"
    seen = replace(AT_HOME, listening=(own,), answers=(Dialled(host="2a00:1450::7", open=(4120,)), NOBODY))
    assert answering_addresses(seen) == (own,)


def test_addresses_that_peers_found_are_told_and_dead_ones_withheld_once_a_relay_is_there() -> None:
    assert mapped_addresses(replace(AT_HOME, answers=(REACHED,))) == (OUTSIDE,)
    assert mapped_addresses(replace(ON_A_SERVER, answers=(REACHED,))) == ()
    assert mapped_addresses(replace(AT_HOME, announced=(OUTSIDE,), answers=(REACHED,))) == ()
    dead = replace(ON_A_SERVER, answers=(NOBODY,))
    assert withheld_addresses(dead) == frozenset()
    assert withheld_addresses(replace(dead, relays=(RELAY,))) == {OUTSIDE}
    assert withheld_addresses(replace(ON_A_SERVER, answers=(REACHED,), relays=(RELAY,))) == frozenset()


def test_a_home_takes_relays_at_once_and_a_server_only_if_nobody_reaches_it() -> None:
    assert may_need_relays(AT_HOME)
    assert not may_need_relays(ON_A_SERVER)
    assert not may_need_relays(replace(AT_HOME, announced=(OUTSIDE,)))
    assert may_need_relays(replace(ON_A_SERVER, answers=(NOBODY,)))
    assert not may_need_relays(replace(AT_HOME, answers=(REACHED,), relays=(RELAY,)))


def test_a_lan_of_its_own_counts_as_reached_within_it() -> None:
    seen = replace(AT_HOME, network=Scope.LAN, answers=(Dialled(host="192.168.1.7", open=(4120,)),))
    assert (reach_of(seen).state, reach_of(seen).addresses) == (ReachState.PUBLIC, (HOME,))
