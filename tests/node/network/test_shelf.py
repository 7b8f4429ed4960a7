"""Records of a node at bootstrap nodes: the adapters that it sells now, and the rows that it holds."""

from types import SimpleNamespace
from typing import Any

import pytest
from support.market_world.terms import word

from openledger_node.network.peers import PeerService


@pytest.mark.parametrize(("is_ready", "shelf"), [(True, ["warm", "cold", "rows"]), (False, ["rows"])])
def test_a_paused_node_withdraws_its_adapters_and_keeps_its_rows(is_ready: bool, shelf: list[str]) -> None:
    peers: Any = SimpleNamespace(
        _offer=object(),
        _state=lambda: SimpleNamespace(is_ready=is_ready),
        _engine=SimpleNamespace(beat=SimpleNamespace(resident=(word("warm"),))),
        _models=SimpleNamespace(sellable=[SimpleNamespace(id=word(name)) for name in ("cold", "warm")]),
        _rows=SimpleNamespace(topics=lambda: [word("rows")]),
    )
    assert PeerService._shelf(peers) == [word(name) for name in shelf]
