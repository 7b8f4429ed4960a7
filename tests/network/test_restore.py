"""A node that was lost comes back from its backup, and two copies of a node notice each other: real processes."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.processes.network import RunningNetwork, answer_of, ask, status_of
from support.processes.nodes import wait_for

from openledger_node.demo.processes import OperatorHome, closing_all
from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger

pytestmark = pytest.mark.process

NODE = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_P2P_LISTEN": "/ip4/127.0.0.1/tcp/0",
    "OPENLEDGER_SETTLEMENT_CLAIM_INTERVAL_S": "1",
}
NOTICED_S, SILENT_S = 240, 180
"""Each copy asks some peer twice a minute, and hears of the other if it advertised last. That lasts two minutes."""


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


def test_a_wiped_node_comes_back_from_its_backup_and_signs_nothing_old(
    running: RunningNetwork, password: Path, tmp_path: Path
) -> None:
    network, words = running.network.network, ("--password-file", str(password))
    seller, requester = running.start_node("a"), start_requester(running)
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
    assert len(signed) == 3

    shutil.rmtree(seller.root)
    seller.root.mkdir()
    restored = seller.run("restore", str(tmp_path / "node.backup"), *words)
    (generation,) = restored["generations"].values()
    seller.start_daemon()
    wait_for(lambda: is_selling(requester, generation))
    assert status_of(seller)["address"] == address
    answer_of(requester, 40)
    (new, old) = receipts_of(seller, network).values()
    assert new.channel_id != old.channel_id
    bought = receipts_of(requester, network)
    assert {each.channel_id for each in bought.values()} == {new.channel_id, old.channel_id}
    check_no_wei_signed_twice(signed | receipts_of(seller, network) | bought)
    claimed = wait_for(lambda: claimed_of(seller, new.channel_id, int(new.cumulative_wei)))
    assert int(claimed[old.channel_id]) <= bought_on(bought, old.channel_id), "no more than was bought"


def bought_on(receipts: dict[str, Any], channel: str) -> int:
    return max(each.cumulative_wei for each in receipts.values() if each.channel_id == channel)


def claimed_of(seller: OperatorHome, channel: str, least_wei: int) -> dict[str, str] | None:
    """What the chain has claimed of each channel, once one has been claimed up to an amount."""
    found = {each["channel_id"]: each["claimed_wei"] for each in ask(seller, "channels")["channels"]}
    return found if int(found.get(channel, 0)) >= least_wei else None


def why_idle(node: OperatorHome) -> str:
    return str(status_of(node)["why_idle"])


@pytest.mark.deep(reason="tests/node/market/test_second_copy.py has the rules, without the minutes of silence")
def test_two_copies_of_a_node_stop_selling_and_the_one_that_is_left_goes_on(running: RunningNetwork) -> None:
    seller, requester = running.start_node("a"), start_requester(running)
    wait_for(lambda: is_selling(requester))
    seller.close()
    shutil.copytree(seller.root, seller.root.with_name("copy"), ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    copy = running._node("copy", None, {})
    copy.start_daemon()
    seller.start_daemon()
    for node in (seller, copy):
        wait_for(lambda node=node: "a second copy of this node" in why_idle(node), within_s=NOTICED_S)
    assert not ask(seller, "receipts", limit=9)["receipts"]
    copy.close()
    wait_for(lambda: "a second copy of this node" not in why_idle(seller), within_s=SILENT_S)
    wait_for(lambda: is_selling(requester))
    answer_of(requester, 20)
