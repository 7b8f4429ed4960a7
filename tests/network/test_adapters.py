"""An adapter of a seller that the buyer never heard of: found, bought, audited and pulled, by real processes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from network.running_network import FAKE, RunningNetwork, ask, node_of, status_of
from support.commands import run_command
from support.processes.nodes import node_environment, wait_for
from support.processes.taught import NAME, QUESTION, account_of, teach

from openledger_node.demo.processes import OperatorHome, closing_all
from openledger_node.home import Home

pytestmark = pytest.mark.process

NODE = {
    **FAKE,
    "OPENLEDGER_NODE_AUTO_BOND": "true",
    "OPENLEDGER_PAYER_KEEP_TEXTS_S": "0",
    "OPENLEDGER_PAYER_AUDIT_ONE_IN": "1",
}
DEAF = """
import trio
from openledger_node.market import ads_server, board, greeting

async def ask_nobody(*_):
    await trio.sleep_forever()

async def hang_up(*_):
    pass

board.AdTable.receive = lambda *_: False
greeting.Greeter.run = ask_nobody
ads_server.AdsServer.serve = hang_up
"""
"""Run by every Python process that finds it at its start: the node hears only of the part of the market where the
seller is not, as in a network whose bases are split into shards."""

THIEF = account_of("thief")
LIE = f'''
from dataclasses import replace
from openledger_node.network import selling
honest = selling.registered_shares
selling.registered_shares = lambda *given: (replace(honest(*given)[0], account="{THIEF}", ppm=1_000_000),)
'''
"""Run in the same way: the node gives the Datanet's fee to a thief."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningNetwork]:
    """A seller with an adapter, and a buyer that hears no advertisement and audits each receipt."""
    (tmp_path / "deaf").mkdir()
    (tmp_path / "deaf" / "sitecustomize.py").write_text(DEAF)
    with closing_all() as opened:
        network = RunningNetwork(root=tmp_path, opened=opened, settings=NODE)
        network.begin_chain()
        network.a = network._node("a", None, {})
        network.r = network._node("r", None, {"OPENLEDGER_NODE_SERVE": "false", "PYTHONPATH": str(tmp_path / "deaf")})
        for node in (network.a, network.r):
            node.start_daemon()
            wait_for(lambda node=node: status_of(node)["chain"] == "ok")
        teach(network.a.run, tmp_path / "taught")
        yield network


def test_a_buyer_finds_an_unheard_seller_and_catches_its_lie(running: RunningNetwork, tmp_path: Path) -> None:
    (adapter,) = running.a.run("adapters", "list")["adapters"]
    digest, seller = adapter["id"], status_of(running.a)
    assert str(why_not_bought(running.r, NAME)).startswith("404"), "a name alone leads nowhere"
    assert ask(running.r, "peers")["peers"], "it is connected"
    assert not sellers_of(running.r)
    # Its record may not have reached the bootstrap node yet, or the chain not have seen its bond.
    wait_for(lambda: why_not_bought(running.r, digest) is None)
    assert [peer["wallet"] for peer in sellers_of(running.r)] == [seller["address"]]
    wait_for(lambda: ask(running.a, "receipts", limit=9)["receipts"])

    pulled = running.r.run("adapters", "pull", digest)
    assert (pulled["digest"], pulled["from_peer"]) == (digest, seller["peer_id"])
    before = audits_of(running.r)["right"]
    assert why_not_bought(running.r, digest) is None
    wait_for(lambda: audits_of(running.r)["right"] == before + 1)
    assert audits_of(running.r)["wrong"] == 0
    check_rows_are_pulled(running, seller["peer_id"])
    check_a_liar_is_caught(running, digest, tmp_path)


def check_rows_are_pulled(running: RunningNetwork, seller: str) -> None:
    (datanet,) = running.a.run("datanet", "list")["datanets"]
    published = datanet["versions"][-1]
    found = wait_for(lambda: pulled_rows(running.r, datanet["name"]))
    assert (found["from_peer"], found["rows"]) == (seller, published["rows"])
    (pulled,) = running.r.run("datanet", "list")["pulled"]
    assert (pulled["id"], pulled["rows_root"]) == (found["id"], published["rows_root"])


def check_a_liar_is_caught(running: RunningNetwork, digest: str, folder: Path) -> None:
    """The buyer countersigns no wrong shares, and buys nothing more until it forgives."""
    liar, buyer = running.a, running.r
    liar.close()
    (folder / "lie").mkdir()
    (folder / "lie" / "sitecustomize.py").write_text(LIE)
    liar._environment["PYTHONPATH"] = str(folder / "lie")
    liar.start_daemon()
    wait_for(lambda: status_of(liar)["chain"] == "ok")
    wallet = status_of(liar)["address"]
    wait_for(lambda: why_not_bought(buyer, digest) is None)  # once the node is ready again
    wait_for(lambda: audits_of(buyer)["wrong"] == 1)
    receipts = ask(buyer, "receipts", limit=9)["receipts"]
    (wrong,) = [each["digest"] for each in receipts if not each["is_countersigned"]]
    wait_for(lambda: any(f"{wallet} signed wrong shares in receipt {wrong}" in each for each in alerts_of(buyer)))
    assert "signed wrong shares" in str(why_not_bought(buyer, digest))
    buyer.run("attribution", "forgive", wallet, "--yes")
    wait_for(lambda: not any("wrong shares" in alert for alert in alerts_of(buyer)))


def why_not_bought(node: OperatorHome, model: str) -> str | None:
    """Buy an answer, and return the error if there is none."""
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 24}
    with node_of(node).client() as client:
        response = client.post("/v1/chat/completions", json=body)
    return f"{response.status_code} {response.json()['error']}" if response.is_error else None


def pulled_rows(node: OperatorHome, name: str) -> dict[str, Any] | None:
    """None while the owner's node has not looked at what was published, or its record is not found."""
    environment = node_environment(Home(node.root), **{**NODE, "OPENLEDGER_NODE_NETWORK": "auto"})
    ran = run_command("datanet", "pull", name, "--json", env=environment)
    return json.loads(ran.stdout) if ran.returncode == 0 else None


def sellers_of(node: OperatorHome) -> list[dict[str, Any]]:
    return [peer for peer in ask(node, "peers")["peers"] if peer["serves"]]


def audits_of(node: OperatorHome) -> dict[str, int]:
    audits: dict[str, int] = status_of(node)["money"]["audits"]
    return audits


def alerts_of(node: OperatorHome) -> list[str]:
    alerts: list[str] = status_of(node)["money"]["alerts"]
    return alerts
