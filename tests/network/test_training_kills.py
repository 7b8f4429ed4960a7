"""A node that is killed while it trains: the next one goes on, and says from where."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.processes.nodes import command_json, operator_of, running_node, wait_for

from openledger_node.home import Home

SETTINGS = {"OPENLEDGER_INFERENCE_BASE": "fake", "OPENLEDGER_FACTORY_TRAINER": "fake"}
ORDER = {"name": "lake", "sample": True, "epochs": 5_000_000}


def run_of(home: Home) -> dict[str, Any]:
    run: dict[str, Any] = command_json(home, "factory", "status")["run"]
    return run


def wait_for_run(home: Home, is_reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return wait_for(lambda: run if is_reached(run := run_of(home)) else None)


def test_the_node_that_starts_after_a_kill_goes_on_with_the_training(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with running_node(home, "--backend", "fake", **SETTINGS) as node:
        with operator_of(home) as operator:
            operator.post("/factory/train", json=ORDER).raise_for_status()
        wait_for_run(home, lambda run: run["step"] > 100)
        node.signal(signal.SIGKILL)
        node.wait()
    left = run_of(home)
    assert (left["state"], left["who"], left["is_cut_off"]) == ("training", None, True)
    with running_node(home, "--backend", "fake", **SETTINGS):
        run = wait_for_run(home, lambda run: len(run["restarts"]) == 1)
        assert run["restarts"][0]["step"] > 50, "from a checkpoint"
        assert run["who"] == "here", run["state"]
        kept = command_json(home, "factory", "stop", "--keep")
        assert kept["state"] == "done"
