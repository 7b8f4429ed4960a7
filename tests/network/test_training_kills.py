"""A node that is killed while it trains: the next one goes on, and says from where."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.nodes import command_json, running_node
from support.pages import operator_of

from openledger_node.home import Home

SETTINGS = {"OPENLEDGER_INFERENCE_BASE": "fake", "OPENLEDGER_FACTORY_TRAINER": "fake"}
ORDER = {"name": "lake", "sample": True, "epochs": 5_000_000}
DEADLINE_S = 60.0


def run_of(home: Home) -> dict[str, Any]:
    run: dict[str, Any] = command_json(home, "factory", "status")["run"]
    return run


def wait_for(home: Home, is_reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        if is_reached(run := run_of(home)):
            return run
        threading.Event().wait(0.1)
    raise AssertionError(run)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_node_goes_on_with_the_training(tmp_path: Path, number: signal.Signals) -> None:
    home = Home(tmp_path)
    with running_node(home, "--backend", "fake", **SETTINGS) as node:
        with operator_of(home) as operator:
            operator.post("/factory/train", json=ORDER).raise_for_status()
        wait_for(home, lambda run: run["step"] > 100)
        node.signal(number)
        node.wait()
    left = run_of(home)
    assert (left["state"], left["who"], left["is_cut_off"]) == ("training", None, True)
    with running_node(home, "--backend", "fake", **SETTINGS):
        run = wait_for(home, lambda run: len(run["restarts"]) == 1)
        assert run["restarts"][0]["step"] > 50, "from a checkpoint"
        assert run["who"] == "here", run["state"]
        kept = command_json(home, "factory", "stop", "--keep")
        assert kept["state"] == "done"
