"""A laptop that moves into another network listens there without a restart."""

import pytest
import trio
from support.peers import opener
from trio.testing import MockClock

from openledger_node.errors import NetworkError
from openledger_node.p2p.own_host import is_own_host
from openledger_node.p2p.roaming import LOOK_S, listen_where_this_machine_is
from openledger_node.p2p.scopes import host_of
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.libp2p import addresses
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport

FIRST, SECOND = "192.168.1.7", "10.0.0.9"


class Laptop(MemoryTransport):
    """A node in the first network, whose default route can change."""

    def __init__(self) -> None:
        super().__init__(MemoryNetwork(), PeerId("laptop"), listen=(f"/ip4/{FIRST}/tcp/4120",), is_home=True)
        self.host = FIRST
        self.refuses = False
        self.num_asked = self.num_closed = 0

    async def listen_also(self, address: str) -> None:
        self.num_asked += 1
        if self.refuses:
            raise NetworkError("the port is taken")
        await super().listen_also(address)

    async def close_lost(self) -> None:
        await super().close_lost()
        self.num_closed += 1

    async def follow(self) -> None:
        await listen_where_this_machine_is(self, port=4120, find_host=lambda: self.host)


@pytest.mark.parametrize(
    ("host", "num_more", "num_closed"),
    [(FIRST, 0, 4), (SECOND, 1, 3), ("127.0.0.1", 0, 0)],
    ids=["it stays", "it moves", "all its interfaces are lost"],
)
async def test_a_laptop_listens_where_its_way_out_is_and_gives_up_what_it_has_lost(
    host: str, num_more: int, num_closed: int, autojump_clock: MockClock
) -> None:
    laptop = Laptop()
    laptop.host = host
    with trio.move_on_after(4.5 * LOOK_S):
        await laptop.follow()
    assert laptop.listening[1:] == (f"/ip4/{host}/tcp/4120",) * num_more
    assert laptop.num_closed == num_closed


async def test_an_address_that_cannot_be_listened_on_is_tried_again_and_named_once(
    nursery: trio.Nursery, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    laptop = Laptop()
    laptop.host, laptop.refuses = SECOND, True
    nursery.start_soon(laptop.follow)
    await trio.sleep(3.5 * LOOK_S)
    assert laptop.num_asked == 3
    assert [each.getMessage() for each in caplog.records] == [
        f"this machine has moved to {SECOND}, and others can't reach it there: the port is taken"
    ]
    laptop.refuses = False
    await trio.sleep(LOOK_S)
    assert len(laptop.listening) == 2


async def test_a_node_is_reached_where_it_has_moved(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    open_peer = opener("libp2p")
    node, other = open_peer("node"), open_peer("other", is_home=True)
    await nursery.start(node.run)
    await nursery.start(other.run)
    (before,) = node.listening
    monkeypatch.setattr(addresses, "is_own_host", lambda host: host == "127.0.0.2")
    await node.listen_also("/ip4/127.0.0.2/tcp/0")
    assert [host_of(each) for each in node.listening] == ["127.0.0.2"]
    assert await other.connect(f"{node.listening[0]}/p2p/{node.peer_id}", is_trusted=True) == node.peer_id
    with pytest.raises(OSError, match="failed"):
        await trio.open_tcp_stream("127.0.0.1", int(before.rpartition("/")[2]))
    with pytest.raises(NetworkError, match=r"cannot listen on /ip4/192\.0\.2\.1/tcp/0"):
        await node.listen_also("/ip4/192.0.2.1/tcp/0")
    assert len(node.listening) == 1


def test_an_address_is_this_machines_own_while_one_of_its_interfaces_has_it() -> None:
    assert [is_own_host(host) for host in ("127.0.0.1", "192.0.2.1")] == [True, False]
