"""Staying connected, on a network within this process and a clock that jumps."""

from pathlib import Path
from random import Random

import pytest
import trio

from openledger_node.errors import NetworkError
from openledger_node.p2p.address_book import AddressBook
from openledger_node.p2p.connections import CONNECTIONS_AIM, CONNECTIONS_MIN, POINTS_KEPT, Connections, KnownPeer
from openledger_node.p2p.transport import Path as Way
from openledger_node.p2p.transport import PeerId, Transport, relay_of
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport

pytestmark = pytest.mark.usefixtures("autojump_clock")

NET = "test-net"


def address(name: str) -> str:
    return f"/memory/{name}/p2p/{name}"


class World:
    """Peers that come and go, each with a folder of its own."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork()
        self.folder = folder
        self.nursery = nursery
        self.keepers: dict[str, Connections] = {}
        self.transports: dict[str, Transport] = {}

    async def add(self, name: str, *bootstrap: str, transport: MemoryTransport | None = None) -> trio.CancelScope:
        """Start a peer; the scope ends it."""
        transport = transport or MemoryTransport(self.network, PeerId(name))
        scope = trio.CancelScope()
        self.keepers[name] = Connections(
            transport,
            network=NET,
            bootstrap=tuple(map(address, bootstrap)),
            book=AddressBook(self.folder / name),
            random=Random(name),
        )
        self.transports[name] = transport

        async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            with scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(transport.run)
                    nursery.start_soon(self.keepers[name].run)
                    task_status.started()

        await self.nursery.start(run)
        return scope

    def connected(self, name: str) -> set[str]:
        return set(self.transports[name].connected())

    def known(self, name: str) -> dict[str, KnownPeer]:
        return {peer.peer_id: peer for peer in self.keepers[name].known()}


@pytest.fixture
def world(tmp_path: Path, nursery: trio.Nursery) -> World:
    return World(tmp_path, nursery)


async def test_peers_that_know_only_a_bootstrap_node_find_each_other(world: World) -> None:
    await world.add("point")
    for name in ("ada", "ben", "carl"):
        await world.add(name, "point")
    await trio.sleep(5)
    for name in ("ada", "ben", "carl"):
        assert world.connected(name) == {"point", "ada", "ben", "carl"} - {name}
    assert world.known("carl")["point"] == KnownPeer(
        peer_id=PeerId("point"), address=address("point"), learned_from="bootstrap", is_connected=True
    )
    assert world.known("carl")["ada"].learned_from == "rendezvous point"
    assert world.known("point")["carl"] == KnownPeer(
        peer_id=PeerId("carl"), address="", learned_from="inbound", is_connected=True
    )


async def test_a_node_keeps_two_of_many_bootstrap_nodes_and_not_all_nodes_the_same_two(world: World) -> None:
    points, names = [f"point {number}" for number in range(5)], [f"node {number}" for number in range(12)]
    ends = {point: await world.add(point) for point in points}
    for name in names:
        await world.add(name, *points)
    await trio.sleep(120)
    for name in names:
        assert len(world.connected(name) & set(points)) == POINTS_KEPT
    kept = {point: sum(name in world.connected(point) for name in names) for point in points}
    assert all(1 <= count < len(names) for count in kept.values()), kept
    for point in points[:2]:
        ends[point].cancel()
    await trio.sleep(120)
    for name in names:
        assert len(world.connected(name) & set(points[2:])) == POINTS_KEPT, "others have taken their places"


async def test_peers_met_before_are_found_again_without_the_bootstrap(world: World) -> None:
    point = await world.add("point")
    await world.add("ada", "point")
    await trio.sleep(1)
    ben = await world.add("ben", "point")
    await trio.sleep(3)
    point.cancel()
    ben.cancel()
    await trio.sleep(1)
    await world.add("ben", "point")
    await trio.sleep(1)
    assert world.connected("ben") == {"ada"}
    assert world.known("ben")["ada"].learned_from == "last good"


async def test_a_point_that_has_forgotten_everybody_is_told_again_at_once(world: World) -> None:
    point = await world.add("point")
    await world.add("ada", "point")
    await trio.sleep(30)
    point.cancel()
    await trio.sleep(30)
    await world.add("point")
    await trio.sleep(15)
    await world.add("ben", "point")
    await trio.sleep(3)
    assert world.connected("ben") == {"point", "ada"}


async def test_with_enough_connections_nobody_is_dialled(world: World) -> None:
    await world.add("point")
    for number in range(40):
        await world.add(f"peer{number}", "point")
        await trio.sleep(2)
    await trio.sleep(120)
    await world.add("late", "point")
    await trio.sleep(60)
    assert CONNECTIONS_MIN <= len(world.connected("late")) <= CONNECTIONS_AIM
    assert len(world.known("late")) == 41


async def test_strangers_that_dial_in_do_not_end_the_dialling(world: World) -> None:
    await world.add("point")
    await world.add("ada", "point")
    await trio.sleep(5)
    for number in range(3 * CONNECTIONS_AIM):
        stranger = MemoryTransport(world.network, PeerId(f"stranger{number}"))
        await world.nursery.start(stranger.run)
        await stranger.connect(address("ada"))
    await trio.sleep(5)
    honest = MemoryTransport(world.network, PeerId("honest"))
    await world.nursery.start(honest.run)
    await honest.find_peers(PeerId("point"), NET)
    await trio.sleep(90)
    assert "honest" in world.connected("ada")


async def test_a_newcomer_is_found_as_soon_as_it_has_a_relay(world: World) -> None:
    ada = MemoryTransport(world.network, PeerId("ada"), is_home=True)
    await world.add("point", transport=MemoryTransport(world.network, PeerId("point"), serve_relay=True))
    await world.add("ada", "point", transport=ada)
    await trio.sleep(100)
    await ada.reserve(PeerId("point"))
    await trio.sleep(2.1)
    newcomer = MemoryTransport(world.network, PeerId("newcomer"))
    await world.nursery.start(newcomer.run)
    await newcomer.connect(address("point"))
    assert await newcomer.find_peers(PeerId("point"), NET) == [*ada.relays]


async def test_a_home_is_dialled_over_its_relay_only_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.add("point", transport=MemoryTransport(world.network, PeerId("point"), serve_relay=True))
    home = MemoryTransport(world.network, PeerId("home"), is_home=True)
    await world.nursery.start(home.run)
    await home.connect(address("point"))
    await home.reserve(PeerId("point"))
    await home.find_peers(PeerId("point"), NET)
    dialled = []
    connect = MemoryTransport.connect

    async def counted(self: MemoryTransport, address: str, **how: bool) -> PeerId:
        if relay_of(address):
            dialled.append(address)
        return await connect(self, address, **how)

    monkeypatch.setattr(MemoryTransport, "connect", counted)
    await world.add("ada", "point")
    await trio.sleep(60)
    assert world.transports["ada"].path_to(PeerId("home")) is Way.RELAYED
    home.disconnect(PeerId("ada"))
    await trio.sleep(600)
    assert dialled == list(home.relays)


class Grave(MemoryTransport):
    """Counts how often it dials, and reaches nobody."""

    dialled_s: list[float]

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        self.dialled_s.append(trio.current_time())
        raise NetworkError(f"nobody answers at {address}")


async def test_a_peer_that_does_not_answer_is_dialled_less_and_less_often(world: World) -> None:
    grave = Grave(world.network, PeerId("ada"))
    grave.dialled_s = []
    await world.add("ada", "point", transport=grave)
    await trio.sleep(600)
    pauses = [after - before for before, after in zip(grave.dialled_s, grave.dialled_s[1:], strict=False)]
    assert all(pause >= 0.75 for pause in pauses)
    assert pauses[0] < 3
    assert all(40 <= pause <= 80 for pause in pauses[7:])
    assert len(set(pauses[7:])) > 1, "there must be jitter"


class Slow(MemoryTransport):
    """Needs ten seconds to learn that nobody is at an address."""

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        if "dead" in address:
            await trio.sleep(10)
            raise NetworkError(f"nobody answers at {address}")
        return await super().connect(address)


async def test_the_bootstrap_does_not_wait_behind_addresses_that_lead_nowhere(world: World) -> None:
    book = AddressBook(world.folder / "ada")
    for number in range(200):
        book.note(address(f"dead{number}"))
    book.write()
    await world.add("point")
    for name in ("ben", "carl"):
        await world.add(name, "point")
    await world.add("ada", "point", transport=Slow(world.network, PeerId("ada")))
    await trio.sleep(2)
    assert "point" in world.connected("ada")
    await trio.sleep(25)
    assert world.connected("ada") == {"point", "ben", "carl"}


class Liar(MemoryTransport):
    """A point that answers with thousands of addresses."""

    num_told = 0

    def _register(self, peer_id: PeerId, namespace: str) -> list[str]:
        self.num_told += 300
        ghosts = [address(f"ghost{number}") for number in range(self.num_told - 300, self.num_told)]
        return [*ghosts, address("ben")]


async def test_a_point_that_tells_of_thousands_neither_fills_memory_nor_hides_others(world: World) -> None:
    await world.add("point", transport=Liar(world.network, PeerId("point")))
    await world.add("ben")
    await world.add("ada", "point")
    await trio.sleep(80)
    assert len(world.known("ada")) <= 1024
    assert world.connected("ada") == {"point", "ben"}


async def test_no_own_address_or_one_without_an_id_is_dialled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def find_nobody(*_: object) -> list[str]:
        return ["/ip4/9.9.9.9/tcp/1/p2p/", address("ada")]

    ada = MemoryTransport(world.network, PeerId("ada"))
    monkeypatch.setattr(ada, "find_peers", find_nobody)
    await world.add("point")
    await world.add("ada", "point", transport=ada)
    await trio.sleep(30)
    assert world.connected("ada") == {"point"}
    assert set(world.known("ada")) == {"point"}


def lan_address(name: str, host: int, port: int = 4120) -> str:
    return f"/ip4/192.168.1.{host}/tcp/{port}/p2p/{name}"


async def test_nobody_on_the_lan_takes_the_places_of_a_peers_true_addresses(world: World) -> None:
    """A stranger names the peer's id with its own machine's address, four times."""
    await world.add("ada")
    keeper = world.keepers["ada"]
    keeper.learn_on_lan([lan_address("ben", 66, port) for port in range(4_000, 4_009)])
    keeper._learn([address("ben")], "rendezvous point")
    await trio.sleep(10)
    keeper.learn_on_lan([lan_address("ben", 8)])
    known = {each for each in keeper._candidates if each.endswith("/ben")}
    assert len(known) == 5
    assert {address("ben"), lan_address("ben", 8)} <= known, "an address on the LAN that failed makes room"
    await world.add("ben")
    await trio.sleep(70)
    assert "ben" in world.connected("ada")


async def test_a_peer_that_was_met_on_the_lan_only_is_found_there_after_a_restart(world: World) -> None:
    ben = MemoryTransport(world.network, PeerId("ben"), listen=("/ip4/192.168.1.8/tcp/4120",))
    await world.add("ben", transport=ben)
    end = await world.add("ada")
    world.keepers["ada"].learn_on_lan([lan_address("ben", 8)])
    await trio.sleep(5)
    assert world.connected("ada") == {"ben"}
    end.cancel()
    await trio.sleep(1)
    await world.add("ada")
    await trio.sleep(2)
    assert world.connected("ada") == {"ben"}
    assert world.known("ada")["ben"].learned_from == "LAN", "it may be a stranger's address elsewhere"
