"""Which connections a node holds, by a clock of the test's own."""

import pytest
from support.peers import seed

from openledger_node.p2p import budget
from openledger_node.p2p.budget import Barred, ConnectionBudget
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.libp2p import open_transport
from openledger_node.p2p.unread import UNREAD_PEER_MAX, UNREAD_STREAM_MIN, UnreadBytes

LOCAL = "127.0.0.1"
STRANGERS_MAX = budget.RELAYED_MAX - budget.RELAYED_RESERVED
"""Of the places for peers that come over relays, those that strangers get."""


class World:
    """A budget, and a transport that does what it says."""

    def __init__(self, inbound_max: int = 40, *, is_bootstrap: bool = False) -> None:
        self.now = 0.0
        self.connected: dict[PeerId, None] = {}
        self.budget = ConnectionBudget(
            connected=lambda: self.connected,
            inbound_max=inbound_max,
            is_bootstrap=is_bootstrap,
            clock=lambda: self.now,
        )

    def come(self, name: str, host: str = LOCAL, *, is_relayed: bool = False) -> bool:
        peer_id = PeerId(name)
        self.connected[peer_id] = None
        is_in, leaver = self.budget.let_in(peer_id, host, is_relayed=is_relayed)
        if not is_in:
            del self.connected[peer_id]
        if leaver:
            del self.connected[leaver]
        return is_in

    def call(self, name: str, *, is_kept: bool = False) -> bool:
        has_room, leaver = (True, None) if is_kept else self.budget.room_to_call()
        if leaver:
            del self.connected[leaver]
        if has_room:
            self.connected[PeerId(name)] = None
            self.budget.note_dialled(PeerId(name), is_kept=is_kept)
        return has_room

    def num_from(self, prefix: str) -> int:
        return sum(name.startswith(prefix) for name in self.connected)


def test_strangers_leave_the_reserved_places_to_known_peers() -> None:
    world = World()
    world.budget.is_known = lambda peer_id: peer_id.startswith("known")
    assert sum(world.come(f"stranger {number}") for number in range(200)) == 24
    assert sum(world.come(f"known {number}") for number in range(200)) == 16
    world.now = budget.EVICT_AFTER_S
    assert world.come("known 1000")
    assert (world.num_from("stranger"), world.num_from("known")) == (23, 17)


def test_the_newest_stranger_gets_the_place_of_the_one_used_longest_ago() -> None:
    world = World()
    for number in range(24):
        world.come(f"stranger {number}")
    assert not world.come("too early")
    world.now = budget.EVICT_AFTER_S
    world.budget.enter_stream(PeerId("stranger 0"))
    assert world.come("honest")
    assert PeerId("stranger 0") in world.connected
    assert PeerId("stranger 1") not in world.connected
    assert world.num_from("stranger") == 23


def test_two_hundred_connections_of_one_neighbourhood_take_eight_places() -> None:
    world = World()
    num_in = sum(world.come(f"flood {number}", f"8.8.8.{number}") for number in range(200))
    assert num_in == budget.PER_GROUP_MAX
    assert world.come("honest", "9.9.9.9")


def test_neighbours_do_not_push_each_other_off_and_take_turns_slowly() -> None:
    world = World()
    assert sum(world.come(f"first {number}", "8.8.8.8") for number in range(50)) == budget.PER_HOST_MAX
    world.now = budget.NEIGHBOUR_STAYS_S - 1
    assert not world.come("next", "8.8.8.8")
    world.now = budget.NEIGHBOUR_STAYS_S
    assert world.come("next", "8.8.8.8")
    assert world.num_from("first") == budget.PER_HOST_MAX - 1


def test_one_address_and_one_neighbourhood_have_their_parts_of_many_places() -> None:
    world = World(inbound_max=256)
    assert sum(world.come(f"peer {n}", "8.8.8.8") for n in range(50)) == 256 // 16
    assert sum(world.come(f"other {n}", f"8.8.8.{n}") for n in range(9, 60)) == 256 // 8 - 256 // 16


def test_a_bootstrap_node_lets_in_two_of_a_neighbourhood_each_minute_after_a_burst() -> None:
    world = World(inbound_max=1_024, is_bootstrap=True)
    world.budget.is_known = lambda peer_id: peer_id.startswith("known")
    num_in = sum(world.come(f"flood {number}", f"8.8.8.{number % 250}") for number in range(1_000))
    assert num_in == budget.NEWCOMERS_AT_ONCE
    assert world.come("newcomer", "9.9.9.9")
    assert world.come("known", "8.8.8.8")
    world.now = 60.0
    assert sum(world.come(f"later {number}", f"8.8.8.{number}") for number in range(250)) == 2


def test_a_neighbourhood_never_holds_more_than_its_part_of_a_bootstrap_node() -> None:
    world = World(inbound_max=1_024, is_bootstrap=True)
    for minute in range(300):
        world.now = 60.0 * minute
        for number in range(3):
            world.come(f"flood {minute} {number}", f"8.8.8.{(minute + number) % 250}")
            world.budget.enter_stream(PeerId(f"flood {minute} {number}"))
    assert world.num_from("flood") == budget.GROUP_MOST


def test_a_full_bootstrap_node_hangs_up_on_the_oldest_idle_peer_that_sells_nothing() -> None:
    world = World(inbound_max=256, is_bootstrap=True)
    world.budget.sells = lambda peer_id: peer_id.startswith("seller")
    for number in range(240):
        world.now = number / 10
        name = f"seller {number}" if number < 100 else f"buyer {number}"
        assert world.come(name, f"9.{number // 250}.{number % 250}.9")
    world.budget.enter_stream(PeerId("buyer 100"))
    world.now += budget.EVICT_AFTER_S
    assert world.come("newcomer", "7.7.7.7")
    assert (world.num_from("seller"), world.num_from("buyer")) == (100, 139)
    assert PeerId("buyer 100") in world.connected
    assert PeerId("buyer 101") not in world.connected


def test_strangers_over_relays_leave_places_to_known_peers_which_come_before_them() -> None:
    world = World()
    world.budget.is_known = lambda peer_id: peer_id.startswith("known")
    for number in range(100):
        world.come(f"over {number}", "", is_relayed=True)
    assert sum(world.come(f"known {number}", "", is_relayed=True) for number in range(6)) == budget.RELAYED_RESERVED
    world.now = budget.EVICT_AFTER_S
    assert world.come("known late", "", is_relayed=True)
    assert world.num_from("over") == STRANGERS_MAX - 1


def test_streams_of_strangers_hold_the_places_over_relays_for_minutes_and_no_longer() -> None:
    world = World()
    for number in range(STRANGERS_MAX):
        world.now = float(number)
        world.come(f"over {number}", "", is_relayed=True)
        world.budget.enter_stream(PeerId(f"over {number}"), is_own=False)
    world.budget.enter_stream(PeerId("over 0"))  # this node asks it something
    assert [world.budget.is_wanted(PeerId(f"over {number}")) for number in (0, 1)] == [True, False]
    world.now = budget.RELAYED_STRANGER_S
    for number in range(STRANGERS_MAX):
        world.budget.note_use(PeerId(f"over {number}"), is_own=False)
    world.budget.note_use(PeerId("over 0"))
    assert not world.come("newcomer", "", is_relayed=True)
    world.now = budget.RELAYED_STRANGER_S + 1
    assert world.come("newcomer", "", is_relayed=True)
    assert PeerId("over 1") not in world.connected
    assert PeerId("over 0") in world.connected


def test_a_peer_that_comes_directly_leaves_its_place_over_a_relay_and_keeps_its_streams() -> None:
    world = World()
    world.come("ada", "", is_relayed=True)
    world.budget.enter_stream(PeerId("ada"))
    assert world.come("ada", "9.9.9.9")
    world.now = budget.CALLED_IDLE_S + 1
    assert world.budget.idle_calls() == []
    assert sum(world.come(f"over {number}", "", is_relayed=True) for number in range(100)) == STRANGERS_MAX
    assert PeerId("ada") in world.connected


def test_peers_over_a_relay_are_hung_up_when_they_are_idle_whoever_dialled() -> None:
    world = World()
    world.come("in", "", is_relayed=True)
    world.connected[PeerId("out")] = None
    world.budget.note_dialled(PeerId("out"), is_kept=True, is_relayed=True)
    world.call("kept", is_kept=True)
    world.now = budget.RELAYED_IDLE_S
    assert set(world.budget.idle_calls()) == {"in", "out"}


def test_peers_that_are_reached_over_this_node_are_not_sent_away() -> None:
    world = World(inbound_max=5)  # of which three are for strangers
    for number in range(3):
        world.come(f"holder {number}")
    world.budget.needed = lambda: {PeerId("holder 0"), PeerId("holder 1")}
    world.now = budget.EVICT_AFTER_S
    assert world.come("first")
    world.now = 2 * budget.EVICT_AFTER_S
    assert world.come("second")
    assert set(world.connected) == {"holder 0", "holder 1", "second"}


def test_a_proxy_on_this_machine_or_in_the_lan_is_no_neighbourhood() -> None:
    for host in (LOCAL, "172.17.0.1"):
        world = World()
        assert sum(world.come(f"peer {number}", host) for number in range(24)) == 24


def test_the_largest_neighbourhood_makes_room_first() -> None:
    world = World(inbound_max=10)  # of which six are for strangers
    for number in range(4):
        assert world.come(f"flood {number}", f"8.8.8.{number}")
    world.come("alone 1", "9.9.9.9")
    world.come("alone 2", "7.7.7.7")
    world.now = budget.EVICT_AFTER_S
    world.budget.enter_stream(PeerId("flood 0"))
    world.budget.leave_stream(PeerId("flood 0"))
    assert world.come("honest", "6.6.6.6")
    assert (world.num_from("alone"), world.num_from("flood")) == (2, 3)
    assert PeerId("flood 1") not in world.connected


@pytest.mark.parametrize("num_sellers", [25, 49, 100])
def test_sellers_are_called_in_turn_without_an_end(num_sellers: int) -> None:
    world = World()
    for number in range(num_sellers):
        world.now += 1
        assert world.call(f"seller {number}")
    assert world.num_from("seller") == budget.CALLED_MAX


def test_a_call_that_runs_is_not_hung_up() -> None:
    world = World()
    for number in range(budget.CALLED_BUSY_MAX):
        assert world.call(f"seller {number}")
        world.budget.enter_stream(PeerId(f"seller {number}"))
    assert not world.call("one more")
    world.budget.leave_stream(PeerId("seller 7"))
    assert world.call("one more")
    assert PeerId("seller 7") not in world.connected
    for number in range(6):
        world.budget.leave_stream(PeerId(f"seller {number}"))
    assert world.budget.idle_calls() == [], "their calls may just begin"
    world.budget.enter_stream(PeerId("one more"))
    world.now = budget.EVICT_AFTER_S
    assert world.budget.idle_calls() == [f"seller {number}" for number in range(6)], "there are 16 too many"


def test_sellers_hold_no_place_by_streams_of_their_own_if_others_are_called() -> None:
    world = World()
    for number in range(budget.CALLED_MAX):
        world.call(f"seller {number}")
        world.now += 1
        world.budget.enter_stream(PeerId(f"seller {number}"), is_own=False)
    world.budget.enter_stream(PeerId("seller 0"))  # this node waits for its answer
    world.budget.enter_stream(PeerId("seller 9"))
    world.budget.leave_stream(PeerId("seller 9"))
    for number in range(200):
        world.now += 1
        for holder in range(budget.CALLED_MAX):
            world.budget.note_use(PeerId(f"seller {holder}"), is_own=False)
        assert world.call(f"honest {number}")
    assert PeerId("seller 0") in world.connected
    assert len(world.connected) == budget.CALLED_MAX


def test_a_call_is_hung_up_when_it_has_been_idle_and_a_long_answer_not_while_it_moves() -> None:
    world = World()
    for name in ("idle", "answering", "stuck"):
        world.call(name)
    world.call("kept", is_kept=True)
    for name in ("answering", "stuck"):
        world.budget.enter_stream(PeerId(name))
    world.come("inbound")
    world.now = budget.CALLED_IDLE_S
    assert world.budget.idle_calls() == ["idle"]
    for minute in range(20):
        world.now = 60.0 * minute
        world.budget.note_use(PeerId("answering"))
    assert world.budget.idle_calls() == ["idle", "stuck"]


@pytest.mark.parametrize(("host", "is_barred"), [("8.8.8.8", True), ("192.168.1.7", False), ("", False)])
def test_flooders_are_barred_for_ten_minutes_and_their_address_after_three(host: str, is_barred: bool) -> None:
    now = [0.0]
    barred = Barred(clock=lambda: now[0])
    for number in range(3):
        assert not barred.is_barred(host)
        barred.bar(PeerId(f"flooder {number}"), host)
        assert barred.is_barred(f"flooder {number}")
    assert barred.is_barred(host) is is_barred
    now[0] = 600.0
    assert not barred.is_barred("flooder 0")


def test_unread_bytes_of_all_streams_of_a_peer_are_bounded_together() -> None:
    unread, woken = UnreadBytes(), list[str]()
    held = [0] * 64
    while (free := [n for n, count in enumerate(held) if unread.has_room(count, lambda: None)]) and sum(held) < 1e9:
        for stream in free:
            held[stream] += UNREAD_STREAM_MIN
            unread.add(UNREAD_STREAM_MIN)
    assert sum(held) <= UNREAD_PEER_MAX + 64 * UNREAD_STREAM_MIN
    assert not unread.has_room(held[0], lambda: woken.append("0"))
    assert unread.has_room(UNREAD_STREAM_MIN - 1, lambda: woken.append("never")), "a stream that is read goes on"
    unread.remove(held[1])
    assert woken == ["0"]
    assert unread.has_room(held[0], lambda: None)


def test_a_bootstrap_node_spares_peers_whose_messages_it_has_passed_on() -> None:
    point = open_transport(identity=seed("point"), listen=(), serve_rendezvous=False, is_bootstrap=True)
    point.subscribe("/ads", lambda origin, _: origin == "seller")
    for name in ("seller", "liar"):
        point._inboxes["/ads"].judge(PeerId(name), b"")
    assert [point._budget.sells(PeerId(name)) for name in ("seller", "liar")] == [True, False]
    assert point._budget._newcomers is not None
