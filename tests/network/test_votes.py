"""Votes in a running node, by commands alone: the embedded chain, real time, and what a terminal shows."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.commands import run_command
from support.processes.nodes import EMBEDDED, command_json, node_environment, running_node, wait_for

from openledger_node.home import Home

pytestmark = pytest.mark.deep(
    reason="two minutes of waiting; accounting/test_governance has each rule, and web/test_governance a whole vote"
)

PRICE = "0.008"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def verb(home: Home, *words: str) -> dict[str, Any]:
    return command_json(home, *words, **EMBEDDED)


def run(home: Home, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_command(*words, env=node_environment(home, **EMBEDDED))


def state(home: Home) -> str:
    return str(verb(home, "gov", "show", "1")["state"])


def wait_until(home: Home, wanted: str) -> None:
    wait_for(lambda: state(home) == wanted, within_s=90)


def params(home: Home) -> dict[str, dict[str, Any]]:
    return {each["key"]: each for each in verb(home, "gov", "params")["values"]}


def test_a_vote_from_its_proposal_to_its_epoch_with_and_without_a_daemon(home: Home) -> None:
    with running_node(home, "--backend", "fake", **EMBEDDED):
        wait_for(lambda: verb(home, "stake", "show")["is_appointed"])
        refused = run(home, "gov", "propose", "protocolPpm=4%")
        assert refused.returncode == 1
        assert "100 OPEN are lacking" in refused.stderr.replace("\n", " ")
        verb(home, "devnet", "fund", "--open", "50000000")
        verb(home, "gov", "delegate")
        values = ("protocolPpm=4%", f"guidePrice={PRICE}", "algoId=7")
        wait_for(lambda: run(home, "gov", "propose", *values, "--unsigned").returncode == 0)  # votes of a past block
        proposed = run(home, "gov", "propose", *values, "--reason", "it is enough")
        assert proposed.returncode == 0, proposed.stderr
        for line in ("protocolPpm: 5 % → 4 %", "algoId: rule 1 (suffix-v1) → rule 7 (poa-v3)", "voting begins at"):
            assert line in proposed.stderr
        assert "proposal 1 sets the values, too" in run(home, "gov", "propose", "draws=5").stderr.replace("\n", " ")
        early = run(home, "gov", "vote", "1", "for")
        if early.returncode:
            assert "voting begins after" in early.stderr
            wait_until(home, "active")
            voted = run(home, "gov", "vote", "1", "for", "--reason", "yes")
            assert "of votes count" in voted.stderr.replace("\n", " ")
        listed = run(home, "gov", "list").stdout
        assert "protocolPpm: 5 % → 4 %" in listed
        assert "active" in listed
        twice = run(home, "gov", "vote", "1", "against")
        assert (twice.returncode, "can't be changed" in twice.stderr.replace("\n", " ")) == (1, True)
        wait_until(home, "succeeded")
    # NOTE: the chain has stopped with the daemon; commands start it again as long as they need it.
    assert verb(home, "gov", "show", "1")["next"] == "gov queue 1"
    with running_node(home, "--backend", "fake", **EMBEDDED):
        verb(home, "gov", "queue", "1")
        assert "the timelock holds it until" in run(home, "gov", "execute", "1").stderr.replace("\n", " ")
        wait_for(lambda: verb(home, "gov", "show", "1")["next"] == "gov execute 1", within_s=60)
        verb(home, "gov", "execute", "1")
        shown = run(home, "gov", "show", "1")
        assert "it is enough" in shown.stdout
        assert "executed" in shown.stdout
        queued = params(home)["protocolPpm"]
        assert (queued["text"], queued["queued"][0]["text"]) == ("5 %", "4 %")
        assert "4 % from epoch" in run(home, "gov", "params").stdout
        wait_for(lambda: params(home)["protocolPpm"]["text"] == "4 %", within_s=90)
        assert params(home)["algoId"]["text"] == "rule 7 (poa-v3)"
        wait_for(lambda: verb(home, "price", "show")["price_out_wei"] == str(8 * 10**15), within_s=30)
        assert "the network's guide price" in run(home, "price", "show").stdout
        verb(home, "gov", "pause", "5s")
        again = run(home, "gov", "pause", "5s")
        assert (again.returncode, "it ends by itself" in again.stderr.replace("\n", " ")) == (1, True)
        assert verb(home, "gov", "params")["pause"]["is_own"]
        wait_for(lambda: verb(home, "gov", "params")["pause"]["paused_until_s"] is None)
