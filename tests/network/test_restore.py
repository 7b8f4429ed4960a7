"""A seller whose first payer is a stranger to its code, and which is lost and comes back from its backup."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from network import stranger
from network.running_network import RunningNetwork, answer_of, ask, status_of
from support.processes.nodes import wait_for

from openledger_node.chain.clients.evm import open_client
from openledger_node.chain.dev.faucet import fund
from openledger_node.demo.processes import OperatorHome, closing_all
from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger
from openledger_protocol.primitives import Address

pytestmark = pytest.mark.process

NODE = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_P2P_LISTEN": "/ip4/127.0.0.1/tcp/0",
}
STRANGER_S = 120


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningNetwork]:
    """A chain and a bootstrap node; each node bonds itself."""
    with closing_all() as opened:
        network = RunningNetwork(root=tmp_path, opened=opened, settings=NODE)
        network.begin_chain()
        yield network


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("correct horse\n")
    return file


def start_requester(running: RunningNetwork) -> OperatorHome:
    requester = running._node("r", None, {"OPENLEDGER_NODE_SERVE": "false"})
    requester.start_daemon()
    return requester


def is_selling(requester: OperatorHome, generation: str | None = None) -> bool:
    """True if the requester hears of a node that sells and has bonded, whose ledger is of that generation."""
    wait_for(lambda: status_of(requester)["peer_id"])  # it is on its network, and can be asked
    sellers = [peer for peer in ask(requester, "peers")["peers"] if peer["serves"] and peer["seller"]]
    return any(
        int(peer["seller"]["bonded_wei"] or 0) and generation in (None, peer["generation"]) for peer in sellers
    )


def receipts_of(node: OperatorHome, network: str) -> dict[str, Any]:
    with closing(open_ledger(Home(node.root).ledger(network), is_writer=False)) as ledger:
        return {row.digest: row.receipt for row in ledger.receipts.newest(limit=100)}


def check_no_wei_signed_twice(receipts: dict[str, Any]) -> None:
    ends: dict[str, int] = {}
    for receipt in sorted(receipts.values(), key=lambda each: (each.channel_id, each.cumulative_wei)):
        assert receipt.cumulative_wei - receipt.amount_wei == ends.get(receipt.channel_id, 0)
        ends[receipt.channel_id] = receipt.cumulative_wei


def start_stranger(running: RunningNetwork) -> "subprocess.Popen[str]":
    """Somebody who knows the reference pages alone, in a process that is given network.json and a key with money."""
    payer = Account.from_key(secrets.token_bytes(32))
    with closing(open_client(running.network.rpc[0])) as client:
        fund(client, running.network, Address(payer.address), coin_wei=10**18, open_wei=10**18)
    return subprocess.Popen(
        [sys.executable, stranger.__file__, str(running.network_file)],
        env={"PATH": os.environ["PATH"], "STRANGER_KEY": payer.key.hex()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_strangers_answer(seller: OperatorHome, process: "subprocess.Popen[str]") -> None:
    """Require that the stranger joined, bought, countersigned and is charged as by any other payer."""
    told, why = process.communicate(timeout=STRANGER_S)
    assert process.returncode == 0, why
    bought = json.loads(told.splitlines()[-1])
    assert bought["vouchers"] > 1
    assert len(bought["text"]) == stranger.TOKENS
    assert ask(seller, "stake")["node"] == bought["node"]
    (receipt,) = ask(seller, "receipts", limit=10)["receipts"]
    assert (receipt["digest"], receipt["amount_wei"]) == (bought["digest"], bought["amount_wei"])
    wait_for(lambda: ask(seller, "receipts", limit=10)["receipts"][0]["is_countersigned"])
    claim = wait_for(lambda: ask(seller, "receipts", limit=10)["receipts"][0]["claim"])
    claimed = wait_for(lambda: claimed_as(seller, claim["seq"]))
    assert claimed["gross_wei"] == bought["amount_wei"]


def claimed_as(node: OperatorHome, seq: int) -> dict[str, Any] | None:
    """A node's claim, once the chain has it."""
    claims = [each for each in ask(node, "rewards")["claims"] if each["seq"] == seq]
    return next((each for each in claims if each["state"] in ("claimed", "proposed", "drawn", "final")), None)


def test_a_wiped_node_comes_back_from_its_backup_and_signs_nothing_old(
    running: RunningNetwork, password: Path, tmp_path: Path
) -> None:
    network, words = running.network.network, ("--password-file", str(password))
    process = start_stranger(running)
    seller = running.start_node("a")
    check_strangers_answer(seller, process)
    requester = start_requester(running)
    wait_for(lambda: is_selling(requester))
    answer_of(requester, 40)
    wait_for(lambda: all(each["is_countersigned"] for each in ask(seller, "receipts", limit=9)["receipts"]))
    made = seller.run("backup", str(tmp_path / "node.backup"), *words)
    assert made["networks"] == [network]
    for _ in range(2):
        answer_of(requester, 40)
    address = status_of(seller)["address"]
    seller.close()
    signed = receipts_of(seller, network)
    assert len(signed) == 4

    shutil.rmtree(seller.root)
    seller.root.mkdir()
    restored = seller.run("restore", str(tmp_path / "node.backup"), *words)
    (generation,) = restored["generations"].values()
    seller.start_daemon()
    wait_for(lambda: is_selling(requester, generation))
    assert status_of(seller)["address"] == address
    answer_of(requester, 40)
    bought, sold = receipts_of(requester, network), receipts_of(seller, network)
    (new,) = [receipt for digest, receipt in sold.items() if digest not in signed]
    (old,) = {receipt.channel_id for digest, receipt in bought.items() if digest in signed}
    assert new.channel_id != old
    assert {each.channel_id for each in bought.values()} == {new.channel_id, old}
    check_no_wei_signed_twice(signed | sold | bought)
    claimed = wait_for(lambda: claimed_of(seller, new.channel_id, int(new.cumulative_wei)))
    bought_wei = max(each.cumulative_wei for each in bought.values() if each.channel_id == old)
    assert int(claimed[old]) <= bought_wei, "no more than was bought"


def claimed_of(seller: OperatorHome, channel: str, least_wei: int) -> dict[str, str] | None:
    """What the chain has claimed of each channel, once one has been claimed up to an amount."""
    found = {each["channel_id"]: each["claimed_wei"] for each in ask(seller, "channels")["channels"]}
    return found if int(found.get(channel, 0)) >= least_wei else None
