"""Somebody who knows the reference pages alone buys an answer of nodes that have never heard of it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from support import stranger
from support.towns import ask, wait_for

from openledger_node.chain.clients.evm import open_client
from openledger_node.chain.dev.faucet import fund
from openledger_node.demo.processes import OperatorHome, Process, closing_all
from openledger_node.network_file import Network, network_id_for_development, read_network
from openledger_protocol.primitives import Address

pytestmark = pytest.mark.slow

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
NODE = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_P2P_LISTEN": LOOPBACK,
    "OPENLEDGER_SETTLEMENT_CLAIM_INTERVAL_S": "1",
}
ENDS_S = 120


class Place:
    """A chain, a point to meet at, and a network.json."""

    def __init__(self, root: Path, opened: list[Any]) -> None:
        self._root, self._opened = root, opened
        host = self._home("host", {})
        chain = self._read(host.start("devnet", "start", "--port", "0", "--json"))
        words = ["--network", network_id_for_development(chain["genesis_hash"]), "--listen", LOOPBACK, "--json"]
        point = self._read(host.start("peers", "bootstrap", *words))
        self.file = root / "network.json"
        flags = ["--rpc", chain["url"], "--out", str(self.file), "--bootstrap", point["addresses"][0], "--yes"]
        host.run("network", "init", *flags)

    @property
    def network(self) -> Network:
        return read_network(self.file)

    def begin_node(self, name: str) -> OperatorHome:
        """A node that bonds itself and sells; nobody waits for it."""
        node = self._home(name, NODE)
        node.run("network", "join", str(self.file), "--yes")
        node.start_daemon()
        return node

    def _home(self, name: str, settings: dict[str, str]) -> OperatorHome:
        home = OperatorHome(name, self._root / name, settings)
        self._opened.append(home)
        return home

    def _read(self, process: Process) -> Any:
        self._opened.append(process)
        return process.read_object()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with closing_all() as opened:
        yield Place(tmp_path, opened)


def start_stranger(file: Path, key: str) -> "subprocess.Popen[str]":
    """In a process of its own, which is given network.json and a key."""
    return subprocess.Popen(
        [sys.executable, stranger.__file__, str(file)],
        env={"PATH": os.environ["PATH"], "STRANGER_KEY": key},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def claimed_as(node: OperatorHome, seq: int) -> dict[str, Any] | None:
    """A node's claim, once the chain has it."""
    claims = [each for each in ask(node, "rewards")["claims"] if each["seq"] == seq]
    return next((each for each in claims if each["state"] in ("claimed", "proposed", "final")), None)


def test_a_stranger_who_has_read_the_reference_joins_buys_countersigns_and_is_charged(place: Place) -> None:
    payer = Account.from_key(secrets.token_bytes(32))
    client = open_client(place.network.rpc[0])
    fund(client, place.network, Address(payer.address), coin_wei=10**18, open_wei=10**18)
    client.close()
    process = start_stranger(place.file, payer.key.hex())
    with ThreadPoolExecutor() as pool:
        nodes = list(pool.map(place.begin_node, ("a", "b")))
    told, why = process.communicate(timeout=ENDS_S)
    assert process.returncode == 0, why
    bought = json.loads(told.splitlines()[-1])
    assert bought["vouchers"] > 1
    assert len(bought["text"]) == stranger.TOKENS

    (seller,) = [node for node in nodes if ask(node, "stake")["node"] == bought["node"]]
    (receipt,) = ask(seller, "receipts", limit=10)["receipts"]
    assert receipt["digest"] == bought["digest"]
    assert receipt["amount_wei"] == bought["amount_wei"]
    wait_for(lambda: ask(seller, "receipts", limit=10)["receipts"][0]["is_countersigned"])
    claim = wait_for(lambda: ask(seller, "receipts", limit=10)["receipts"][0]["claim"])
    claimed = wait_for(lambda: claimed_as(seller, claim["seq"]))
    assert claimed["gross_wei"] == bought["amount_wei"]
