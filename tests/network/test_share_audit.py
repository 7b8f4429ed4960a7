"""`attribution audit`: a test buyer finds a node that lies about shares, and one that doesn't: real processes."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import run_command
from support.processes.network import FAKE, RunningNetwork, ask, status_of
from support.processes.nodes import node_environment, wait_for
from support.processes.taught import NAME, account_of, teach

from openledger_node.demo.processes import OperatorHome, closing_all
from openledger_node.home import Home

pytestmark = pytest.mark.slow

NODE = {**FAKE, "OPENLEDGER_NODE_AUTO_BOND": "true", "OPENLEDGER_PAYER_KEEP_TEXTS_S": "0"}
THIEF = account_of("thief")
LIE = f'''
from dataclasses import replace
from openledger_node.network import selling
honest = selling.registered_shares
selling.registered_shares = lambda *given: (replace(honest(*given)[0], account="{THIEF}", ppm=1_000_000),)
'''
"""Run by every Python process that finds it at its start: the node gives the Datanet's fee to a thief."""

OK, WRONG = 0, 1


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    """A node that sells an adapter, and a requester that has pulled it with its rows."""
    root = tmp_path_factory.mktemp("audited")
    with closing_all() as opened:
        network = RunningNetwork(root=root, opened=opened, settings=NODE)
        network.begin_chain()
        network.a = network._node("a", None, {})
        network.r = network._node("r", None, {"OPENLEDGER_NODE_SERVE": "false"})
        for node in (network.a, network.r):
            node.start_daemon()
            wait_for(lambda node=node: status_of(node)["chain"] == "ok")
        teach(network.a.run, root / "taught")
        wait_for(lambda: is_sold_to(network.r))
        yield network


def is_sold_to(requester: OperatorHome) -> bool:
    return any(peer["serves"] and NAME in str(peer["adapters"]) for peer in ask(requester, "peers")["peers"])


def audit(node: OperatorHome, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = node_environment(Home(node.root), **{**NODE, "OPENLEDGER_NODE_NETWORK": "auto"})
    return run_command("attribution", "audit", "--adapter", NAME, *words, env=environment)


def read(ran: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_an_audit_needs_the_adapter_and_says_how_to_get_it(running: RunningNetwork) -> None:
    ran = audit(running.r, "--yes")
    assert ran.returncode != OK
    assert "adapters" in ran.stderr


def test_an_honest_node_is_right_in_every_receipt(running: RunningNetwork) -> None:
    running.r.run("adapters", "pull", NAME)
    ran = audit(running.r, "--requests", "4", "--max-tokens", "24", "--yes", "--json")
    assert ran.returncode == OK, ran.stderr
    found = read(ran)
    assert (found["right"], found["wrong"], found["unknown"], found["failures"]) == (4, 0, 0, []), ran.stderr
    assert found["spent_wei"] == str(sum(int(each["amount_wei"]) for each in found["receipts"]))
    assert int(found["spent_wei"]) <= int(found["budget_wei"])
    assert status_of(running.r)["money"]["audits"]["right"] == 4


def test_a_budget_ends_the_purchases(running: RunningNetwork) -> None:
    ran = audit(running.r, "--requests", "3", "--budget", "0.000000000000000001", "--yes", "--json")
    assert "nothing was tested" in ran.stderr
    assert (read(ran)["left_out"], read(ran)["receipts"]) == (3, [])


def test_without_a_terminal_nothing_is_bought_unconfirmed(running: RunningNetwork) -> None:
    ran = audit(running.r, "--requests", "2")
    assert ran.returncode != OK
    assert "OPEN" in ran.stderr, "the cost is shown first"
    assert "--yes" in ran.stderr


def test_a_node_that_lies_is_named_with_the_command_for_a_case(running: RunningNetwork, tmp_path: Path) -> None:
    liar = running.a
    liar.close()
    (tmp_path / "sitecustomize.py").write_text(LIE)
    liar._environment["PYTHONPATH"] = str(tmp_path)
    liar.start_daemon()
    wait_for(lambda: status_of(liar)["chain"] == "ok" and is_sold_to(running.r))
    wallet = status_of(liar)["address"]
    ran = wait_for(lambda: served(audit(running.r, "--requests", "3", "--node", wallet, "--yes")))
    assert ran.returncode == WRONG, ran.stderr
    assert "0 right, 1 wrong, 0 unknown" in ran.stdout, "no second answer is bought from it"
    (digest,) = re.findall(r"`openledger-node attribution challenge (0x[0-9a-f]{64})`", ran.stdout)
    bought_s = time.time()
    wait_for(lambda: chain_time_s(running.r) > bought_s)  # the receipt may be of a later second than the last block
    running.r.run("attribution", "challenge", digest, "--yes")  # by the texts that were held, though none are kept
    (case,) = wait_for(lambda: running.r.run("attribution", "cases")["cases"])  # once the daemon has seen the block
    assert (case["digest"], case["node"], case["shares_are_right"]) == (digest, wallet, False)
    wait_for(lambda: any(f"{wallet} signed wrong shares" in alert for alert in alerts_of(running.r)))
    wait_for(lambda: any("There is a case about it" in alert for alert in alerts_of(running.r)))
    again = audit(running.r, "--requests", "1", "--yes")
    assert "signed wrong shares" in again.stderr, "nothing more is bought from it"
    running.r.run("attribution", "forgive", wallet, "--yes")
    wait_for(lambda: not any("wrong shares" in alert for alert in alerts_of(running.r)))


def chain_time_s(node: OperatorHome) -> int:
    time_s: int = node.run("attribution", "cases")["chain_time_s"]
    return time_s


def alerts_of(node: OperatorHome) -> list[str]:
    alerts: list[str] = status_of(node)["money"]["alerts"]
    return alerts


def served(ran: "subprocess.CompletedProcess[str]") -> "subprocess.CompletedProcess[str] | None":
    """None if the node was not ready again."""
    return None if "nothing was tested" in ran.stderr or "nothing to test" in ran.stderr else ran


def test_without_a_daemon_it_says_how_to_start_one(tmp_path: Path) -> None:
    ran = run_command("attribution", "audit", "--yes", env=node_environment(Home(tmp_path)))
    assert ran.returncode != OK
    assert "openledger-node start" in ran.stderr
