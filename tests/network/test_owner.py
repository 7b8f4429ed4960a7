"""The owner's verbs on a node that runs: real processes, the embedded chain, the fake model."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.commands import run_command
from support.faulty_plug import FaultyPlug
from support.processes.nodes import (
    Node,
    ask_status,
    command_json,
    is_alive,
    node_environment,
    running_node,
    start_process,
    wait_for,
    wait_for_status,
)

from openledger_node.api_key import load_api_key
from openledger_node.home import Home

pytestmark = pytest.mark.process

EMBEDDED = {"OPENLEDGER_NODE_NETWORK": "auto"}
STATUS_S, DOCTOR_S, FREED_S = 1.0, 15.0, 10.0
PAUSED = "this node is paused by its owner"


def verb(home: Home, *words: str) -> dict[str, Any]:
    return command_json(home, *words, **EMBEDDED)


def run(home: Home, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_command(*words, env=node_environment(home, **EMBEDDED))


def answer(node: Node, prompt: str = "hi") -> httpx.Response:
    body = {"model": "fake", "messages": [{"role": "user", "content": prompt}], "max_tokens": 5}
    return httpx.post(f"{node.url}/v1/chat/completions", headers=node.headers, json=body, timeout=60)


def quickest_s(times: int, act: Callable[[], object]) -> float:
    """The quickest of several: the machine may be busy with others."""
    took = []
    for _ in range(times):
        began_s = time.monotonic()
        act()
        took.append(time.monotonic() - began_s)
    return min(took)


def test_status_and_doctor_are_quick_and_well_on_a_node_that_runs(home: Home) -> None:
    with running_node(home, "--backend", "fake", **EMBEDDED) as node:
        wait_for(lambda: node.status()["address"], within_s=60)
        wait_for(lambda: int(verb(home, "stake", "show")["bonded_wei"]), within_s=60)
        assert quickest_s(5, lambda: run(home, "status")) < STATUS_S
        began_s = time.monotonic()
        ran = run(home, "doctor", "--json")
        assert time.monotonic() - began_s < DOCTOR_S
        checks = {check["check"]: check for check in json.loads(ran.stdout)["checks"]}
        # The test's own base is set by a flag of `start`, which a doctor does not see.
        assert [
            name for name, check in checks.items() if check["is_ok"] is False and name not in ("disk", "load")
        ] == []
        well = {name for name, check in checks.items() if check["is_ok"]}
        assert {"daemon", "engine", "chain", "chain id", "contracts", "clock", "gas", "ledger"} <= well
        lines = run(home, "status").stdout.splitlines()
        assert lines[0].split(maxsplit=1)[1].startswith("idle: nothing to answer just now")
        assert len(lines) <= 24


def test_a_price_counts_from_the_next_answer_on_and_after_the_next_start(home: Home) -> None:
    with running_node(home, "--backend", "fake", **EMBEDDED):
        ask = ("chat", "hello", "--as-guest", "--max-tokens", "4")
        first = verb(home, *ask)["receipt"]
        set_to = verb(home, "price", "set", "--in", "0.003", "--out", "0.02")
        assert (set_to["price_in_wei"], set_to["price_out_wei"]) == (str(3 * 10**15), str(2 * 10**16))
        second = verb(home, *ask)["receipt"]
        work = second["work"]
        assert int(second["amount_wei"]) == work["tokens_in"] * 3 * 10**12 + work["tokens_out"] * 2 * 10**13
        assert int(second["amount_wei"]) > int(first["amount_wei"])
        (job, _) = verb(home, "jobs")["jobs"]
        assert job["amount_wei"] == second["amount_wei"]
    assert verb(home, "price", "show")["price_out_wei"] == str(2 * 10**16)


def test_a_pause_frees_the_engine_survives_a_restart_and_ends_by_resume(home: Home) -> None:
    with running_node(home, "--backend", "fake") as node:
        engine = node.status()["engine"]["process_id"]
        paused = command_json(home, "pause")
        assert paused["paused"]["by"] == "owner"
        refused = answer(node)
        assert (refused.status_code, PAUSED in refused.text) == (503, True)
        wait_for(lambda: not is_alive(engine), within_s=FREED_S)
        status = node.status()
        assert (status["state"], status["engine"]["state"], status["engine"]["restarts"]) == ("paused", "paused", 0)
        assert status["why_idle"].startswith(PAUSED)
        assert status["suggestion"]["cli"] == "openledger-node resume"

    process = start_process(home, "--backend", "fake")
    try:
        status = wait_for_status(home, process, lambda found: found["state"] == "paused")
        assert status["engine"]["process_id"] is None
        wait_for(lambda: "once the node is resumed" in (home.root / "start.log").read_text(), within_s=30)
        assert command_json(home, "resume")["paused"] is None
        status = wait_for_status(home, process, lambda found: found["engine"]["state"] == "ready")
        node = Node(home=home, process=process, url=status["api"]["url"], key=load_api_key(home))
        assert answer(node).status_code == 200
    finally:
        process.terminate()
        process.wait(30)
    assert not home.paused.exists()


def test_a_node_that_was_paused_at_its_start_sells_once_it_is_resumed(home: Home) -> None:
    verb(home, "pause")
    process = start_process(home, "--backend", "fake", **EMBEDDED)
    try:
        wait_for_status(home, process, lambda found: found["state"] == "paused" and found["address"])
        assert "sells nothing" in run(home, "chat", "hello", "--as-guest").stderr
        verb(home, "resume")
        wait_for(lambda: run(home, "chat", "hello", "--as-guest", "--max-tokens", "4").returncode == 0, within_s=30)
    finally:
        process.terminate()
        process.wait(30)


def test_a_node_whose_card_is_lost_says_so_everywhere_and_the_rest_of_it_goes_on(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_limits_count_at_once_and_the_engine_starts_anew_within_them(home: Home) -> None:
    with running_node(home, "--backend", "fake") as node:
        engine = node.status()["engine"]["process_id"]
        found = command_json(home, "limits", "set", "--ram", "1GB", "--day-max", "2.5")
        assert (found["ram_bytes"], found["day_max_wei"]) == (10**9, str(25 * 10**17))

        def is_renewed() -> bool:
            status = ask_status(home)
            now = status["engine"] if status else {}
            return bool(now and now["state"] == "ready" and now["process_id"] not in (None, engine))

        wait_for(is_renewed, within_s=30)
        assert node.status()["engine"]["restarts"] == 0
        refused = run(home, "limits", "set", "--ram", "1MB")
        assert (refused.returncode, "`openledger-node limits set --vram SIZE --ram SIZE`" in refused.stderr) == (
            3,
            True,
        )
        assert command_json(home, "limits", "show")["ram_bytes"] == 10**9
        assert answer(node).status_code == 200


def test_what_the_node_says_is_in_its_log_and_no_prompt_is(home: Home) -> None:
    with running_node(home, "--backend", "fake", **EMBEDDED) as node:
        wait_for(lambda: node.status()["address"], within_s=60)
        assert answer(node, "a word between us").status_code == 200
        log = (home.root / "start.log").read_text()
        assert " INFO " in log
        assert "a word between us" not in log
        connection = verb(home, "connect")
        assert connection["models"] == ["fake"]
        assert load_api_key(home) not in json.dumps(connection)
