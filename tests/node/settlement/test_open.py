"""A home's own development chain when a release brings contracts of another version."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.deployed import deployed_chain

from openledger_node.config import Config
from openledger_node.errors import ChainError
from openledger_node.home import Home
from openledger_node.network_file import embed_network
from openledger_node.settlement import open as open_module
from openledger_node.settlement.open import open_home_network


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """One whose chain has run, and does not start now."""

    def refuse(*_: object, **__: object) -> Any:
        raise ChainError("no chain in this test")

    monkeypatch.setattr(open_module, "start_devnet", refuse)
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


def test_a_chain_of_earlier_contracts_is_put_aside_whole(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    file = home.network_file(home.embedded_network.read_text().strip())
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": "openledger.network/1"}))
    start(home)
    (aside,) = chains(home)
    assert aside.startswith("devnet-")
    assert (home.root / aside / "chain.db").read_text() == "blocks"
    assert f"it is in {home.root / aside}, and a new one begins" in caplog.text
    assert not home.embedded_network.exists()
    assert file.exists(), "its ledger and keys stay beside it"


def test_a_home_without_a_chain_has_nothing_to_put_aside(home: Home) -> None:
    home.embedded_network.write_text("no such network\n")
    start(home)
    assert chains(home) == ["devnet"]
