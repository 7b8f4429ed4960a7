"""Sellers that a node has not heard of, found by their provider records, over the memory network."""

from random import Random

import pytest
import trio
from support.market_world.seller import signed_ad
from support.market_world.terms import BASE, NETWORK, now_s, peer_id_of, seed_of, word
from support.rows import append_event

from openledger_node.ledger.ledger import Ledger
from openledger_node.market.ads_server import AdsServer
from openledger_node.market.board import AdTable, Held
from openledger_node.market.offered_bases import OfferedBases
from openledger_node.market.topics import FollowedBases
from openledger_node.network import far_sellers
from openledger_node.network.far_sellers import FarSellers
from openledger_node.p2p.provider_client import Points, ProviderLookup
from openledger_node.p2p.provider_records import serve_providers
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport, open_transport
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.bloom import make_filter
from openledger_protocol.errors import UnknownModelError
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Digest
from openledger_protocol.wire.ads import ads_protocol
from openledger_protocol.wire.providers import ProviderRecord, sign_record

pytestmark = pytest.mark.usefixtures("autojump_clock")

OTHER_BASE = Digest(word("another base"))
LORA, OTHER = AdapterId(word("lora")), AdapterId(word("other"))


class World:
    """One bootstrap node, sellers that advertise to nobody, and a buyer that has heard nothing."""

    def __init__(self, nursery: trio.Nursery, ledger: Ledger) -> None:
        self.nursery, self.ledger = nursery, ledger
        self.network = MemoryNetwork()
        self.num_asked = self.num_registered = 0
        self.boards: dict[str, AdTable] = {}

    async def begin(self) -> None:
        point, buyer = await self.add("point"), await self.add("buyer")
        self.store = serve_providers(point, NETWORK, now_s)
        self.board = self.open_board("buyer")
        points = Points(buyer, network=NETWORK, bootstrap=point.addresses)
        lookup = ProviderLookup(points, buyer, network=NETWORK, now_s=now_s, random=Random(1))
        events = self.ledger.events
        self.far = FarSellers(buyer, lookup, self.board, network=NETWORK, base=lambda: BASE, events=events)

    def register(self, *adapters: AdapterId) -> None:
        for adapter in adapters:
            self.num_registered += 1
            append_event(self.ledger, "AdapterRegistered", {"adapterId": adapter}, block=self.num_registered)

    def open_board(self, name: str) -> AdTable:
        return AdTable(NETWORK, now_s, self.ledger.peers, own=peer_id_of(name), base_names={BASE: "fake"})

    async def add(self, name: str) -> MemoryTransport:
        peer = open_transport(self.network, peer_id_of(name))
        await self.nursery.start(peer.run)
        return peer

    async def add_seller(
        self, name: str, *shelf: AdapterId, advertises: bool = True, base: Digest = BASE
    ) -> MemoryTransport:
        """Add a seller that has put a record of each adapter at the bootstrap node."""
        peer, board = await self.add(name), self.open_board(name)
        self.boards[name] = board
        offered = tuple(OfferedAdapter(id=each, name="harbour") for each in shelf)
        content = signed_ad(name, base=base, warm=offered, cold=make_filter(shelf), num_cold=len(shelf))
        own = Held(base=base, peer_id=peer.peer_id, seq=1, content=content) if advertises else None
        others = OfferedBases(board, FollowedBases(NETWORK, peer.peer_id, lambda: BASE, now_s))
        server = AdsServer(table=board, offered=others, own=lambda: own, ask_back=lambda *_: None)

        async def serve(peer_id: PeerId, stream: trio.abc.Stream) -> None:
            self.num_asked += 1
            await server.serve(peer_id, stream)

        peer.handle(ads_protocol(NETWORK), serve)
        for each in shelf:
            record = ProviderRecord(
                network=NETWORK,
                adapter=each,
                peer_id=peer.peer_id,
                addresses=peer.addresses,
                relays=(),
                issued_s=int(now_s()),
                expires_s=int(now_s()) + 3_600,
            )
            self.store.put(peer.peer_id, name, sign_record(record, seed_of(name)))
        return peer


@pytest.fixture
async def world(nursery: trio.Nursery, ledger: Ledger) -> World:
    opened = World(nursery, ledger)
    await opened.begin()
    opened.register(OTHER)
    return opened


async def test_a_seller_that_was_not_heard_is_found_by_the_adapters_id(world: World) -> None:
    world.register(LORA)
    ada = await world.add_seller("ada", LORA, OTHER)
    with pytest.raises(UnknownModelError):
        world.board.resolve(LORA)
    await world.far.look_for(LORA)
    assert world.board.resolve(LORA).adapter == LORA
    assert [ad.peer_id for ad in world.board.offers(BASE, LORA)] == [ada.peer_id]
    await world.far.look_for(LORA)
    assert world.num_asked == 1, "a seller that is known is not looked for"


async def test_a_seller_tells_its_own_advertisement_and_no_other(world: World) -> None:
    world.register(LORA)
    ada = await world.add_seller("ada", LORA, base=OTHER_BASE)
    for number in range(20):
        assert world.boards["ada"].learn(signed_ad(f"{number}", base=OTHER_BASE))
    await world.far.look_for(LORA)
    assert [ad.peer_id for ad in world.board.live()] == [ada.peer_id]
    assert [ad.peer_id for ad in world.board.offers(OTHER_BASE, LORA)] == [ada.peer_id]


async def test_a_short_id_is_completed_by_the_registry(world: World) -> None:
    await world.add_seller("ada", LORA)
    short = f"harbour@{LORA[2:10]}"
    await world.far.look_for(short)
    await world.far.look_for(LORA)
    assert world.num_asked == 0, "an adapter that is not registered is sold by nobody"
    world.register(LORA)
    await world.far.look_for(f"fake:{short}")
    assert world.board.resolve(short).adapter == LORA
    assert world.board.resolve("harbour").adapter == LORA


@pytest.mark.parametrize("name", ["harbour", "harbour@1234", BASE_ONLY, word("made up")])
async def test_a_name_without_a_registered_id_asks_nobody(world: World, name: str) -> None:
    await world.far.look_for(name)
    assert not world.far._lookup._results


async def test_providers_that_sell_nothing_or_are_gone_hide_no_seller(world: World) -> None:
    world.register(LORA)
    for number in range(5):
        await world.add_seller(f"mute {number}", LORA, advertises=False)
    gone = [await world.add_seller(f"gone {number}", LORA) for number in range(2)]
    await world.add_seller("ada", LORA)
    assert len(world.store.find(LORA)) == 8
    for peer in gone:
        peer._nursery = None  # nobody answers at its address any more
    began_s = trio.current_time()
    await world.far.look_for(LORA)
    assert [ad.peer_id for ad in world.board.offers(BASE, LORA)] == [peer_id_of("ada")]
    assert trio.current_time() - began_s <= far_sellers.ASK_S + 1


async def test_files_are_offered_by_those_who_advertise_and_by_those_who_have_a_record(world: World) -> None:
    world.register(LORA)
    await world.add_seller("ada", LORA)
    await world.add_seller("ben", LORA)
    adapter, copies = await world.far.copies(LORA)
    assert (adapter, copies.keys()) == (LORA, {peer_id_of("ada"), peer_id_of("ben")})
    assert all(copy.addresses for copy in copies.values())
    offered = (OfferedAdapter(id=LORA, name="harbour"),)
    assert world.board.receive(peer_id_of("cyd"), signed_ad("cyd", warm=offered))
    adapter, copies = await world.far.copies("harbour")
    assert (adapter, len(copies)) == (LORA, 3)
    with pytest.raises(UnknownModelError, match="base model"):
        await world.far.copies("fake")
    with pytest.raises(UnknownModelError):
        await world.far.copies(OTHER)
