"""Addresses that strangers make up: how often they are dialled, and which are not."""

import socket

import pytest
import trio
from support.peers import LOOPBACK, opener, seed, start

from openledger_node.errors import ConfigError, NetworkError
from openledger_node.p2p.dial_limits import PERIOD_S, DialLimits
from openledger_node.p2p.transports.libp2p import open_transport

INTERNET_POINT = "/ip4/9.9.9.9/tcp/1/p2p/12D3KooWPoint"


def is_dialled(limits: DialLimits, address: str, *, has_answered: bool = False) -> bool:
    try:
        limits.check(address)
    except NetworkError:
        return False
    limits.note(address, has_answered=has_answered)
    return True


def test_an_endpoint_that_never_answered_is_dialled_twice_an_hour_under_whatever_peer_ids() -> None:
    now = [0.0]
    limits = DialLimits(clock=lambda: now[0])
    victim = "/ip4/9.9.9.9/tcp/80/p2p/"
    assert sum(is_dialled(limits, f"{victim}{number}") for number in range(100)) == 2
    now[0] = PERIOD_S
    assert sum(is_dialled(limits, f"{victim}{number}") for number in range(100)) == 2


def test_the_ports_of_an_internet_address_are_not_dialled_one_after_another() -> None:
    limits = DialLimits(clock=lambda: 0.0)
    assert sum(is_dialled(limits, f"/ip4/9.9.9.9/tcp/{port}/p2p/a") for port in range(1, 1_000)) == 8


def test_a_peer_that_dialled_in_is_dialled_back_where_it_came_from_and_only_there() -> None:
    limits = DialLimits(clock=lambda: 0.0)
    limits.note_dialled_in("ben", "9.9.9.9")
    assert sum(is_dialled(limits, "/ip4/9.9.9.9/tcp/1/p2p/ben") for _ in range(10)) == 10
    assert sum(is_dialled(limits, "/ip4/8.8.8.8/tcp/1/p2p/ben") for _ in range(10)) == 2
    assert sum(is_dialled(limits, "/ip4/9.9.9.9/tcp/1/p2p/carl") for _ in range(10)) == 0, "ben has used that up"


def test_made_up_peer_ids_at_the_endpoint_of_a_peer_that_answers_are_dialled_twice_an_hour() -> None:
    """Otherwise every node would knock at an honest peer for each peer id that a stranger makes up."""
    limits = DialLimits(clock=lambda: 0.0)
    honest = "/ip4/9.9.9.9/tcp/4120/p2p/honest"
    assert is_dialled(limits, honest, has_answered=True)
    assert all(is_dialled(limits, honest) for _ in range(20))  # it restarts
    assert sum(is_dialled(limits, f"/ip4/9.9.9.9/tcp/4120/p2p/{number}") for number in range(100)) == 2
    assert is_dialled(limits, honest)
    assert limits.has_answered(honest)


def test_endpoints_are_remembered_in_bounded_memory() -> None:
    limits = DialLimits(clock=lambda: 0.0)
    for number in range(9_000):
        limits.note(f"/ip4/10.0.{number >> 8}.{number & 255}/tcp/1/p2p/a", has_answered=False)
    assert len(limits._dials) == 8192


async def test_a_node_of_the_internet_dials_no_local_address_that_a_peer_named(nursery: trio.Nursery) -> None:
    ada = open_transport(identity=seed("ada"), listen=LOOPBACK, serve_rendezvous=False, bootstrap=(INTERNET_POINT,))
    victim, ben = socket.create_server(("127.0.0.1", 0)), opener("libp2p")("ben")
    victim.setblocking(False)
    await start(nursery, ben)
    await nursery.start(ada.run)
    with pytest.raises(NetworkError, match="not dialled"):
        await ada.connect(f"/ip4/127.0.0.1/tcp/{victim.getsockname()[1]}/p2p/{ben.peer_id}")
    with victim, pytest.raises(BlockingIOError):
        victim.accept()  # nobody has knocked
    assert ada.addresses == ()  # nor does it tell its own
    await ada.connect(ben.addresses[0], is_trusted=True)  # as of network.json


async def test_a_made_up_address_is_dialled_twice(nursery: trio.Nursery) -> None:
    ada = opener("libp2p")("ada")
    await start(nursery, ada)
    with socket.create_server(("127.0.0.1", 0)) as closed:  # so that a dial fails at once
        victim = f"/ip4/127.0.0.1/tcp/{closed.getsockname()[1]}/p2p"
    for number, reason in enumerate((r"^(?!.*ever answered)", r"^(?!.*ever answered)", "ever answered")):
        with pytest.raises(NetworkError, match=reason):
            await ada.connect(f"{victim}/{opener('libp2p')(f'ghost {number}').peer_id}")


@pytest.mark.parametrize("announce", ["9.9.9.9:4120", "/ip4/9.9.9.9/udp/1", "/dns4/x.example/tcp/1"])
def test_an_announced_address_that_nobody_can_dial_is_refused(announce: str) -> None:
    with pytest.raises(ConfigError, match="announce"):
        open_transport(identity=seed("ada"), listen=(), serve_rendezvous=False, announce=(announce,))
