"""A mapped port, over a real UPnP library or NAT-PMP, and routers of the test on loopback."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import trio
from node.p2p.fake_router import FakeRouter, a_router

from openledger_node.p2p import nat_pmp
from openledger_node.p2p.nat_pmp import PmpError, PmpRouter, PmpSilentError, default_gateway
from openledger_node.p2p.port_mapping import LEASE_S, PERMANENT_FILE, PortMapper
from openledger_node.p2p.reachability import RouterAnswer, RouterState

OWN = "127.0.0.1"
PORT = 4120


@pytest.fixture
def router() -> Iterator[FakeRouter]:
    with a_router() as running:
        yield running


def a_mapper(router: FakeRouter, folder: Path) -> PortMapper:
    return PortMapper(folder, random=Random(1), description_url=router.url, find_pmp_router=lambda: None)


def test_a_port_is_mapped_by_a_lease_and_removed(router: FakeRouter, tmp_path: Path) -> None:
    mapper = a_mapper(router, tmp_path)
    answer = mapper.map_port({"10.0.0.7": 9, OWN: PORT, "::1": 99})  # the port on the router's network, not the first
    assert (answer.state, answer.address) == (RouterState.MAPPED, f"/ip4/8.8.4.4/tcp/{PORT}")
    assert answer.words == "the router forwards port 4120 of 8.8.4.4 to this node"
    assert router.mappings == {PORT: (OWN, PORT, LEASE_S)}
    assert mapper.map_port({OWN: PORT}) == answer  # renewed
    mapper.remove()
    assert router.mappings == {}


def test_a_taken_port_is_left_to_its_owner(router: FakeRouter, tmp_path: Path) -> None:
    router.mappings[PORT] = ("192.168.1.9", PORT, 0)
    mapper = a_mapper(router, tmp_path)
    answer = mapper.map_port({OWN: PORT})
    (outer,) = set(router.mappings) - {PORT}
    assert answer.address == f"/ip4/8.8.4.4/tcp/{outer}"
    mapper.remove()
    assert router.mappings == {PORT: ("192.168.1.9", PORT, 0)}


@pytest.mark.parametrize(
    ("host", "state", "words"),
    [
        ("100.64.3.1", RouterState.SHARED, "the router has the address 100.64.3.1 of carrier-grade NAT"),
        ("192.168.0.2", RouterState.INNER, "another router is in front of it"),
        ("0.0.0.0", RouterState.NO_ADDRESS, "the router has no public address"),
    ],
)
def test_a_router_without_an_address_maps_nothing(
    router: FakeRouter, tmp_path: Path, host: str, state: RouterState, words: str
) -> None:
    router.host = host
    answer = a_mapper(router, tmp_path).map_port({OWN: PORT})
    assert (answer.state, answer.address, router.mappings) == (state, "", {})
    elsewhere = a_mapper(router, tmp_path).map_port({"192.168.1.7": PORT})
    assert (elsewhere.state, router.mappings) == (RouterState.ELSEWHERE, {})
    assert words in answer.words


def test_a_refusal_is_told_in_the_routers_words(router: FakeRouter, tmp_path: Path) -> None:
    router.refuses = 606
    answer = a_mapper(router, tmp_path).map_port({OWN: PORT})
    assert answer.state is RouterState.REFUSED
    assert answer.words.startswith("the router refuses to map a port: ")


def test_a_permanent_mapping_is_removed_at_the_end_or_by_the_next_start(router: FakeRouter, tmp_path: Path) -> None:
    router.only_permanent = True
    killed = a_mapper(router, tmp_path)
    killed.map_port({OWN: PORT})
    assert router.mappings == {PORT: (OWN, PORT, 0)}
    assert (tmp_path / PERMANENT_FILE).exists()

    restarted = a_mapper(router, tmp_path)  # at another port, as after a start with [p2p] port = 0
    restarted.map_port({OWN: 4121})
    assert router.mappings == {4121: (OWN, 4121, 0)}
    restarted.map_port({OWN: 4121})  # its own is renewed, not removed
    assert router.mappings == {4121: (OWN, 4121, 0)}
    restarted.remove()
    assert router.mappings == {}
    assert not (tmp_path / PERMANENT_FILE).exists()


def test_anothers_mapping_outlives_an_old_note(router: FakeRouter, tmp_path: Path) -> None:
    (tmp_path / PERMANENT_FILE).write_text('{"router_port": 5000, "port": 5000}')
    router.mappings[5000] = ("192.168.1.9", 5000, 0)
    a_mapper(router, tmp_path).map_port({OWN: PORT})
    assert router.mappings[5000] == ("192.168.1.9", 5000, 0)
    (tmp_path / PERMANENT_FILE).write_text("[")
    assert a_mapper(router, tmp_path).map_port({OWN: PORT}).state is RouterState.MAPPED


async def test_the_mapping_is_removed_when_the_node_stops(router: FakeRouter, tmp_path: Path) -> None:
    answers: list[RouterAnswer] = []
    async with trio.open_nursery() as nursery:

        def note(answer: RouterAnswer) -> None:
            answers.append(answer)
            nursery.cancel_scope.cancel()

        await a_mapper(router, tmp_path).keep(ports={OWN: PORT}, note=note)
    assert [answer.state for answer in answers] == [RouterState.MAPPED]
    assert (router.mappings, router.asked[-1]) == ({}, "DeletePortMapping")


async def test_a_port_that_is_mapped_too_late_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a laptop that moves on while the router of the last network is still asked."""
    monkeypatch.setattr("openledger_node.p2p.port_mapping.REMOVE_S", 0.05)
    mapper = PortMapper(tmp_path, random=Random(1), find_pmp_router=lambda: None)
    is_asked, may_answer, is_removed = threading.Event(), threading.Event(), threading.Event()
    steps: list[str] = []

    def map_port(_: Mapping[str, int]) -> RouterAnswer:
        is_asked.set()
        assert may_answer.wait(20)
        steps.append("mapped")
        return RouterAnswer(state=RouterState.MAPPED, words="forwards")

    def remove() -> None:
        steps.append("removed")
        is_removed.set()

    monkeypatch.setattr(mapper, "map_port", map_port)
    monkeypatch.setattr(mapper, "_remove", remove)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(mapper.keep, ports={}, note=lambda _: None))
        await trio.to_thread.run_sync(is_asked.wait, 20)
        nursery.cancel_scope.cancel()
    may_answer.set()
    assert await trio.to_thread.run_sync(is_removed.wait, 20)
    assert steps == ["mapped", "removed"]
    assert mapper._map_while_kept({}, mapper._num_kept - 1).state is RouterState.NOT_ASKED, "the next one comes late"


async def test_a_router_that_is_doubted_is_asked_again_once_a_minute(
    nursery: trio.Nursery, tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapper = PortMapper(tmp_path, random=Random(1), find_pmp_router=lambda: None)
    asked_s: list[float] = []

    async def inline(sync: Callable[..., object], *args: object, **_: object) -> object:
        await trio.lowlevel.checkpoint()
        return sync(*args)

    def map_port(_: Mapping[str, int]) -> RouterAnswer:
        asked_s.append(trio.current_time())
        return RouterAnswer(state=RouterState.MAPPED, words="forwards")

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    monkeypatch.setattr(mapper, "map_port", map_port)
    nursery.start_soon(partial(mapper.keep, ports={}, note=lambda _: None))
    for _ in range(300):
        await trio.sleep(1)
        mapper.doubt()
    await trio.sleep(LEASE_S)
    pauses = [round(after - before) for before, after in pairwise(asked_s)]
    assert pauses == [60, 60, 60, 60, 60, LEASE_S / 2]


def test_a_router_that_hangs_holds_up_one_thread_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try left one thread behind, until none was left for the ledger and the engine."""
    monkeypatch.setattr("openledger_node.p2p.port_mapping.ASK_S", 0.01)
    mapper = PortMapper(tmp_path, random=Random(1), find_pmp_router=lambda: None)
    is_asked, may_answer = threading.Event(), threading.Event()

    def hang(_: Mapping[str, int]) -> RouterAnswer:
        is_asked.set()
        may_answer.wait(20)
        return RouterAnswer(state=RouterState.MAPPED, words="forwards")

    monkeypatch.setattr(mapper, "map_port", hang)
    first = threading.Thread(target=mapper._map_while_kept, args=({}, 0))
    first.start()
    try:
        assert is_asked.wait(20)
        assert mapper._map_while_kept({}, 0).words.startswith("the router has not answered")
    finally:
        may_answer.set()
        first.join()
    assert mapper._map_while_kept({}, 0).state is RouterState.MAPPED


# ---- NAT-PMP, over datagrams with a router of the test on loopback


class FakePmpRouter:
    """A router that maps ports; `answers` makes its answers to a request, if they are to be others."""

    def __init__(self) -> None:
        self.host = "8.8.4.4"
        self.taken: set[int] = set()
        self.mappings: dict[int, tuple[int, int]] = {}  # inner port → outer port, lease in seconds
        self.lease_s_max = 7200
        self.result = 0
        self.answers: Callable[[bytes], list[bytes]] = self.right_answers
        self.num_requests = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((OWN, 0))
        self.address = self._socket.getsockname()
        self.sender = self._socket
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def right_answers(self, request: bytes) -> list[bytes]:
        if request == b"\x00\x00":
            return [struct.pack(">BBHI", 0, 128, self.result, 9) + socket.inet_aton(self.host)]
        _, operation, _, inner, outer, lease_s = struct.unpack(">BBHHHI", request)
        head = struct.pack(">BBHI", 0, 128 + operation, self.result, 9)
        if self.result or operation != 2:
            return [head + struct.pack(">HHI", inner, 0, 0)]
        if not lease_s:
            self.mappings.pop(inner, None)
            return [head + struct.pack(">HHI", inner, 0, 0)]
        return [head + struct.pack(">HHI", inner, *self.map_port(inner, outer, lease_s))]

    def map_port(self, inner: int, outer: int, lease_s: int) -> tuple[int, int]:
        outer = outer + 1 if outer in self.taken else outer
        self.mappings[inner] = (outer, min(lease_s, self.lease_s_max))
        return self.mappings[inner]

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.address)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            request, origin = self._socket.recvfrom(100)
            if not request:
                return
            self.num_requests += 1
            for datagram in self.answers(request):
                self.sender.sendto(datagram, origin)


@pytest.fixture
def fake() -> Iterator[FakePmpRouter]:
    fake = FakePmpRouter()
    yield fake
    fake.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nat_pmp, "WAITS_S", (0.05, 0.05))


def a_pmp_mapper(address: tuple[str, int], folder: Path) -> PortMapper:
    nobody = "http://127.0.0.1:1/nobody"
    found = PmpRouter(OWN, port=address[1])
    return PortMapper(folder, random=Random(1), description_url=nobody, find_pmp_router=lambda: found)


def test_a_port_is_mapped_over_nat_pmp_by_a_lease_renewed_and_removed(fake: FakePmpRouter, tmp_path: Path) -> None:
    mapper = a_pmp_mapper(fake.address, tmp_path)
    answer = mapper.map_port({"10.0.0.7": 9, OWN: PORT})
    assert (answer.state, answer.address) == (RouterState.MAPPED, f"/ip4/{fake.host}/tcp/{PORT}")
    assert answer.words == "the router forwards port 4120 of 8.8.4.4 to this node"
    assert fake.mappings == {PORT: (PORT, LEASE_S)}
    assert mapper.map_port({OWN: PORT}) == answer
    mapper.remove()
    assert fake.mappings == {}
    mapper.remove()  # nothing is left to remove


def test_another_port_and_a_shorter_lease_of_the_router_are_kept_to(fake: FakePmpRouter, tmp_path: Path) -> None:
    fake.taken, fake.lease_s_max = {PORT}, 600
    mapper = a_pmp_mapper(fake.address, tmp_path)
    assert mapper.map_port({OWN: PORT}).address == f"/ip4/{fake.host}/tcp/{PORT + 1}"
    assert mapper._lease_s == 600
    fake.taken = set()
    assert mapper.map_port({OWN: PORT}).address == f"/ip4/{fake.host}/tcp/{PORT + 1}"  # the same one again


def test_a_refusal_over_nat_pmp_is_told_in_words(fake: FakePmpRouter, tmp_path: Path) -> None:
    fake.result = 2
    answer = a_pmp_mapper(fake.address, tmp_path).map_port({OWN: PORT})
    assert (answer.state, "port mapping is turned off" in answer.words) == (RouterState.REFUSED, True)


def test_a_router_that_promises_a_century_is_asked_again_after_an_hour(fake: FakePmpRouter) -> None:
    head = struct.pack(">BBHI", 0, 130, 0, 9)
    fake.answers = lambda _: [head + struct.pack(">HHI", PORT, PORT, 2**32 - 1)]
    assert PmpRouter(OWN, port=fake.address[1]).map_port(PORT, outer=PORT, lease_s=3600) == (PORT, 3600)


@pytest.mark.parametrize(
    "datagrams",
    [
        [b""],
        [b"\xff" * 1000],
        [struct.pack(">BBHI", 0, 128, 0, 9)] * 100,  # an answer to another question
        [struct.pack(">BBHI", 0, 130, 0, 9)],  # cut off
        [struct.pack(">BBHIHHI", 9, 130, 0, 9, PORT, PORT, 60)],  # another version
        [struct.pack(">BBHIHHI", 0, 130, 0, 9, 22, 22, 60)],  # another port
        [struct.pack(">BBHIHHI", 0, 130, 0, 9, PORT, 0, 60)],  # no port
        [struct.pack(">BBHIHHI", 0, 130, 0, 9, PORT, PORT, 0)],  # no time
    ],
)
def test_hostile_answers_map_nothing(fake: FakePmpRouter, hasty: None, datagrams: list[bytes]) -> None:
    fake.answers = lambda _: datagrams
    with pytest.raises(PmpError):
        PmpRouter(OWN, port=fake.address[1]).map_port(PORT, outer=PORT, lease_s=3600)


def test_nobody_else_answers_for_the_router_which_is_asked_twice(fake: FakePmpRouter, hasty: None) -> None:
    """A datagram from another address or port never reaches the client."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        fake.sender = stranger
        with pytest.raises(PmpSilentError):
            PmpRouter(OWN, port=fake.address[1]).outer_host()
    assert fake.num_requests == 2


# ---- the router's address


ROUTES = """Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\tFE00000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""


def test_the_router_is_the_one_of_the_best_default_route(tmp_path: Path) -> None:
    file = tmp_path / "route"
    file.write_text(ROUTES)
    assert default_gateway(file) == "10.0.0.254"
    file.write_text(ROUTES.splitlines()[0])
    assert default_gateway(file) == ""
    assert default_gateway(tmp_path / "none") == ""
