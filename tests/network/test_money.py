"""Money in a running node, as an operator sees it: real processes, the embedded chain, the fake model."""

import json
import os
import signal
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.processes.nodes import EMBEDDED, ROOT, Node, ask, command_json, running_node, wait_for

from openledger_node.home import Home

pytestmark = pytest.mark.process

ASK = ("chat", "hello", "--as-guest", "--max-tokens", "20")


def verb(home: Home, *words: str) -> dict[str, Any]:
    return command_json(home, *words, **EMBEDDED)


def wait_until_all_is_final(home: Home) -> dict[str, Any]:
    """Wait until a claim that counts holds each receipt; a refused one, sent too late, has been made anew."""

    def find() -> dict[str, Any] | None:
        rewards = ask(home, "rewards")
        states = {claim["state"] for claim in rewards["claims"]}
        is_over = states <= {"final", "refused"} and "final" in states and not rewards["num_unclaimed"]
        return rewards if is_over else None

    found: dict[str, Any] = wait_for(find)
    return found


def is_on_chain(sent: list[dict[str, Any]]) -> bool:
    """True if all are mined; a command that was held up finds them final."""
    return {each["state"] for each in sent} <= {"mined", "final"}


def chain_process(node: Node) -> int:
    """The embedded chain's process: the daemon's child that runs it."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"openledger_node.chain.dev.process" in words and int(parent) == node.process.pid:
            return int(entry.name)
    raise AssertionError("no chain runs")


def audited(home: Home) -> dict[str, Any]:
    """What an outside auditor finds, who has an endpoint and a network.json and nothing else."""
    network = verb(home, "network", "show")
    file = home.network_file(network["network"])
    command = [sys.executable, str(ROOT / "scripts" / "audit_chain.py"), network["rpc"][0], str(file), "--json"]
    found: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    return found


def test_an_answer_is_earned_claimed_and_withdrawn_and_kills_in_the_middle_lose_nothing(home: Home) -> None:
    with running_node(home, "--backend", "fake", **EMBEDDED) as node:
        bought = [verb(home, *ASK)]
        (receipt,) = verb(home, "attribution", "show")["receipts"]
        assert receipt["digest"] == bought[0]["digest"]
        network, status = verb(home, "network", "show"), node.status()
        assert (status["chain"], status["network"][:12]) == ("ok", "development-")
        assert status["address"] == verb(home, "stake", "show")["node"]
        said = (home.root / "start.log").read_text()
        assert "funded the throwaway wallet" in said
        assert "bond 100 OPEN" in said

        os.kill(chain_process(node), signal.SIGKILL)
        wait_for(lambda: node.status()["chain"] == "down")
        body = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
        assert httpx.post(f"{node.url}/v1/chat/completions", headers=node.headers, json=body).is_success
    with running_node(home, "--backend", "fake", **EMBEDDED) as node:
        bought.append(verb(home, *ASK))
        node.signal(signal.SIGKILL)
        node.wait()
    with running_node(home, "--backend", "fake", **EMBEDDED):
        bought.append(verb(home, *ASK))
        rewards = wait_until_all_is_final(home)
        amounts = [int(each["receipt"]["amount_wei"]) for each in bought]
        counting = [int(claim["gross_wei"]) for claim in rewards["claims"] if claim["state"] == "final"]
        share = sum(gross - gross * 50_000 // 1_000_000 for gross in counting)
        assert int(verb(home, "earnings")["credited_wei"]) == share
        assert is_on_chain(verb(home, "rewards", "withdraw")["transactions"])
        earned = wait_for(lambda: (found := ask(home, "earnings"))["withdrawn_wei"] != "0" and found)
        assert (earned["withdrawn_wei"], earned["balance_wei"]) == (str(share), "0")
        assert verb(home, "attribution", "verify", bought[0]["digest"][:12])["holds"]
        assert audited(home)["holds"]
    assert sum(counting) == sum(amounts)
    assert [int(each["receipt"]["cumulative_wei"]) for each in bought] == list(accumulate(amounts))
    assert verb(home, "network", "show")["genesis_hash"] == network["genesis_hash"]
    assert verb(home, "rewards", "show")["claims"] == rewards["claims"], "commands work without a daemon"
    added = verb(home, "stake", "add", "1.5")["transactions"]
    assert (len(added), is_on_chain(added)) == (1, True)
    assert verb(home, "stake", "show")["bonded_wei"] == str(1015 * 10**17)
