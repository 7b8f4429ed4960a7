"""Who gets a place at a relay, and who a circuit, by a clock of the test's own."""

from collections.abc import Callable

import pytest
from support.peers import seed

from openledger_node.p2p import relay_places
from openledger_node.p2p.budget import INBOUND_MAX
from openledger_node.p2p.relay_places import Circuit, Refusal, RelayPlaces
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.libp2p import open_transport


class World:
    """A relay's places, and the peers that are connected with it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.connected: set[PeerId] = set()
        self.wanted: set[PeerId] = set()  # peers from which the relay itself buys
        self.places = RelayPlaces(
            connected=lambda: self.connected,
            hang_up=self.connected.discard,
            is_wanted=self.wanted.__contains__,
            clock=lambda: self.now,
        )

    def reserve(self, name: str, host: str) -> Refusal | None:
        self.connected.add(PeerId(name))
        return self.places.reserve(PeerId(name), host)

    def open(self, source: str, host: str, target: str = "home") -> Refusal | None:
        self.now += 1.0  # requests are few
        return self.places.open(Circuit(source=PeerId(source), host=host, target=PeerId(target)))


@pytest.mark.parametrize(
    ("host_of", "share"),
    [
        (lambda _: "8.8.8.8", relay_places.RESERVATIONS_PER_HOST_MAX),
        (lambda number: f"8.8.8.{number}", relay_places.RESERVATIONS_PER_GROUP_MAX),
        (lambda number: f"8.8.{number}.1", relay_places.RESERVATIONS_MAX // relay_places.PROVIDER_PART),
    ],
    ids=["address", "neighbourhood", "provider"],
)
def test_a_stranger_with_many_ids_gets_the_share_of_one(host_of: Callable[[int], str], share: int) -> None:
    world = World()
    refused = [world.reserve(f"sybil {number}", host_of(number)) for number in range(200)]
    assert refused.count(None) == share
    assert refused[share] is Refusal.NO_PLACE
    assert world.reserve("honest", "9.9.9.9") is None


def test_requests_of_one_internet_address_are_few_whatever_ids_they_come_under() -> None:
    world = World()
    refused = [world.reserve(f"sybil {number}", "8.8.8.8") for number in range(100)]
    assert refused.count(Refusal.TOO_MANY_REQUESTS) == 100 - relay_places.REQUESTS_AT_ONCE


def test_a_full_relay_keeps_its_promises_and_renews_them() -> None:
    world = World()
    for number in range(relay_places.RESERVATIONS_MAX):
        assert world.reserve(f"home {number}", f"8.{number}.0.1") is None
    assert world.reserve("late", "9.9.9.9") is Refusal.NO_PLACE
    assert world.reserve("home 0", "8.0.0.1") is None
    world.connected.discard(PeerId("home 1"))
    assert world.reserve("late", "9.9.9.9") is None


def fill(world: World) -> None:
    """Four providers hold all places; the peers `x 0` to `x 31` are those of 8.8."""
    for number in range(relay_places.RESERVATIONS_MAX):
        assert world.reserve(f"x {number}", f"8.{8 + number // 32}.{number % 32}.1") is None


def test_a_newcomer_takes_the_place_of_the_largest_providers_longest_unused_holder_which_learns_of_it() -> None:
    world = World()
    fill(world)
    assert world.reserve("soon", "9.9.9.9") is Refusal.NO_PLACE
    world.now += relay_places.SPARED_S
    assert world.open("ada", "7.7.7.7", "x 0") is None  # in use now
    world.reserve("x 1", "8.8.1.1")  # a renewal is no use
    assert world.reserve("honest", "9.9.9.9") is None
    assert "x 1" not in world.connected  # the relay has hung up
    assert {"x 0", "honest"} <= world.places.holders()


def test_a_relay_hangs_up_on_nobody_from_whom_it_buys() -> None:
    """A half of a paid answer would be lost, and its seller blamed."""
    world = World()
    fill(world)
    world.now += relay_places.SPARED_S
    world.wanted |= world.connected - {"x 5"}
    assert world.reserve("honest", "9.9.9.9") is None
    assert "x 5" not in world.connected
    assert world.reserve("another", "9.10.9.9") is Refusal.NO_PLACE


def test_a_holder_does_not_keep_its_place_by_tests_of_it() -> None:
    world = World()
    fill(world)
    world.now += relay_places.SPARED_S
    probe = Circuit(source=PeerId("x 0"), host="8.8.0.1", target=PeerId("x 0"))
    assert world.places.open(probe) is None
    world.places.close(probe)
    assert world.reserve("honest", "9.9.9.9") is None
    assert "x 0" not in world.places.holders()


def test_a_small_provider_loses_no_place_to_another_small_one() -> None:
    world = World()
    for number in range(relay_places.RESERVATIONS_MAX):
        world.reserve(f"home {number}", f"8.{number}.0.1")
    world.now += relay_places.SPARED_S
    assert world.reserve("late", "9.9.9.9") is Refusal.NO_PLACE


def test_one_attacker_holds_a_part_of_the_circuits_to_one_peer_and_no_more() -> None:
    for host_of, num_max in (
        (lambda _: "9.9.9.9", relay_places.TO_TARGET_PER_HOST_MAX),
        (lambda n: f"9.9.{n}.9", relay_places.TO_TARGET_PER_PROVIDER_MAX),
    ):
        world = World()
        world.reserve("home", "8.8.8.8")
        refused = [world.open(f"sybil {n}", host_of(n)) for n in range(30)]
        assert refused.count(None) == num_max < relay_places.CIRCUITS_PER_TARGET_MAX
        assert world.open("honest", "7.7.7.7") is None


def test_a_place_ends_with_its_time_and_with_the_connection() -> None:
    world = World()
    world.reserve("home", "8.8.8.8")
    assert world.places.holders() == {"home"}
    world.connected.clear()
    assert world.open("ada", "9.9.9.9") is Refusal.NO_RESERVATION
    world.reserve("home", "8.8.8.8")
    world.now += relay_places.RESERVATION_S
    assert world.open("ada", "9.9.9.9") is Refusal.NO_RESERVATION


def test_a_peer_an_address_and_a_neighbourhood_have_their_shares_of_circuits() -> None:
    cases = (
        (lambda _: "ada", lambda _: "9.9.9.9", relay_places.CIRCUITS_PER_PEER_MAX),
        (lambda n: f"ada {n}", lambda _: "9.9.9.9", relay_places.CIRCUITS_PER_HOST_MAX),
        (lambda n: f"ada {n}", lambda n: f"9.9.9.{n}", relay_places.CIRCUITS_PER_GROUP_MAX),
    )
    for name_of, host_of, num_max in cases:
        world = World()
        for number in range(30):
            world.reserve(f"home {number}", f"8.{number}.0.1")
        refused = [world.open(name_of(n), host_of(n), f"home {n}") for n in range(30)]
        assert refused.count(None) == num_max == world.places.num_circuits()
        assert world.open("honest", "7.7.7.7", "home 0") is None


def test_one_home_and_the_relay_have_their_bounds_and_circuits_that_end_make_room() -> None:
    world = World()
    for number in range(30):
        world.reserve(f"home {number}", f"8.{number}.0.1")
    to_one = [world.open(f"ada {n}", f"9.{n}.0.1", "home 0") for n in range(30)]
    assert to_one.count(None) == relay_places.CIRCUITS_PER_TARGET_MAX
    to_all = [world.open(f"ben {n}", f"7.{n}.0.1", f"home {n % 29 + 1}") for n in range(100)]
    assert to_all.count(None) == relay_places.CIRCUITS_MAX - relay_places.CIRCUITS_PER_TARGET_MAX
    world.places.close(Circuit(source=PeerId("ben 0"), host="7.0.0.1", target=PeerId("home 1")))
    assert world.open("late", "6.6.6.6", "home 1") is None


def test_peers_of_a_lan_are_counted_one_by_one() -> None:
    world = World()
    assert all(world.reserve(f"home {number}", "192.168.1.1") is None for number in range(20))


def test_a_relay_that_has_few_places_for_peers_keeps_half_of_them_for_others() -> None:
    relay = open_transport(
        identity=seed("relay"), listen=(), serve_rendezvous=False, serve_relay=True, inbound_max=INBOUND_MAX
    )
    places = relay._relay_places
    assert places
    places._connected = lambda: [PeerId(f"home {number}") for number in range(INBOUND_MAX)]
    refused = [places.reserve(PeerId(f"home {number}"), f"8.{number}.8.8") for number in range(INBOUND_MAX)]
    assert refused.count(None) == INBOUND_MAX // 2
