"""Rendezvous among strangers: who is told of whom, and at which addresses."""

from types import SimpleNamespace

import pytest
from libp2p.discovery.rendezvous.messages import create_discover_message, create_register_message
from libp2p.peer.id import ID
from multiaddr import Multiaddr
from support.peers import seed

from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.libp2p.rendezvous import PEERS_TOLD_MAX, RendezvousPoint, is_told
from openledger_protocol.peers import peer_id_from_public_key, public_key_of

NET = "test-net"
INTERNET, LAN, LOOPBACK = "/ip4/9.9.9.9/tcp/1", "/ip4/192.168.1.7/tcp/1", "/ip4/127.0.0.1/tcp/1"


def peer(name: str) -> ID:
    return ID.from_string(peer_id_from_public_key(public_key_of(seed(name))))


class World:
    """A point, and peers that come from IP addresses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hosts: dict[PeerId, str] = {}
        self.point = RendezvousPoint(
            SimpleNamespace(set_stream_handler=lambda *_: None),  # type: ignore[arg-type]
            connected=lambda: self.hosts,
            host_of=lambda peer_id: self.hosts.get(peer_id, ""),
            clock=lambda: self.now,
        )

    def register(self, name: str, host: str, *addresses: str, namespace: str = NET) -> bool:
        self.hosts[PeerId(str(peer(name)))] = host
        asked = create_register_message(namespace, peer(name), [Multiaddr(each) for each in addresses], 120)
        answer = self.point._handle_register(peer(name), asked.register)
        return bool(answer.registerResponse.status == 0)

    def discover(self, name: str, host: str = "7.7.7.7") -> dict[str, list[str]]:
        self.hosts[PeerId(str(peer(name)))] = host
        answer = self.point._handle_discover(peer(name), create_discover_message(NET, 256, b"").discover)
        return {
            str(ID(each.peer.id)): [str(Multiaddr(raw)) for raw in each.peer.addrs]
            for each in answer.discoverResponse.registrations
        }


def test_a_thousand_registrations_of_one_neighbourhood_do_not_hide_the_honest() -> None:
    world = World()
    for number in range(1_000):
        world.register(f"sybil {number}", f"8.8.8.{number % 250}", INTERNET)
    for number in range(20):
        world.register(f"honest {number}", f"9.9.{number}.9", INTERNET)
    told = world.discover("newcomer")
    honest = {str(peer(f"honest {number}")) for number in range(20)}
    assert len(honest & told.keys()) == 20
    assert len(told) == 28


def test_a_random_sample_is_told_and_not_who_came_first() -> None:
    world = World()
    for number in range(400):
        world.register(f"peer {number}", f"9.{number % 250}.{number}.9"[:15], INTERNET)
    first, second = world.discover("newcomer"), world.discover("newcomer")
    assert len(first) == len(second) == PEERS_TOLD_MAX
    assert first.keys() != second.keys()


def test_peers_that_the_asker_cannot_reach_take_no_places() -> None:
    """Most nodes are behind a router, and those in front of one must be found."""
    world = World()
    for number in range(240):
        world.register(f"home {number}", f"9.{number}.9.9", LAN)
    for number in range(5):
        world.register(f"neighbour {number}", "6.6.6.6", LAN)
    world.register("public", "6.6.6.6", INTERNET)
    assert world.discover("newcomer") == {str(peer("public")): [INTERNET]}


def test_a_peer_that_leaves_or_does_not_renew_its_registration_is_forgotten() -> None:
    world = World()
    world.register("ada", "9.9.9.9", INTERNET)
    world.register("ben", "8.8.8.8", INTERNET)
    del world.hosts[PeerId(str(peer("ada")))]
    assert list(world.discover("carl")) == [str(peer("ben"))]
    world.now = 121.0
    assert world.discover("carl") == {}


def test_a_peer_with_many_namespaces_has_one_registration() -> None:
    world = World()
    for number in range(1_000):
        assert world.register("sybil", "8.8.8.8", INTERNET, namespace=f"junk {number}")
    assert world.register("ada", "9.9.9.9", INTERNET)
    assert list(world.discover("carl")) == [str(peer("ada"))]
    assert len(world.point._registered) == 2


def test_a_peer_registers_only_itself_and_only_a_few_addresses() -> None:
    world = World()
    asked = create_register_message(NET, peer("ben"), [Multiaddr(INTERNET)], 120)
    assert world.point._handle_register(peer("ada"), asked.register).registerResponse.status != 0
    assert not world.register("ada", "9.9.9.9", *[INTERNET] * 9)
    assert not world.register("ada", "9.9.9.9", INTERNET, namespace="x" * 65)


@pytest.mark.parametrize(
    ("address", "owner", "asker", "is_visible"),
    [
        (INTERNET, "9.9.9.9", "7.7.7.7", True),
        (LAN, "9.9.9.9", "7.7.7.7", False),
        (LAN, "9.9.9.9", "9.9.9.9", True),  # behind the same router
        (LAN, "2a00:1450:1:2::7", "2a00:1450:1:2::8", True),  # each device has an address of its own
        (LAN, "2a00:1450:1:2::7", "2a00:1450:1:3::7", False),
        (LAN, "::ffff:9.9.9.9", "::ffff:9.9.9.8", False),
        (LAN, "9.9.9.9", "192.168.1.9", True),
        (LOOPBACK, "9.9.9.9", "9.9.9.9", False),
        (LOOPBACK, "127.0.0.1", "127.0.0.1", True),
    ],
)
def test_nobody_outside_is_told_a_private_address(address: str, owner: str, asker: str, is_visible: bool) -> None:
    assert is_told(Multiaddr(address).to_bytes(), owner=owner, asker=asker) is is_visible


def test_bytes_that_are_no_address_are_told_nobody() -> None:
    assert not is_told(b"\xff\xff", owner="", asker="127.0.0.1")
