"""The payer's own audit between real processes: it countersigns an honest node's receipt, and no liar's."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes.network import FAKE, RunningNetwork, ask, node_of, status_of
from support.processes.nodes import wait_for
from support.processes.taught import NAME, QUESTION, account_of, teach

from openledger_node.demo.processes import OperatorHome, closing_all

pytestmark = pytest.mark.process

NODE = {
    **FAKE,
    "OPENLEDGER_NODE_AUTO_BOND": "true",
    "OPENLEDGER_PAYER_KEEP_TEXTS_S": "0",
    "OPENLEDGER_PAYER_AUDIT_ONE_IN": "1",
}
THIEF = account_of("thief")
LIE = f'''
from dataclasses import replace
from openledger_node.network import selling
honest = selling.registered_shares
selling.registered_shares = lambda *given: (replace(honest(*given)[0], account="{THIEF}", ppm=1_000_000),)
'''
"""Run by every Python process that finds it at its start: the node gives the Datanet's fee to a thief."""


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


def buy(requester: OperatorHome) -> str | None:
    """Buy an answer of the adapter, and return the reason if nobody sold one."""
    body = {"model": NAME, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 24}
    with node_of(requester).client() as client:
        response = client.post("/v1/chat/completions", json=body)
    return str(response.json()["error"]) if response.is_error else None


def audits_of(node: OperatorHome) -> dict[str, int]:
    audits: dict[str, int] = status_of(node)["money"]["audits"]
    return audits


def test_an_honest_node_is_right_in_every_receipt(running: RunningNetwork) -> None:
    running.r.run("adapters", "pull", NAME)
    assert [buy(running.r), buy(running.r)] == [None, None]
    wait_for(lambda: audits_of(running.r) == {"right": 2, "wrong": 0, "unknown": 0})


def test_a_node_that_lies_is_named_and_a_case_can_be_opened(running: RunningNetwork, tmp_path: Path) -> None:
    liar = running.a
    liar.close()
    (tmp_path / "sitecustomize.py").write_text(LIE)
    liar._environment["PYTHONPATH"] = str(tmp_path)
    liar.start_daemon()
    wait_for(lambda: status_of(liar)["chain"] == "ok" and is_sold_to(running.r))
    wallet = status_of(liar)["address"]
    wait_for(lambda: buy(running.r) is None)  # once the node is ready again
    wait_for(lambda: audits_of(running.r)["wrong"] == 1)
    (digest,) = [
        each["digest"] for each in ask(running.r, "receipts", limit=9)["receipts"] if not each["is_countersigned"]
    ]
    bought_s = time.time()
    wait_for(lambda: chain_time_s(running.r) > bought_s)  # the receipt may be of a later second than the last block
    running.r.run("attribution", "challenge", digest, "--yes")  # by the texts that were held, though none are kept
    (case,) = wait_for(lambda: running.r.run("attribution", "cases")["cases"])  # once the daemon has seen the block
    assert (case["digest"], case["node"], case["shares_are_right"]) == (digest, wallet, False)
    wait_for(lambda: any(f"{wallet} signed wrong shares" in alert for alert in alerts_of(running.r)))
    wait_for(lambda: any("There is a case about it" in alert for alert in alerts_of(running.r)))
    assert "signed wrong shares" in str(buy(running.r)), "nothing more is bought from it"
    running.r.run("attribution", "forgive", wallet, "--yes")
    wait_for(lambda: not any("wrong shares" in alert for alert in alerts_of(running.r)))


def chain_time_s(node: OperatorHome) -> int:
    time_s: int = node.run("attribution", "cases")["chain_time_s"]
    return time_s


def alerts_of(node: OperatorHome) -> list[str]:
    alerts: list[str] = status_of(node)["money"]["alerts"]
    return alerts
