"""Peers in processes of their own, over real sockets."""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from node.p2p.bootstrap_node import start_bootstrap
from support.processes.living_peer import LivingPeer
from support.processes.nodes import wait_for

pytestmark = pytest.mark.process
NET = "test-net"
LISTEN = ("/ip4/127.0.0.1/tcp/0",)


def are_connected(*peer_ids: str, peers: list[LivingPeer]) -> bool:
    """True if each of these peers is connected with all others."""
    everybody = {*peer_ids, *(peer.peer_id for peer in peers)}
    return all(peer.connected() >= everybody - {peer.peer_id} for peer in peers)


def test_peers_that_know_only_a_bootstrap_node_find_each_other_and_return_to_whom_was_killed(tmp_path: Path) -> None:
    """Streams and gossip reach all of them, also while the bootstrap node is gone."""
    with ExitStack() as stack:
        point = stack.enter_context(start_bootstrap(tmp_path / "point", network=NET, listen=LISTEN))
        ada, ben, carl = (
            stack.enter_context(LivingPeer(tmp_path / name, NET, bootstrap=point.addresses))
            for name in ("ada", "ben", "carl")
        )
        wait_for(lambda: are_connected(point.peer_id, peers=[ada, ben, carl]))
        learned = [{peer["peer_id"]: peer["learned_from"] for peer in one.ask("known")} for one in (ada, ben, carl)]
        assert {sources.pop(point.peer_id) for sources in learned} == {"bootstrap"}
        assert f"rendezvous {point.peer_id}" in {source for sources in learned for source in sources.values()}
        assert ada.ask("echo", peer=ben.peer_id, text="hello " * 5_000) == "hello " * 5_000

        def has_everybody_heard() -> bool:
            ada.ask("publish", text=f"bread at {time.monotonic()}")
            return all(ada.peer_id in {origin for origin, _ in peer.ask("heard")} for peer in (ben, carl))

        wait_for(has_everybody_heard)
        carl.ask("publish", text="lies")
        carl.ask("publish", text="truth")
        wait_for(lambda: [carl.peer_id, "truth"] in ada.ask("heard"))
        assert [carl.peer_id, "lies"] not in ada.ask("heard")

        ben.kill()
        wait_for(lambda: ben.peer_id not in ada.connected())
        listen = ben.address.partition("/p2p/")[0]
        again = stack.enter_context(LivingPeer(ben.folder, NET, listen=listen, bootstrap=point.addresses))
        assert again.peer_id == ben.peer_id
        wait_for(lambda: again.peer_id in ada.connected())
        assert ada.ask("echo", peer=again.peer_id, text="back?") == "back?"

        address = point.addresses[0].partition("/p2p/")[0]
        os.kill(point.process_id, signal.SIGKILL)
        wait_for(lambda: point.peer_id not in ada.connected())
        assert ada.ask("echo", peer=carl.peer_id, text="still here?") == "still here?"
        stack.enter_context(start_bootstrap(tmp_path / "point", network=NET, listen=(address,)))
        wait_for(lambda: are_connected(point.peer_id, peers=[ada, again, carl]))
        dora = stack.enter_context(LivingPeer(tmp_path / "dora", NET, bootstrap=point.addresses))
        wait_for(lambda: are_connected(point.peer_id, peers=[ada, again, carl, dora]))
