"""Publishing and finding provider records, on a clock that jumps."""

from random import Random

import pytest
import trio
from node.p2p.provided import NET, adapter, id_of, signed
from support.peers import say_nothing, seed

from openledger_node.p2p import provider_client, provider_publisher, provider_records
from openledger_node.p2p.provider_client import Points, ProviderLookup
from openledger_node.p2p.provider_publisher import ProviderPublisher
from openledger_node.p2p.provider_records import ProviderServer, RecordStore
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport, open_transport
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.providers import Records, decode, encode, nearest_points, open_record

pytestmark = pytest.mark.usefixtures("autojump_clock")

PROTOCOL = wire_name(NET, "providers")
LORA = adapter("lora")
SETTLED_S = 15.0
"""A publisher looks every 5 s, and begins within 5 s."""


class World:
    """Bootstrap nodes with stores, and peers of one network."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.network = MemoryNetwork()
        self.points: dict[PeerId, RecordStore] = {}
        self.addresses: list[str] = []
        self.is_away: set[PeerId] = set()
        self.is_mute: set[PeerId] = set()  # they do what is asked, and their answer is lost
        self.num_puts = 0

    def now_s(self) -> float:
        return 1_800_000_000 + trio.current_time()

    async def add_point(self, name: str) -> MemoryTransport:
        point = await self.add(name)
        self.restart(point)
        self.addresses.append(point.addresses[0])
        return point

    def restart(self, point: MemoryTransport) -> None:
        """Serve a bootstrap node's records from an empty store."""
        self.points[point.peer_id] = store = RecordStore(network=NET, now_s=self.now_s, secret=b"")
        server = ProviderServer(point, store)

        async def serve(peer_id: PeerId, stream: trio.abc.Stream) -> None:
            self.num_puts += 1
            if point.peer_id in self.is_away:
                await stream.aclose()
            elif point.peer_id in self.is_mute:
                question = decode(await MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX).receive())
                await server._answer(peer_id, "a network", question)
                await stream.aclose()
            else:
                await server.serve(peer_id, stream)

        point.handle(PROTOCOL, serve)

    async def add(self, name: str, *, is_home: bool = False) -> MemoryTransport:
        peer = open_transport(self.network, id_of(name), is_home=is_home)
        await self.nursery.start(peer.run)
        return peer

    async def add_publisher(self, name: str, shelf: list[AdapterId], *, is_home: bool = False) -> MemoryTransport:
        peer = await self.add(name, is_home=is_home)
        publisher = ProviderPublisher(
            Points(peer, network=NET, bootstrap=self.addresses),
            peer,
            network=NET,
            seed=seed(name),
            shelf=lambda: shelf,
            now_s=self.now_s,
            random=Random(name),
        )
        self.nursery.start_soon(publisher.run)
        await trio.sleep(SETTLED_S)
        return peer

    async def lookup(self, name: str = "buyer") -> ProviderLookup:
        peer = await self.add(name)
        points = Points(peer, network=NET, bootstrap=self.addresses)
        return ProviderLookup(points, peer, network=NET, now_s=self.now_s, random=Random(1))

    def holders(self, adapter_id: AdapterId) -> set[PeerId]:
        return {point for point, store in self.points.items() if store.find(adapter_id)}


async def a_world(nursery: trio.Nursery, num_points: int = 5) -> World:
    world = World(nursery)
    for number in range(num_points):
        await world.add_point(f"point {number}")
    return world


@pytest.fixture
async def world(nursery: trio.Nursery) -> World:
    return await a_world(nursery)


async def test_an_adapter_is_published_at_its_three_nearest_points_and_found(world: World) -> None:
    await world.add_publisher("ada", [LORA, adapter("other")])
    for each in (LORA, adapter("other")):
        assert world.holders(each) == set(nearest_points(each, world.points))
    (record,) = await (await world.lookup()).find(LORA)
    assert record.peer_id == id_of("ada")
    assert record.addresses == (f"/memory/{id_of('ada')}/p2p/{id_of('ada')}",)


async def test_records_are_renewed_in_time_withdrawn_with_their_adapter_and_back_at_once(world: World) -> None:
    """A pause of a few seconds, such as a restart of the engine, withdraws nothing."""
    shelf = [LORA, adapter("other")]
    await world.add_publisher("ada", shelf)
    for _ in range(4):
        await trio.sleep(1_800)
        assert len(world.holders(LORA)) == 3
    shelf.remove(LORA)
    await trio.sleep(provider_publisher.WITHDRAW_AFTER_S - 6)
    assert len(world.holders(LORA)) == 3
    await trio.sleep(15)
    assert not world.holders(LORA)
    assert len(world.holders(adapter("other"))) == 3
    shelf.append(LORA)
    await trio.sleep(SETTLED_S)
    assert len(world.holders(LORA)) == 3


async def test_a_withdrawal_reaches_a_point_that_was_away(world: World) -> None:
    shelf = [LORA]
    await world.add_publisher("ada", shelf)
    away = PeerId(nearest_points(LORA, world.points)[0])
    world.is_away.add(away)
    shelf.clear()
    await trio.sleep(60)
    assert world.holders(LORA) == {away}
    world.is_away.clear()
    await trio.sleep(90)
    assert not world.holders(LORA)


async def test_a_record_is_withdrawn_and_put_again_also_if_the_answer_to_that_was_lost(nursery: trio.Nursery) -> None:
    world, shelf = await a_world(nursery, num_points=1), [LORA]
    (point,) = world.points
    world.is_mute.add(point)
    await world.add_publisher("ada", shelf)
    assert world.holders(LORA) == {point}
    world.is_mute.clear()
    shelf.clear()
    await trio.sleep(60)
    assert world.holders(LORA) == set(), "the put was never confirmed"
    shelf.append(LORA)
    await trio.sleep(SETTLED_S)
    world.is_mute.add(point)
    shelf.clear()
    await trio.sleep(30)
    assert world.holders(LORA) == set()
    world.is_mute.clear()
    shelf.append(LORA)
    await trio.sleep(30)
    assert world.holders(LORA) == {point}, "the withdrawal was never confirmed"


async def test_a_point_that_has_restarted_gets_the_records_again(world: World) -> None:
    """It keeps them in memory only, and the next round is up to half an hour away."""
    ada = await world.add_publisher("ada", [LORA])
    first, second, _ = map(PeerId, nearest_points(LORA, world.points))
    for point in (first, second):
        world.restart(world.network.peers[point])
    before = world.num_puts
    ada.disconnect(first)
    await trio.sleep(6)
    await ada.connect(next(each for each in world.addresses if each.endswith(first)))
    await trio.sleep(6)
    assert world.points[first].find(LORA), "a reconnection is noticed by the next look"
    await trio.sleep(1.3 * provider_publisher.CHECK_EVERY_S)
    assert world.points[second].find(LORA), "others are asked now and then"
    assert world.num_puts - before < 12


async def test_what_changes_is_published_within_seconds_and_nothing_else(world: World) -> None:
    shelf = [adapter(number) for number in range(10)]
    ada = await world.add_publisher("ada", shelf)
    before = world.num_puts
    shelf.append(LORA)
    await trio.sleep(SETTLED_S)
    assert len(world.holders(LORA)) == 3
    assert world.num_puts == before + 3
    ada.set_addresses(mapped=("/ip4/8.8.4.4/tcp/4001",))
    await trio.sleep(SETTLED_S)
    (record,) = await (await world.lookup()).find(LORA)
    assert record.addresses[0].startswith("/ip4/8.8.4.4/tcp/4001/p2p/")


async def test_a_node_that_nobody_reaches_publishes_nothing(world: World) -> None:
    await world.add_publisher("ada", [LORA], is_home=True)
    await trio.sleep(45)
    assert not world.holders(LORA)


async def test_a_point_that_lies_is_not_believed(nursery: trio.Nursery) -> None:
    world = await a_world(nursery, 2)
    liar = await world.add("liar")
    world.addresses.append(liar.addresses[0])
    told = (
        signed("sybil", LORA)[:-1] + b"x",
        signed("sybil", LORA, issued_s=1_799_990_000, expires_s=1_799_990_100),
        signed("sybil", adapter("other")),
        signed("sybil", LORA, network="other-net"),
        b"\xff",
    )

    async def serve(_: PeerId, stream: trio.abc.Stream) -> None:
        messages = MessageStream(stream, frame_bytes_max=1 << 20)
        await messages.receive()
        await messages.send(encode(Records(records=told)))

    liar.handle(PROTOCOL, serve)
    await world.add_publisher("ada", [LORA])
    assert [record.peer_id for record in await (await world.lookup()).find(LORA)] == [id_of("ada")]


async def test_a_silent_point_holds_a_lookup_up_for_seconds_only(nursery: trio.Nursery) -> None:
    world = await a_world(nursery, 2)
    silent = await world.add("silent")
    world.addresses.append(silent.addresses[0])
    silent.handle(PROTOCOL, say_nothing)
    await world.add_publisher("ada", [LORA])
    lookup, began_s = await world.lookup(), trio.current_time()
    assert len(await lookup.find(LORA)) == 1
    assert trio.current_time() - began_s <= provider_client.OTHERS_S + 0.1
    began_s = trio.current_time()
    assert await lookup.find(adapter("nobody's")) == []
    assert trio.current_time() - began_s <= provider_client.LOOKUP_S + 0.1


async def test_many_lookups_of_one_adapter_ask_once(world: World) -> None:
    await world.add_publisher("ada", [LORA])
    lookup, before, found = await world.lookup(), world.num_puts, []

    async def find() -> None:
        found.append(await lookup.find(LORA))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(find)
    assert [len(each) for each in found] == [1] * 50
    assert world.num_puts == before + 3


async def test_a_flood_of_records_is_cut_short(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are checked for as many records as a node needs in half an hour, and no more."""
    monkeypatch.setattr(provider_records, "CHECKS_AT_ONCE", 20.0)
    num_checked = 0

    def count(*given: object, **more: object) -> object:
        nonlocal num_checked
        num_checked += 1
        return open_record(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(provider_records, "open_record", count)
    world = await a_world(nursery, 1)
    await world.add_publisher("sybil", [adapter(number) for number in range(15)])
    await world.add_publisher("greedy", [adapter(number) for number in range(25)])
    assert num_checked == 15, "more at once than a neighbourhood may put is not even looked at"
