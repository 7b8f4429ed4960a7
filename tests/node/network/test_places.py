"""Places that a node keeps for peers that dial in: for those it has met, sellers with a bond, and payers."""

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support.market_world.seller import signed_ad
from support.market_world.terms import NETWORK, NOW_S, peer_id_of
from support.peers import opener

from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.market.board import AdTable
from openledger_node.market.worth import Worth
from openledger_node.network.buying import open_connections
from openledger_node.p2p.transports.libp2p import Libp2pTransport
from openledger_protocol.primitives import Wei


def test_a_seller_with_a_bond_and_a_peer_that_pays_get_a_reserved_place_and_a_stranger_none(tmp_path: Path) -> None:
    transport = opener("libp2p")("me")
    assert isinstance(transport, Libp2pTransport)
    bonds = {peer_id_of("bonded"): Wei(10**18), peer_id_of("poor"): Wei(0)}
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        ads = AdTable(NETWORK, lambda: NOW_S, ledger.peers)
        ads.worth_of = lambda ad: Worth(bonded_wei=bonds.get(ad.peer_id))  # type: ignore[call-overload]  # a peer id
        network: Any = SimpleNamespace(network=NETWORK, bootstrap=())
        open_connections(Home(tmp_path), network, transport, ads, lambda peer_id: peer_id == peer_id_of("payer"))
        for name in ("bonded", "poor", "unread"):
            assert ads.learn(signed_ad(name)), ads.why_refused
        names = ("bonded", "poor", "unread", "silent", "payer")
        known = [name for name in names if transport._budget.is_known(peer_id_of(name))]
    assert known == ["bonded", "payer"]
