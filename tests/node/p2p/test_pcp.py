"""PCP, over datagrams with a gateway of the test on loopback."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from openledger_node.p2p import nat_pmp
from openledger_node.p2p.nat_pmp import PmpError, PmpRouter, PmpSilentError
from openledger_node.p2p.pcp import PcpRouter, draw_nonce
from openledger_node.p2p.port_mapping import LEASE_S, PortMapper
from openledger_node.p2p.reachability import RouterState

OWN, PORT, OUTER_HOST = "127.0.0.1", 4120, "8.8.4.4"
HEAD, MAPPING = ">BBBBII12x", ">12sB3xHH16s"


def in_ipv6(host: str) -> bytes:
    return bytes(10) + b"\xff\xff" + socket.inet_aton(host)


class FakeGateway:
    """A router that maps ports by PCP; `change` changes its answers. It answers NAT-PMP with its own version."""

    def __init__(self) -> None:
        self.host = OUTER_HOST
        self.result = 0
        self.taken: set[int] = set()
        self.lease_s_max = 7200
        self.mappings: dict[int, tuple[bytes, int, int]] = {}  # inner port → nonce, outer port, lease in seconds
        self.num_pmp = 0
        self.change: Callable[[bytes], bytes | None] = lambda answer: answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((OWN, 0))
        self.address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def answer(self, request: bytes) -> bytes | None:
        version, operation = request[:2]
        if version != 2:
            self.num_pmp += 1
            return struct.pack(HEAD, 2, 128 + operation, 0, 1, 0, 9)
        assert len(request) == 60
        lease_s, own = struct.unpack_from(">4xI16s", request)
        nonce, protocol, inner, outer, _ = struct.unpack_from(MAPPING, request, 24)
        assert (operation, protocol, own) == (1, 6, in_ipv6(OWN))
        if self.result:
            return struct.pack(HEAD, 2, 129, 0, self.result, 60, 9) + request[24:]
        if lease_s and self.mappings.get(inner, (nonce,))[0] != nonce:
            return struct.pack(HEAD, 2, 129, 0, 2, 60, 9) + request[24:]  # it belongs to somebody else
        lease_s = min(lease_s, self.lease_s_max)
        if lease_s:
            outer = outer + 1 if outer in self.taken else outer
            self.mappings[inner] = (nonce, outer, lease_s)
        elif self.mappings.get(inner, (b"",))[0] == nonce:  # a stranger can't remove it
            del self.mappings[inner]
        mapping = struct.pack(MAPPING, nonce, 6, inner, outer, in_ipv6(self.host))
        return struct.pack(HEAD, 2, 129, 0, 0, lease_s, 9) + mapping

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
            if (answer := self.answer(request)) is not None and (changed := self.change(answer)) is not None:
                self._socket.sendto(changed, origin)


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    yield fake
    fake.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nat_pmp, "WAITS_S", (0.05, 0.05))


def a_mapper(fake: FakeGateway, folder: Path) -> PortMapper:
    nobody = "http://127.0.0.1:1/nobody"
    found = PmpRouter(OWN, port=fake.address[1])
    return PortMapper(folder, random=Random(1), description_url=nobody, find_pmp_router=lambda: found)


def test_a_router_that_knows_pcp_alone_maps_a_port_renews_it_and_removes_it(
    fake: FakeGateway, tmp_path: Path
) -> None:
    mapper = a_mapper(fake, tmp_path)
    answer = mapper.map_port({"10.0.0.7": 9, OWN: PORT})
    assert (answer.state, answer.address) == (RouterState.MAPPED, f"/ip4/{OUTER_HOST}/tcp/{PORT}")
    (nonce, outer, lease_s) = fake.mappings[PORT]
    assert (outer, lease_s) == (PORT, LEASE_S)
    assert mapper.map_port({OWN: PORT}) == answer
    assert fake.mappings[PORT][0] == nonce, "renewed by the same number, or the router would map a second port"
    assert fake.num_pmp == 1, "the older protocol is not tried again"
    mapper.remove()
    assert fake.mappings == {}


def test_the_router_may_give_another_port_and_a_shorter_lease_and_both_are_kept_to(
    fake: FakeGateway, tmp_path: Path
) -> None:
    fake.taken, fake.lease_s_max = {PORT}, 600
    mapper = a_mapper(fake, tmp_path)
    assert mapper.map_port({OWN: PORT}).address == f"/ip4/{OUTER_HOST}/tcp/{PORT + 1}"
    assert mapper._lease_s == 600


@pytest.mark.parametrize(("host", "state"), [("100.64.3.1", RouterState.SHARED), ("192.168.0.2", RouterState.INNER)])
def test_a_port_at_an_address_that_nobody_reaches_is_removed_again(
    fake: FakeGateway, tmp_path: Path, host: str, state: RouterState
) -> None:
    fake.host = host
    assert a_mapper(fake, tmp_path).map_port({OWN: PORT}).state is state
    assert fake.mappings == {}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (2, "not allowed for this machine"),
        (8, "no port left"),
        (77, "the result 77, which the protocol does not know"),
    ],
)
def test_a_refusal_is_told_in_words(fake: FakeGateway, tmp_path: Path, result: int, words: str) -> None:
    fake.result = result
    answer = a_mapper(fake, tmp_path).map_port({OWN: PORT})
    assert answer.state is RouterState.REFUSED
    assert words in answer.words


def test_a_router_that_is_silent_to_both_protocols_is_absent(fake: FakeGateway, tmp_path: Path, hasty: None) -> None:
    fake.change = lambda _: None
    assert a_mapper(fake, tmp_path).map_port({OWN: PORT}).state is RouterState.ABSENT


def test_a_mapping_whose_answer_was_lost_is_still_this_nodes(fake: FakeGateway, tmp_path: Path, hasty: None) -> None:
    """With another number the router refused the port until the lease was over."""
    mapper = a_mapper(fake, tmp_path)
    assert mapper.map_port({OWN: PORT}).state is RouterState.MAPPED
    fake.change = lambda _: None
    assert mapper.map_port({OWN: PORT}).state is RouterState.ABSENT
    fake.change = lambda answer: answer
    assert mapper.map_port({OWN: PORT}).state is RouterState.MAPPED
    mapper.remove()
    assert fake.mappings == {}


def test_a_node_that_listens_elsewhere_maps_nothing(fake: FakeGateway, tmp_path: Path) -> None:
    assert a_mapper(fake, tmp_path).map_port({"192.168.1.7": PORT}).state is RouterState.ABSENT
    assert fake.mappings == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda answer: answer[:24],
        lambda answer: answer[:59],
        lambda answer: b"\x09" + answer[1:],  # another version
        lambda answer: answer[:24] + bytes(12) + answer[36:],  # another number than that of the request
        lambda answer: answer[:36] + b"\x11" + answer[37:],  # UDP
        lambda answer: answer[:40] + b"\x00\x16" + answer[42:],  # another inner port
        lambda answer: answer[:42] + bytes(2) + answer[44:],  # no outer port
        lambda answer: answer[:44] + bytes(16),  # no IPv4 address
        lambda answer: answer[:4] + bytes(4) + answer[8:],  # no time
        lambda answer: answer[:1] + b"\x01" + answer[2:],  # no answer
    ],
)
def test_hostile_answers_map_nothing(fake: FakeGateway, hasty: None, change: Callable[[bytes], bytes]) -> None:
    fake.change = change
    with pytest.raises(PmpError):
        PcpRouter(fake.address, draw_nonce()).map_port(PORT, outer=PORT, lease_s=3600)


def test_where_nobody_listens_the_answer_says_so(hasty: None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((OWN, 0))
        address = free.getsockname()
    with pytest.raises(PmpSilentError):
        PcpRouter(address, draw_nonce()).map_port(PORT, outer=PORT, lease_s=3600)
