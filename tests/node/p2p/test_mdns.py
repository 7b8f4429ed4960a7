"""Peers on a LAN, found without a bootstrap node, and what strangers there try."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import trio
from node.p2p.lan import FakeLan

from openledger_node.p2p import mdns_records
from openledger_node.p2p.mdns import GROUP, NAMES_MAX, NAMES_PER_HOST_MAX, LanDiscovery, open_multicast
from openledger_node.p2p.mdns_records import BadMessageError, read, service_of, write_answer, write_question
from openledger_node.p2p.transport import PeerId

pytestmark = pytest.mark.usefixtures("autojump_clock")

NET = "home-net"
SERVICE = service_of(NET)
ADA, BEN, CARL = (PeerId("12D3Koo" + letter * 45) for letter in "ABC")


@dataclass
class Listening:
    """As much of a transport as is asked for."""

    peer_id: PeerId
    listening: tuple[str, ...]


@asynccontextmanager
async def a_member(
    lan: FakeLan, host: str = "192.168.1.7", *, peer_id: PeerId = ADA, network: str = NET, port: int = 4120
) -> AsyncIterator[list[str]]:
    """A node on a LAN, and the addresses that it has found."""
    found: list[str] = []
    transport: Any = Listening(peer_id, (f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/{host}/tcp/{port}"))
    discovery = LanDiscovery(transport, network=network, found=found.extend, random=Random(port), open_link=lan.open)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discovery.run)
        yield found
        nursery.cancel_scope.cancel()


def address(host: str = "192.168.1.8", peer_id: PeerId = BEN, port: int = 4121) -> str:
    return f"/ip4/{host}/tcp/{port}/p2p/{peer_id}"


async def test_two_nodes_of_a_network_find_each_other_by_what_their_machines_say() -> None:
    lan = FakeLan()
    async with (
        a_member(lan) as ada,
        a_member(lan, "192.168.1.8", peer_id=BEN, port=4121) as ben,
        a_member(lan, "192.168.1.9", peer_id=CARL, network="other-net") as carl,
    ):
        await trio.sleep(1)
        assert (ada, ben, carl) == ([address()], [address("192.168.1.7", ADA, 4120)], [])
    assert not any(b"127.0.0.1" in content for _, content in lan.sent)


async def test_a_node_that_comes_later_is_heard_of_at_once() -> None:
    lan = FakeLan()
    async with a_member(lan) as ada:
        await trio.sleep(5000)
        before = len(lan.sent)
        async with a_member(lan, "192.168.1.8", peer_id=BEN, port=4121) as ben:
            await trio.sleep(0.5)
            assert ada
            assert ben
    assert before < 50  # seldom, while nothing happens


@pytest.mark.parametrize(
    ("named", "sender"),
    [
        (address("192.168.1.9"), "192.168.1.8"),  # a third machine
        (address("10.1.1.8"), "10.1.1.8"),  # another LAN, by a packet that was made up
        (address("192.168.1.7", ADA, 4120), "192.168.1.7"),  # the node itself
        ("/dns4/router.example/tcp/80/p2p/" + BEN, "192.168.1.8"),
        ("/ip4/192.168.1.8/tcp/4121/p2p/" + BEN + "/p2p-circuit/p2p/" + ADA, "192.168.1.8"),
        ("/ip4/192.168.1.8/tcp/4121/p2p/QmSomething", "192.168.1.8"),
    ],
)
async def test_an_address_that_its_own_machine_does_not_name_is_not_taken(named: str, sender: str) -> None:
    lan = FakeLan()
    async with a_member(lan) as found:
        await trio.sleep(1)
        lan.send(write_answer(SERVICE, "x", [named]), sender)
        await trio.sleep(1)
        assert found == []
        lan.send(write_answer(SERVICE, "x", [address()]), "192.168.1.8")
        await trio.sleep(1)
        assert found == [address()]


async def test_a_flood_of_names_yields_a_few_and_leaves_room_for_other_machines() -> None:
    lan = FakeLan()
    async with a_member(lan) as found:
        await trio.sleep(1)
        for port in range(1000, 1500):
            lan.send(write_answer(SERVICE, "x", [address(port=port)]), "192.168.1.8")
        await trio.sleep(60)
        assert len(found) == NAMES_PER_HOST_MAX
        for host in range(9, 99):
            lan.send(write_answer(SERVICE, "x", [address(f"192.168.1.{host}")]), f"192.168.1.{host}")
        await trio.sleep(60)
        assert NAMES_MAX <= len(found) <= NAMES_MAX + 8  # some come back while it goes on


async def test_a_flood_of_questions_is_answered_once_a_second() -> None:
    lan = FakeLan()
    async with a_member(lan):
        await trio.sleep(10)
        before = len(lan.sent)
        for _ in range(100):
            lan.send(write_question(SERVICE), "192.168.1.8")
            await trio.sleep(0.1)
        answers = [sender for sender, _ in lan.sent[before:] if sender == "192.168.1.7"]
        assert 8 <= len(answers) <= 11


async def test_a_node_that_listens_on_its_own_machine_alone_asks_nobody() -> None:
    lan = FakeLan()
    async with a_member(lan, "127.0.0.1"):
        await trio.sleep(10)
        assert not lan.sent


async def test_a_laptop_that_changes_its_lan_takes_part_in_the_new_one_alone(nursery: trio.Nursery) -> None:
    home, office = FakeLan(), FakeLan()
    lans, found = {"192.168.1.7": home, "10.0.0.7": office}, list[str]()
    transport: Any = Listening(ADA, ("/ip4/192.168.1.7/tcp/4120",))
    discovery = LanDiscovery(
        transport, network=NET, found=found.extend, random=Random(1), open_link=lambda host: lans[host].open(host)
    )
    nursery.start_soon(discovery.run)
    await trio.sleep(10)
    assert not office.sent
    transport.listening = ("/ip4/10.0.0.7/tcp/4120",)
    await trio.sleep(10)
    num_sent = len(home.sent)
    office.send(write_answer(SERVICE, "x", [address("10.0.0.8")]), "10.0.0.8")
    home.send(write_answer(SERVICE, "x", [address()]), "192.168.1.8")
    await trio.sleep(600)
    assert found == [address("10.0.0.8")]
    assert len(home.sent) == num_sent + 1


def test_an_answer_with_pointers_as_other_programs_write_them_is_read() -> None:
    name = b"".join(bytes([len(each)]) + each.encode() for each in SERVICE.split(".")) + b"\0"
    entry = f"dnsaddr={address()}".encode()
    header = b"\0\0\x84\0" + b"\0\0" + b"\0\2" + b"\0\0" + b"\0\0"
    pointer = name + b"\0\x0c\0\1" + b"\0\0\0\x78" + b"\0\4" + b"\1y\xc0\x0c"
    at = len(header) + len(name) + 10
    texts = bytes([0xC0, at]) + b"\0\x10\x80\1" + b"\0\0\0\x78" + bytes([0, len(entry) + 1, len(entry)]) + entry
    assert read(header + pointer + texts, SERVICE).addresses == (address(),)


def test_a_name_that_points_to_itself_is_refused() -> None:
    with pytest.raises(BadMessageError, match="points forward"):
        read(write_question(SERVICE)[:12] + b"\xc0\x0c\0\x0c\0\1", SERVICE)


def test_a_message_that_is_cut_or_changed_is_read_or_refused() -> None:
    random = Random(18)
    whole = write_answer(SERVICE, "x", [address()])
    for cut in range(0, 202, 7):
        with pytest.raises(BadMessageError):
            read(whole[:cut], SERVICE)
    for _ in range(1000):
        content = bytearray(whole)
        for _ in range(random.randrange(1, 6)):
            content[random.randrange(len(content))] = random.randrange(256)
        with suppress(BadMessageError):
            read(bytes(content), SERVICE)


def test_a_message_that_is_too_large_is_refused() -> None:
    with pytest.raises(BadMessageError, match="bytes"):
        read(bytes(mdns_records.READ_BYTES_MAX + 1), SERVICE)


def test_many_long_addresses_are_left_out_of_an_answer() -> None:
    addresses = [address(port=port) + "x" * 100 for port in range(1000, 1050)]
    content = write_answer(SERVICE, "x", addresses)
    assert len(content) < 1400
    assert 0 < len(read(content, SERVICE).addresses) < 8


async def test_sockets_of_real_multicast_hear_each_other() -> None:
    host = own_host()
    try:
        async with open_multicast(host) as one, open_multicast(host) as other:
            await one.send(write_question(SERVICE))
            with trio.move_on_after(2):
                while await other.receive() != (write_question(SERVICE), host):
                    pass
                return
    except OSError as error:
        pytest.skip(f"NOT TESTED: multicast DNS on {host}: {error}")
    pytest.skip(f"NOT TESTED: multicast DNS on {host}: messages do not come back to this machine")


def own_host() -> str:
    """The IP address of the interface that leads to the group."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((GROUP, 9))
        except OSError:
            return "127.0.0.1"  # no LAN
        found: str = probe.getsockname()[0]
        return found
