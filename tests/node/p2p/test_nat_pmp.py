"""NAT-PMP, over datagrams with a router of the test on loopback."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from openledger_node.p2p import nat_pmp
from openledger_node.p2p.nat_pmp import PmpError, PmpRouter, PmpSilentError, default_gateway
from openledger_node.p2p.port_mapping import LEASE_S, PortMapper
from openledger_node.p2p.reachability import RouterState

OWN, PORT, OUTER_HOST = "127.0.0.1", 4120, "8.8.4.4"


class FakeRouter:
    """A router that maps ports; `answers` makes its answers to a request, if they are to be others."""

    def __init__(self) -> None:
        self.host = OUTER_HOST
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
def fake() -> Iterator[FakeRouter]:
    fake = FakeRouter()
    yield fake
    fake.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nat_pmp, "WAITS_S", (0.05, 0.05))


def a_mapper(address: tuple[str, int], folder: Path) -> PortMapper:
    nobody = "http://127.0.0.1:1/nobody"
    found = PmpRouter(OWN, port=address[1])
    return PortMapper(folder, random=Random(1), description_url=nobody, find_pmp_router=lambda: found)


def test_a_port_is_mapped_by_a_lease_renewed_and_removed(fake: FakeRouter, tmp_path: Path) -> None:
    mapper = a_mapper(fake.address, tmp_path)
    answer = mapper.map_port({"10.0.0.7": 9, OWN: PORT})
    assert (answer.state, answer.address) == (RouterState.MAPPED, f"/ip4/{OUTER_HOST}/tcp/{PORT}")
    assert answer.words == "the router forwards port 4120 of 8.8.4.4 to this node"
    assert fake.mappings == {PORT: (PORT, LEASE_S)}
    assert mapper.map_port({OWN: PORT}) == answer
    mapper.remove()
    assert fake.mappings == {}
    mapper.remove()  # nothing is left to remove


def test_the_router_may_give_another_port_and_a_shorter_lease_and_both_are_kept_to(
    fake: FakeRouter, tmp_path: Path
) -> None:
    fake.taken, fake.lease_s_max = {PORT}, 600
    mapper = a_mapper(fake.address, tmp_path)
    assert mapper.map_port({OWN: PORT}).address == f"/ip4/{OUTER_HOST}/tcp/{PORT + 1}"
    assert mapper._lease_s == 600
    fake.taken = set()
    assert mapper.map_port({OWN: PORT}).address == f"/ip4/{OUTER_HOST}/tcp/{PORT + 1}"  # the same one again


def test_a_refusal_is_told_in_words(fake: FakeRouter, tmp_path: Path) -> None:
    fake.result = 2
    answer = a_mapper(fake.address, tmp_path).map_port({OWN: PORT})
    assert (answer.state, "port mapping is turned off" in answer.words) == (RouterState.REFUSED, True)


def test_a_router_that_promises_a_century_is_asked_again_after_an_hour(fake: FakeRouter) -> None:
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
def test_hostile_answers_map_nothing(fake: FakeRouter, hasty: None, datagrams: list[bytes]) -> None:
    fake.answers = lambda _: datagrams
    with pytest.raises(PmpError):
        PmpRouter(OWN, port=fake.address[1]).map_port(PORT, outer=PORT, lease_s=3600)


def test_nobody_else_answers_for_the_router_which_is_asked_twice(fake: FakeRouter, hasty: None) -> None:
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
