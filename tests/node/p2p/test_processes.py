"""Peers in processes of their own, over real sockets."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from support.peers import opener, until
from support.processes.bootstrap_node import BootstrapNode, start_bootstrap
from support.processes.living_peer import LivingPeer, wait_until

from openledger_node.p2p.connections import INBOUND
from openledger_node.p2p.transports.libp2p import host

pytestmark = pytest.mark.process
NET = "test-net"
LISTEN = ("/ip4/127.0.0.1/tcp/0",)


class Village:
    """A point, and peers that know nothing but it."""

    def __init__(self, folder: Path, stack: ExitStack, num_peers: int) -> None:
        self.point: BootstrapNode = stack.enter_context(start_bootstrap(folder / "point", network=NET, listen=LISTEN))
        self.peers = [
            stack.enter_context(LivingPeer(folder / f"peer{number}", NET, bootstrap=self.point.addresses))
            for number in range(num_peers)
        ]
        assert all(peer.told for peer in self.peers)

    def is_complete(self) -> bool:
        everybody = {self.point.peer_id, *(peer.peer_id for peer in self.peers)}
        return all(peer.connected() == everybody - {peer.peer_id} for peer in self.peers)


@pytest.fixture
def village(tmp_path: Path) -> Iterator[Village]:
    with ExitStack() as stack:
        yield Village(tmp_path, stack, num_peers=3)


def test_three_that_know_only_the_bootstrap_find_each_other_and_talk(village: Village) -> None:
    took_s = wait_until(village.is_complete, within_s=15)
    print(f"three peers connected {took_s:.2f} s after the last was up")
    ada, ben, carl = village.peers
    learned = [{peer["peer_id"]: peer["learned_from"] for peer in one.ask("known")} for one in village.peers]
    assert {sources.pop(village.point.peer_id) for sources in learned} == {"bootstrap"}
    assert f"rendezvous {village.point.peer_id}" in {source for sources in learned for source in sources.values()}
    for peer in (ben, carl):
        assert ada.ask("echo", peer=peer.peer_id, text="hello " * 5_000) == "hello " * 5_000

    def has_everybody_heard() -> bool:
        ada.ask("publish", text=f"bread at {time.monotonic()}")
        return all(ada.peer_id in {origin for origin, _ in peer.ask("heard")} for peer in (ben, carl))

    print(f"gossip reached all after {wait_until(has_everybody_heard, within_s=15):.2f} s")
    carl.ask("publish", text="lies")
    carl.ask("publish", text="truth")
    wait_until(lambda: [carl.peer_id, "truth"] in ada.ask("heard"))
    assert [carl.peer_id, "lies"] not in ada.ask("heard")


def test_a_peer_that_is_killed_and_comes_back_is_connected_again_in_time(village: Village) -> None:
    wait_until(village.is_complete)
    ada, ben, _ = village.peers
    listen = ben.address.partition("/p2p/")[0]
    ben.kill()
    wait_until(lambda: ben.peer_id not in ada.connected(), within_s=15)
    with LivingPeer(ben.folder, NET, listen=listen, bootstrap=village.point.addresses) as again:
        assert again.peer_id == ben.peer_id
        took_s = wait_until(lambda: again.peer_id in ada.connected(), within_s=15)
        print(f"connected {took_s:.2f} s after the restart")
        assert ada.ask("echo", peer=again.peer_id, text="back?") == "back?"


def test_a_peer_that_was_killed_is_returned_to_by_the_others_alone(village: Village) -> None:
    wait_until(village.is_complete)
    ada, ben, _ = village.peers
    listen = ben.address.partition("/p2p/")[0]
    # A peer that has dialled in is known without an address until the next rendezvous.
    wait_until(
        lambda: ben.peer_id in {peer["peer_id"] for peer in ada.ask("known") if peer["learned_from"] != INBOUND}
    )
    ben.kill()
    wait_until(lambda: ben.peer_id not in ada.connected(), within_s=15)
    for file in ben.folder.glob("peers.json"):
        file.unlink()
    with LivingPeer(ben.folder, NET, listen=listen) as again:
        assert again.told, "its start is not counted"
        took_s = wait_until(lambda: again.peer_id in ada.connected(), within_s=15)
        print(f"returned to {took_s:.2f} s after the restart")


def test_without_the_bootstrap_all_goes_on_and_a_new_one_is_found(village: Village, tmp_path: Path) -> None:
    wait_until(village.is_complete)
    ada, ben, carl = village.peers
    address = village.point.addresses[0].partition("/p2p/")[0]
    os.kill(village.point.process_id, signal.SIGKILL)
    wait_until(lambda: village.point.peer_id not in ada.connected(), within_s=15)
    assert ada.ask("echo", peer=ben.peer_id, text="still here?") == "still here?"
    with start_bootstrap(tmp_path / "point", network=NET, listen=(address,)):
        took_s = wait_until(
            lambda: all(village.point.peer_id in peer.connected() for peer in (ada, ben, carl)), within_s=15
        )
        print(f"the bootstrap is back {took_s:.2f} s after its restart")
        with LivingPeer(tmp_path / "newcomer", NET, bootstrap=village.point.addresses) as dora:
            wait_until(lambda: {ada.peer_id, ben.peer_id, carl.peer_id} <= dora.connected(), within_s=15)


async def test_a_peer_that_falls_silent_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "PING_EVERY_S", 0.2)
    monkeypatch.setattr(host, "PING_S", 0.3)
    ada = opener("libp2p")("ada")
    with LivingPeer(tmp_path, NET) as silent:
        async with trio.open_nursery() as nursery:
            await nursery.start(ada.run)
            await ada.connect(silent.address)
            silent.process.send_signal(signal.SIGSTOP)
            await until(lambda: not ada.connected())
            nursery.cancel_scope.cancel()
