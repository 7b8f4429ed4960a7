"""Adapters that a node publishes at bootstrap nodes: those that it sells now."""

from types import SimpleNamespace
from typing import Any

import pytest
from support.market_world.terms import word

from openledger_node.network.peers import PeerService


@pytest.mark.parametrize(("is_ready", "shelf"), [(True, [word("warm"), word("cold")]), (False, [])])
def test_a_paused_node_withdraws_its_adapters(is_ready: bool, shelf: list[str]) -> None:
    peers: Any = SimpleNamespace(
        _offer=object(),
        _state=lambda: SimpleNamespace(is_ready=is_ready),
        _engine=SimpleNamespace(beat=SimpleNamespace(resident=(word("warm"),))),
        _models=SimpleNamespace(sellable=[SimpleNamespace(id=word(name)) for name in ("cold", "warm")]),
    )
    assert PeerService._shelf(peers) == shelf
