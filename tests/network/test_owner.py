"""The owner's verbs on a node that runs: real processes, the embedded chain, the fake model."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.commands import run_command
from support.faulty_plug import FaultyPlug
from support.processes import nodes
from support.processes.nodes import Node, is_alive, node_environment, running_node, wait_for, wait_for_status

from openledger_node.api_key import load_api_key
from openledger_node.home import Home

pytestmark = pytest.mark.process

EMBEDDED = {"OPENLEDGER_NODE_NETWORK": "auto"}
CONFIG_ERROR = 3
FREED_S = 10.0
PAUSED = "this node is paused by its owner"


def verb(home: Home, *words: str) -> dict[str, Any]:
    return nodes.command_json(home, *words, **EMBEDDED)


def run(home: Home, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_command(*words, env=node_environment(home, **EMBEDDED))


def answer(node: Node, prompt: str = "hi") -> httpx.Response:
    body = {"model": "fake", "messages": [{"role": "user", "content": prompt}], "max_tokens": 5}
    return httpx.post(f"{node.url}/v1/chat/completions", headers=node.headers, json=body, timeout=60)


def check_doctor(home: Home) -> None:
    checks = {check["check"]: check for check in json.loads(run(home, "doctor", "--json").stdout)["checks"]}
    # The test's own base is set by a flag of `start`, which a doctor does not see.
    assert [name for name, check in checks.items() if check["is_ok"] is False and name not in ("disk", "load")] == []
    well = {name for name, check in checks.items() if check["is_ok"]}
    assert {"daemon", "engine", "chain", "chain id", "contracts", "clock", "gas", "ledger"} <= well


def check_price(home: Home) -> None:
    """A price counts from the next answer on."""
    ask = ("chat", "hello", "--as-guest", "--max-tokens", "4")
    first = verb(home, *ask)["receipt"]
    set_to = verb(home, "price", "set", "--in", "0.003", "--out", "0.02")
    assert (set_to["price_in_wei"], set_to["price_out_wei"]) == (str(3 * 10**15), str(2 * 10**16))
    second = verb(home, *ask)["receipt"]
    work = second["work"]
    assert int(second["amount_wei"]) == work["tokens_in"] * 3 * 10**12 + work["tokens_out"] * 2 * 10**13
    assert int(second["amount_wei"]) > int(first["amount_wei"])
    assert verb(home, "jobs")["jobs"][0]["amount_wei"] == second["amount_wei"]


def check_limits(home: Home, node: Node) -> None:
    """Limits count at once, and the engine starts anew within them."""
    engine = node.status()["engine"]["process_id"]
    found = verb(home, "limits", "set", "--ram", "1GB", "--day-max", "2.5")
    assert (found["ram_bytes"], found["day_max_wei"]) == (10**9, str(25 * 10**17))

    def is_renewed() -> bool:
        status = nodes.ask_status(home)
        now = status["engine"] if status else {}
        return bool(now and now["state"] == "ready" and now["process_id"] not in (None, engine))

    wait_for(is_renewed, within_s=30)
    assert node.status()["engine"]["restarts"] == 0
    refused = run(home, "limits", "set", "--ram", "1MB")
    assert refused.returncode == CONFIG_ERROR
    assert "`openledger-node limits set --vram SIZE --ram SIZE`" in refused.stderr
    assert verb(home, "limits", "show")["ram_bytes"] == 10**9


def test_an_owner_looks_at_a_node_sets_its_price_and_limits_and_pauses_it_over_a_restart(home: Home) -> None:
    with running_node(home, "--backend", "fake", **EMBEDDED) as node:
        wait_for(lambda: node.status()["address"], within_s=60)
        wait_for(lambda: int(verb(home, "stake", "show")["bonded_wei"]), within_s=60)
        check_doctor(home)
        lines = run(home, "status").stdout.splitlines()
        assert lines[0].split(maxsplit=1)[1].startswith("idle: nothing to answer just now")
        assert len(lines) <= 24
        check_price(home)
        check_limits(home, node)
        assert answer(node, "a word between us").status_code == 200
        log = (home.root / "start.log").read_text()
        assert " INFO " in log
        assert "a word between us" not in log
        connection = verb(home, "connect")
        assert connection["models"] == ["fake"]
        assert load_api_key(home) not in json.dumps(connection)

        engine = node.status()["engine"]["process_id"]
        assert verb(home, "pause")["paused"]["by"] == "owner"
        refused = answer(node)
        assert (refused.status_code, PAUSED in refused.text) == (503, True)
        wait_for(lambda: not is_alive(engine), within_s=FREED_S)
        status = node.status()
        assert (status["state"], status["engine"]["state"], status["engine"]["restarts"]) == ("paused", "paused", 0)
        assert status["why_idle"].startswith(PAUSED)
        assert status["suggestion"]["cli"] == "openledger-node resume"

    process = nodes.fork_process(home, "--backend", "fake", **EMBEDDED)
    try:
        status = wait_for_status(home, process, lambda found: found["state"] == "paused" and found["address"])
        assert status["engine"]["process_id"] is None
        assert "sells nothing" in run(home, "chat", "hello", "--as-guest").stderr
        assert verb(home, "resume")["paused"] is None
        wait_for(lambda: run(home, "chat", "hello", "--as-guest", "--max-tokens", "4").returncode == 0, within_s=30)
        assert verb(home, "price", "show")["price_out_wei"] == str(2 * 10**16)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert not home.paused.exists()


def test_a_node_that_lost_its_card_goes_on(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug = FaultyPlug(tmp_path / "plug", monkeypatch)
    plug.fail("open", "CUDA error: GPU is lost.  Reboot the system to recover this GPU")
    lost = "the GPU no longer answers (it fell off the bus): shut the machine down and start it again"
    settings = {**EMBEDDED, **plug.environment, "OPENLEDGER_INFERENCE_BASE": "fake"}
    with running_node(home, "--backend", "faulty", **settings) as node:
        status = wait_for(lambda: found if (found := node.status())["address"] else None, within_s=60)
        assert (status["state"], status["engine"]["state"], status["chain"]) == ("idle", "failed", "ok")
        assert status["why_idle"].startswith(lost)
        assert status["engine"]["why_failed"].startswith(lost)
        assert any(lost in alert for alert in status["money"]["alerts"])
        assert lost in (home.root / "start.log").read_text()
        doctor = json.loads(run(home, "doctor", "--only", "model", "--json").stdout)
        (check,) = (each for each in doctor["checks"] if each["check"] == "engine")
        assert lost in json.dumps(check)
        refused = answer(node)
        assert (refused.status_code, lost in refused.text) == (503, True)
        wait_for(lambda: int(verb(home, "stake", "show")["bonded_wei"]), within_s=60)  # money moves without a card
        plug.mend()
        wait_for(lambda: answer(node).status_code == 200, within_s=60)
        assert node.status()["money"]["alerts"] == []
