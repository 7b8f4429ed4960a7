"""A home's network: its own chain when a release brings other contracts, and the endpoints of a chain."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.chain_world.deployed import deployed_chain

from openledger_node.config import Config
from openledger_node.errors import ChainError, ConfigError
from openledger_node.home import Home
from openledger_node.network_file import AUTO, Network, current_network, embed_network
from openledger_node.settlement import early_chain as early_chain_module
from openledger_node.settlement import open as open_module
from openledger_node.settlement.early_chain import early_chain
from openledger_node.settlement.open import open_chain, open_home_network


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """One whose chain has run, and does not start now."""

    def refuse(*_: object, **__: object) -> Any:
        raise ChainError("no chain in this test")

    monkeypatch.setattr(early_chain_module, "begin_devnet", refuse)
    home = Home(tmp_path)
    embed_network(home, deployed_chain().network)
    home.devnet.mkdir()
    (home.devnet / "chain.db").write_text("blocks")
    return home


def chains(home: Home) -> list[str]:
    return [path.name for path in sorted(home.root.glob("devnet*"))]


def start(home: Home) -> None:
    with open_home_network(home, Config()) as found:
        assert found.why_none == "no chain in this test"


def test_a_chain_of_this_releases_contracts_goes_on(home: Home) -> None:
    start(home)
    assert chains(home) == ["devnet"]
    assert home.embedded_network.exists()
    with early_chain(home, replace(Config(), node=replace(Config().node, network="local"))) as begun:
        assert begun is None, "a node without a chain of its own starts none early"


def test_a_chain_whose_network_another_version_wrote_is_refused_and_left_as_it_is(home: Home) -> None:
    file = home.network_file(home.embedded_network.read_text().strip())
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": "openledger.network/7"}))
    found = file.read_text()
    with pytest.raises(ConfigError, match="Move it aside and join a network again: nothing in it was changed"):
        current_network(home, AUTO)
    start(home)
    assert chains(home) == ["devnet"]
    assert file.read_text() == found


# ---- endpoints


class Endpoints:
    """Opens endpoints by their names: `down` and `other` are of no use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(open_module, "load_plug", lambda *_: self.open)
        monkeypatch.setattr(open_module, "check_identity", self.check)

    def open(self, url: str, *, second: Any = None, **_: Any) -> Any:
        return SimpleNamespace(url=url, second=second, close=lambda: None)

    def check(self, client: Any, _: Network) -> None:
        if "down" in client.url:
            raise ChainError(f"{client.url} does not answer")


@pytest.mark.parametrize(
    ("own", "rpc", "used"),
    [
        ("", ["http://a"], ["http://a"]),
        ("", ["http://a", "http://b", "http://c"], ["http://a", "http://b"]),
        ("", ["http://down", "http://b", "http://down2", "http://c"], ["http://b", "http://c"]),
        ("http://own", ["http://a", "http://b"], ["http://own"]),
    ],
    ids=["one", "two agree", "two that answer", "the operator's alone"],
)
def test_a_second_endpoint_of_the_network_must_agree(
    monkeypatch: pytest.MonkeyPatch, own: str, rpc: list[str], used: list[str]
) -> None:
    Endpoints(monkeypatch)
    network = replace(deployed_chain().network, rpc=tuple(rpc))
    found: Any = open_chain(network, replace(Config(), chain=replace(Config().chain, rpc=own)))
    assert [found.url, *([found.second.url] if found.second else [])] == used
    silent = replace(network, rpc=("http://down1", "http://down2"))
    with pytest.raises(ChainError, match="http://down1 does not answer; http://down2 does not answer"):
        open_chain(silent, Config())
