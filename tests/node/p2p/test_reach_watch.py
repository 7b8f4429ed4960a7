"""Being reached, on a network within this process: homes, servers, relays, liars, and a clock that jumps."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random

import pytest
import trio

from openledger_node.errors import NetworkError
from openledger_node.p2p.connections import KnownPeer
from openledger_node.p2p.dialback import EVERY_S, DialbackServer, ask_to_dial
from openledger_node.p2p.port_mapping import PortMapper
from openledger_node.p2p.reach_watch import CHECK_EVERY_S, QUIET_LOOK_S, ReachWatch
from openledger_node.p2p.reachability import ReachState, RouterAnswer, RouterState
from openledger_node.p2p.relays import TEST_EVERY_S, RelayKeeper
from openledger_node.p2p.scopes import Scope
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Path, PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.p2p.transports.memory.transport import Link
from openledger_protocol.errors import MalformedError, OverloadedError, ProtocolError, UnavailableError
from openledger_protocol.wire.dialback import Dialled, DialMe, encode
from openledger_protocol.wire.frames import wire_name

pytestmark = pytest.mark.usefixtures("autojump_clock")

NET = "test-net"
DIALBACK = wire_name(NET, "dialback")
HOME_HOST = "8.9.0.1"
LAN = "/ip4/192.168.1.7/tcp/4120"
FORWARDED = f"/ip4/{HOME_HOST}/tcp/4120"


class Net:
    """A network of the internet; `points` are peers that serve relay and dial back."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.network = MemoryNetwork()
        self.points: list[MemoryTransport] = []

    async def add_point(self, n: int) -> MemoryTransport:
        listen = (f"/ip4/8.{n}.0.1/tcp/4001",)
        point = MemoryTransport(self.network, PeerId(f"point{n}"), serve_relay=True, listen=listen)
        await self.nursery.start(point.run)
        point.handle(DIALBACK, DialbackServer(point, scope=Scope.INTERNET).serve)
        self.points.append(point)
        return point

    async def add_home(self, name: str = "home", **options: object) -> MemoryTransport:
        given: dict[str, object] = {"listen": (LAN,), "host": HOME_HOST, "is_home": True, **options}
        home = MemoryTransport(self.network, PeerId(name), **given)  # type: ignore[arg-type]
        await self.nursery.start(home.run)
        for point in self.points:
            await home.connect(point.addresses[0])
        return home

    def watch(self, node: MemoryTransport, *, runs: bool = True, mapper: PortMapper | None = None) -> ReachWatch:
        def known() -> list[KnownPeer]:
            return [
                KnownPeer(
                    peer_id=each.peer_id,
                    address=each.addresses[0],
                    learned_from="bootstrap",
                    is_connected=each.peer_id in node.connected(),
                )
                for each in self.points
            ]

        watch = ReachWatch(
            node,
            network=NET,
            scope=Scope.INTERNET,
            known=known,
            random=Random(1),
            points=[each.peer_id for each in self.points],
            mapper=mapper,
        )
        if runs:
            self.nursery.start_soon(watch.run)
        return watch

    def keep_relays(self, home: MemoryTransport, points: Sequence[MemoryTransport]) -> RelayKeeper:
        """Keep a home's relays, first at these bootstrap nodes."""
        keeper = RelayKeeper(home, points=[each.peer_id for each in points], random=Random(2))
        keeper.is_wanted = True
        self.nursery.start_soon(keeper.run)
        return keeper


async def a_net(nursery: trio.Nursery, num_points: int) -> Net:
    net = Net(nursery)
    for n in range(1, num_points + 1):
        await net.add_point(n)
    return net


@pytest.fixture
async def net(nursery: trio.Nursery) -> Net:
    return await a_net(nursery, 3)


class ScriptedMapper(PortMapper):
    """A router that gives one answer."""

    def __init__(self, answer: RouterAnswer) -> None:
        self.answer = answer
        self.is_removed = False
        self.num_doubts = 0

    def doubt(self) -> None:
        self.num_doubts += 1

    async def keep(self, *, ports: Mapping[str, int], note: Callable[[RouterAnswer], None]) -> None:
        self.ports = ports
        await trio.sleep(1)
        note(self.answer)
        try:
            await trio.sleep_forever()
        finally:
            self.is_removed = True


MAPS = RouterAnswer(state=RouterState.MAPPED, words="the router forwards port 4120", address=FORWARDED)


async def test_a_home_is_relayed_within_a_second_and_keeps_two_relays(net: Net) -> None:
    home = await net.add_home()
    absent = RouterAnswer(state=RouterState.ABSENT, words="no router")
    watch = net.watch(home, mapper=ScriptedMapper(absent))
    await trio.sleep(1)
    assert (watch.reach.state, len(watch.reach.relays)) == (ReachState.RELAYED, 2)
    await trio.sleep(10)
    assert watch.reach.seen_as == (HOME_HOST,)
    assert watch.reach.remedy.startswith("Turn on UPnP or NAT-PMP in your router")


async def test_a_lost_relay_is_replaced_by_the_spare_within_seconds(net: Net) -> None:
    home = await net.add_home()
    keeper = net.keep_relays(home, net.points)
    await trio.sleep(1)
    (spare,) = keeper.spares
    lost = next(each.peer_id for each in net.points if each.peer_id != spare)
    home.disconnect(lost)
    await trio.sleep(QUIET_LOOK_S + 0.5)
    assert len(home.relays) == 2
    assert any(spare in address for address in home.relays)


async def test_a_relay_that_stops_to_pass_anything_on_is_replaced_within_minutes(net: Net) -> None:
    home = await net.add_home()
    net.keep_relays(home, net.points)
    await trio.sleep(1)
    dead = next(each for each in net.points if any(each.peer_id in address for address in home.relays))
    dead.passes_on = False
    await trio.sleep(TEST_EVERY_S + 2)
    assert len(home.relays) == 2
    assert not any(dead.peer_id in address for address in home.relays)


async def test_relay_places_are_renewed_while_wanted(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openledger_node.p2p.relays.LOOK_S", 60.0)
    net = await a_net(nursery, 2)
    home = await net.add_home()
    keeper = net.keep_relays(home, ())
    await trio.sleep(1.5 * 3600)
    assert len(home.relays) == 2
    keeper.is_wanted = False
    await trio.sleep(3700)
    assert home.relays == ()


async def test_bootstrap_nodes_come_first_and_other_nodes_spread(nursery: trio.Nursery) -> None:
    net = await a_net(nursery, 6)
    home = await net.add_home()
    first = {RelayKeeper(home, points=(PeerId("point6"),), random=Random(seed)).spares[:2] for seed in range(20)}
    assert {one for one, _ in first} == {"point6"}
    assert len({other for _, other in first}) == 5


async def test_a_node_with_relays_is_reached_when_all_bootstrap_nodes_are_lost_at_once(nursery: trio.Nursery) -> None:
    net = await a_net(nursery, 6)
    home = await net.add_home()
    points = [each.peer_id for each in net.points[:2]]
    net.keep_relays(home, net.points[:2])
    await trio.sleep(1)
    assert sum(point in address for point in points for address in home.relays) == 1
    (other,) = (address for address in home.relays if not any(point in address for point in points))
    for point in points:
        home.disconnect(point)
    assert home.relays == (other,), "others know of this place already"
    await trio.sleep(QUIET_LOOK_S + 0.5)
    assert len(home.relays) == 2


async def test_a_port_that_was_forwarded_by_hand_is_found_and_told(net: Net) -> None:
    home = await net.add_home()
    net.network.open_at[FORWARDED] = home.peer_id
    watch = net.watch(home)
    await trio.sleep(5)
    assert watch.reach.state is ReachState.PUBLIC
    assert f"{FORWARDED}/p2p/home" in home.addresses
    assert watch.reach.relays == ()


async def test_a_mapped_port_counts_once_peers_have_come_through(net: Net) -> None:
    home, mapper = await net.add_home(), ScriptedMapper(MAPS)
    net.network.open_at[FORWARDED] = home.peer_id
    watch = net.watch(home, runs=False, mapper=mapper)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await trio.sleep(5)
        assert watch.reach.state is ReachState.MAPPED
        assert f"{FORWARDED}/p2p/home" in home.addresses
        assert mapper.num_doubts == 0
        del net.network.open_at[FORWARDED]  # it is closed later, so the node asks its router
        await trio.sleep(CHECK_EVERY_S)
        assert mapper.num_doubts > 0
        nursery.cancel_scope.cancel()
    assert mapper.is_removed


async def test_the_router_of_another_network_is_asked_for_a_port_anew(net: Net) -> None:
    home, mapper = await net.add_home(), ScriptedMapper(MAPS)
    net.watch(home, mapper=mapper)
    await trio.sleep(5)
    assert mapper.ports == {"192.168.1.7": 4120}
    await home.listen_also("/ip4/10.0.0.9/tcp/4120")
    await trio.sleep(2 * QUIET_LOOK_S)
    assert mapper.ports == {"192.168.1.7": 4120, "10.0.0.9": 4120}


async def test_a_home_is_punched_until_its_direct_connection_falls_back_to_a_relay(net: Net) -> None:
    home, other = await net.add_home(can_be_punched=True), await net.add_home("other", can_be_punched=True)
    watch = net.watch(home)
    await trio.sleep(1)
    await other.connect(home.relays[0])
    await trio.sleep(20)
    assert watch.reach.state is ReachState.PUNCHED
    home._links[other.peer_id] = Link(path=Path.RELAYED)
    await trio.sleep(1)
    assert watch.reach.state is ReachState.RELAYED
    home._links[other.peer_id] = Link(path=Path.PUNCHED)
    await trio.sleep(1)
    del home._links[other.peer_id]  # gone altogether, which says nothing about the next one
    await trio.sleep(1)
    assert watch.reach.state is ReachState.PUNCHED


async def test_a_server_is_public_until_a_firewall_shuts_it_off_and_again_afterwards(net: Net) -> None:
    server = await net.add_home(listen=(FORWARDED,), is_home=False)
    watch = net.watch(server)
    await trio.sleep(5)
    assert (watch.reach.state, watch.reach.addresses) == (ReachState.PUBLIC, (FORWARDED,))
    assert (watch.reach.remedy, server.relays) == ("", ())
    del net.network.open_at[FORWARDED]  # a firewall
    await trio.sleep(CHECK_EVERY_S + 5)
    assert (watch.reach.state, server.addresses) == (ReachState.RELAYED, ())
    net.network.open_at[FORWARDED] = server.peer_id
    await trio.sleep(CHECK_EVERY_S + 5)
    assert (watch.reach.state, server.addresses) == (ReachState.PUBLIC, (f"{FORWARDED}/p2p/home",))


async def test_the_word_of_one_peer_is_checked_again_when_more_are_there(nursery: trio.Nursery) -> None:
    async def deny(peer_id: PeerId, stream: trio.abc.Stream) -> None:
        messages = MessageStream(stream)
        await messages.receive()
        await messages.send(encode(Dialled(host=HOME_HOST, open=())))

    net = await a_net(nursery, 1)
    net.points[0].handle(DIALBACK, deny)
    server = await net.add_home(listen=(FORWARDED,), is_home=False)
    watch = net.watch(server)
    await trio.sleep(5)
    assert watch.reach.state is ReachState.RELAYED
    for n in (2, 3):
        await server.connect((await net.add_point(n)).addresses[0])
    await trio.sleep(120)
    assert watch.reach.state is ReachState.PUBLIC


async def ask(home: MemoryTransport, point: MemoryTransport, *ports: int) -> Dialled:
    return await ask_to_dial(home, DIALBACK, point.peer_id, ports or (4120,))


async def test_an_asked_peer_dials_only_where_it_sees_the_asker(net: Net) -> None:
    home = await net.add_home()
    net.network.open_at |= {FORWARDED: home.peer_id, f"/ip4/{HOME_HOST}/tcp/22": PeerId("point1")}
    net.network.open_at[f"/ip4/{HOME_HOST}/tcp/80"] = PeerId("another")
    assert await ask(home, net.points[0], 22, 80, 4120, 4121) == Dialled(host=HOME_HOST, open=(4120,))


async def test_a_peer_and_an_address_get_one_check_in_half_a_minute(net: Net) -> None:
    home, neighbour = await net.add_home(), await net.add_home("neighbour")
    await ask(home, net.points[0])
    for asker in (home, neighbour):
        with pytest.raises(OverloadedError):
            await ask(asker, net.points[0])
    await trio.sleep(EVERY_S)
    await ask(neighbour, net.points[0])


async def test_a_peer_that_was_dialled_itself_or_comes_over_a_relay_is_refused(net: Net) -> None:
    await net.points[0].connect(net.points[1].addresses[0])
    with pytest.raises(UnavailableError, match="does not see your address"):
        await ask(net.points[1], net.points[0])
    home, other = await net.add_home(), await net.add_home("other")
    other.handle(DIALBACK, DialbackServer(other, scope=Scope.INTERNET).serve)
    await other.reserve(net.points[0].peer_id)
    await home.connect(other.relays[0])
    with pytest.raises(UnavailableError, match="does not see your address"):
        await ask(home, other)


@pytest.mark.parametrize("host", ["192.168.1.7", "127.0.0.1", "100.64.0.9"])
async def test_on_a_network_of_the_internet_no_private_address_is_dialled(net: Net, host: str) -> None:
    home = await net.add_home(host=host)
    with pytest.raises(UnavailableError, match=f"you are seen at {host}"):
        await ask(home, net.points[0])


async def test_checks_at_once_are_few_and_slow_ones_end(net: Net) -> None:
    async def hang(address: str) -> None:
        await trio.sleep_forever()

    homes = [await net.add_home(f"home{n}", host=f"8.9.{n}.1") for n in range(5)]
    net.points[0].probe = hang  # type: ignore[method-assign]
    results: list[object] = []

    async def note(home: MemoryTransport) -> None:
        try:
            results.append(await ask(home, net.points[0]))
        except ProtocolError as error:
            results.append(type(error))

    async with trio.open_nursery() as nursery:
        for home in homes:
            nursery.start_soon(note, home)
    assert results[0] is OverloadedError
    assert all(isinstance(each, Dialled) and each.open == () for each in results[1:])


async def test_an_answer_about_other_ports_is_refused_and_silence_ends(net: Net) -> None:
    async def answer(reply: Dialled | None, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        messages = MessageStream(stream)
        await messages.receive()
        if reply:
            await messages.send(encode(reply))
        await trio.sleep_forever()

    home = await net.add_home()
    for reply, error, words in (
        (Dialled(host=HOME_HOST, open=(22,)), MalformedError, "ports that it was not asked about"),
        (None, NetworkError, "has not dialled back"),
    ):
        net.points[0].handle(DIALBACK, partial(answer, reply))
        with pytest.raises(error, match=words):
            await ask(home, net.points[0])


@pytest.mark.parametrize(
    "question",
    [encode(Dialled(host=HOME_HOST, open=())), {**encode(DialMe(ports=(1,))), "ports": [1, 2, 3, 4, 5]}],
    ids=["an answer", "five ports"],
)
async def test_a_question_that_is_none_is_refused(net: Net, question: dict[str, object]) -> None:
    home = await net.add_home()
    messages = MessageStream(await home.open_stream(net.points[0].peer_id, DIALBACK))
    await messages.send(question)
    assert (await messages.receive())["code"] == "malformed"
