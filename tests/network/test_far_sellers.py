"""An adapter that only a seller has that the buyer never heard of: found at the bootstrap node, by real processes."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.commands import run_command
from support.processes.network import FAKE, RunningNetwork, ask, node_of, status_of
from support.processes.nodes import node_environment, wait_for
from support.processes.taught import FAKED, NAME, teach

from openledger_node.demo.processes import OperatorHome, closing_all
from openledger_node.home import Home

pytestmark = pytest.mark.process

NODE = {**FAKE, "OPENLEDGER_NODE_AUTO_BOND": "true"}
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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    """A seller with an adapter, and a buyer that hears no advertisement."""
    root = tmp_path_factory.mktemp("far")
    (root / "deaf").mkdir()
    (root / "deaf" / "sitecustomize.py").write_text(DEAF)
    with closing_all() as opened:
        network = RunningNetwork(root=root, opened=opened, settings=NODE)
        network.begin_chain()
        network.a = network._node("a", None, {})
        network.r = network._node("r", None, {"OPENLEDGER_NODE_SERVE": "false", "PYTHONPATH": str(root / "deaf")})
        for node in (network.a, network.r):
            node.start_daemon()
            wait_for(lambda node=node: status_of(node)["chain"] == "ok")
        teach(network.a.run, root / "taught")
        yield network


def complete(node: OperatorHome, model: str) -> httpx.Response:
    with node_of(node).client() as client:
        return client.post("/v1/completions", json={"model": model, "prompt": "and now?", "max_tokens": 8})


def test_an_answer_is_bought_from_a_seller_that_was_never_heard(running: RunningNetwork) -> None:
    (adapter,) = running.a.run("adapters", "list")["adapters"]
    digest = adapter["id"]
    assert complete(running.r, NAME).status_code == 404, "a name alone leads nowhere"
    assert ask(running.r, "peers")["peers"], "it is connected"
    assert not sellers_of(running.r)
    response = wait_for(lambda: bought(complete(running.r, digest)))
    assert response["choices"][0]["text"]
    assert [peer["wallet"] for peer in sellers_of(running.r)] == [status_of(running.a)["address"]]
    wait_for(lambda: ask(running.a, "receipts", limit=9)["receipts"])


def test_its_files_are_pulled_too(running: RunningNetwork) -> None:
    (adapter,) = running.a.run("adapters", "list")["adapters"]
    pulled = running.r.run("adapters", "pull", adapter["id"])
    assert pulled["digest"] == adapter["id"]
    assert pulled["from_peer"] == status_of(running.a)["peer_id"]


def test_the_rows_of_its_datanet_are_pulled_and_trained_on(running: RunningNetwork) -> None:
    (datanet,) = running.a.run("datanet", "list")["datanets"]
    name = datanet["name"]
    found = wait_for(lambda: pulled_rows(command(running.r, "datanet", "pull", name, "--json")))
    assert found["from_peer"] == status_of(running.a)["peer_id"]
    assert found["rows"] == datanet["versions"][-1]["rows"]
    (pulled,) = running.r.run("datanet", "list")["pulled"]
    assert (pulled["id"], pulled["rows_root"]) == (found["id"], datanet["versions"][-1]["rows_root"])
    running.r.run("factory", "train", "--datanet", found["id"], "--name", "second", *FAKED)
    (second,) = [each for each in running.r.run("adapters", "list")["adapters"] if each["name"] == "second"]
    manifest = json.loads((running.r.root / "adapters" / second["full_name"] / "adapter.json").read_text())
    assert [(each["id"], each["rows_root"]) for each in manifest["datanets"]] == [(found["id"], found["rows_root"])]
    assert manifest["index_root"]


def command(node: OperatorHome, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = node_environment(Home(node.root), **{**NODE, "OPENLEDGER_NODE_NETWORK": "auto"})
    return run_command(*words, env=environment)


def pulled_rows(ran: "subprocess.CompletedProcess[str]") -> dict[str, Any] | None:
    """None while the owner's node has not looked at what was published, or its record is not found."""
    return json.loads(ran.stdout) if ran.returncode == 0 else None


def bought(response: httpx.Response) -> dict[str, Any] | None:
    """None while the record has not reached the bootstrap node, or the chain has not seen the bond."""
    if response.status_code != 200:
        return None
    found: dict[str, Any] = response.json()
    return found


def sellers_of(node: OperatorHome) -> list[dict[str, Any]]:
    return [peer for peer in ask(node, "peers")["peers"] if peer["serves"]]
