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
from support.processes import stranger
from support.processes.network import RunningNetwork, ask
from support.processes.nodes import wait_for

from openledger_node.chain.clients.evm import open_client
from openledger_node.chain.dev.faucet import fund
from openledger_node.demo.processes import OperatorHome, closing_all
from openledger_protocol.primitives import Address

pytestmark = pytest.mark.process

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
NODE = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_P2P_LISTEN": LOOPBACK,
    "OPENLEDGER_SETTLEMENT_CLAIM_INTERVAL_S": "1",
}
ENDS_S = 120


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningNetwork]:
    """A chain and a bootstrap node; each node bonds itself and sells."""
    with closing_all() as opened:
        network = RunningNetwork(root=tmp_path, opened=opened, settings=NODE)
        network.begin_chain()
        yield network


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
    return next((each for each in claims if each["state"] in ("claimed", "proposed", "drawn", "final")), None)


def test_a_stranger_who_has_read_the_reference_joins_buys_countersigns_and_is_charged(
    running: RunningNetwork,
) -> None:
    payer = Account.from_key(secrets.token_bytes(32))
    client = open_client(running.network.rpc[0])
    fund(client, running.network, Address(payer.address), coin_wei=10**18, open_wei=10**18)
    client.close()
    process = start_stranger(running.network_file, payer.key.hex())
    with ThreadPoolExecutor() as pool:
        nodes = list(pool.map(running.start_node, ("a", "b")))
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
