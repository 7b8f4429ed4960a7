"""Verbs while another verb holds the home and no daemon runs: nobody waits in vain, and nothing is to be ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.verbs import Run

from openledger_node.cli import node, status
from openledger_node.home import Home, claim_home, find_holder

HOLD = """
import sys
from pathlib import Path
from openledger_node.home import Home, claim_home
lock = claim_home(Home(Path(sys.argv[1])), *sys.argv[2:])
print("held", flush=True)
sys.stdin.read()
"""

SLEPT_S_MAX = 1.0  # less than anybody waits for a daemon that starts


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long who runs in this process has slept."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    return naps


@contextmanager
def holder(home: Home, *name: str) -> Iterator[int]:
    """Another process holds the home under a name."""
    command = [sys.executable, "-c", HOLD, str(home.root), *name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.kill()


def test_status_names_the_verb_at_work_and_proposes_nothing(run: Run, home: Home) -> None:
    with holder(home, "rewards withdraw") as process:
        fields = run("status", "--json").json
        said = run("status").stdout
    assert fields["state"] == "stopped"
    assert f"`rewards withdraw` (process {process}) is at work in this home; wait until it ends" in fields["why_idle"]
    assert fields["suggestion"] is None
    assert " ".join(fields["why_idle"].split()) in " ".join(said.split())


def test_status_says_that_a_daemon_is_starting(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "UP_WITHIN_S", 0.1)
    with holder(home) as process:
        ran = run("status", "--json")
    assert (ran.status, ran.json["state"], ran.json["suggestion"]) == (0, "starting", None)
    assert f"the daemon (process {process}) is starting or ending" in ran.json["why_idle"]


def test_stop_waits_until_the_daemon_has_ended(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "ask_daemon", lambda *_: {"state": "draining"})
    with holder(home) as process:
        monkeypatch.setattr(time, "sleep", lambda _: os.kill(process, signal.SIGKILL))
        assert run("stop", "--no-wait", "--json").json["state"] == "draining"
        assert find_holder(home) is not None
        ran = run("stop")
        assert (ran.status, ran.stderr.splitlines()[-1]) == (0, "stopped")
        assert find_holder(home) is None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            {"requests": {"running": 2, "waiting": 1}},
            "3 answers still run, and get up to [node] drain_grace_s seconds",
        ),
        ({"requests": {"running": 0, "waiting": 0}}, "signs its last receipts and waits for the chain's answers"),
        (None, "signs its last receipts and waits for the chain's answers"),
    ],
)
def test_stop_says_what_a_slow_daemon_waits_for(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, answer: object, says: str
) -> None:
    monkeypatch.setattr(node, "ask_daemon", lambda _, __, path, **___: answer if path == "/status" else {})
    monkeypatch.setattr(node, "USUAL_END_S", -1.0)
    with holder(home) as process:
        monkeypatch.setattr(time, "sleep", lambda _: os.kill(process, signal.SIGKILL))
        said = " ".join(run("stop").stderr.split())
    assert says in said
    assert "Ctrl-C ends this command only; the node ends by itself stopped" in said


def test_status_waits_half_a_second_for_a_daemon_that_starts() -> None:
    assert status.UP_WITHIN_S <= 0.5


@pytest.mark.parametrize(
    "line",
    ["stake show", "rewards withdraw --yes", "benchmark", "connect", "open", "chat hello"],
)
def test_what_needs_the_daemon_or_the_lock_says_at_once_what_to_wait_for(
    run: Run, home: Home, line: str, slept: list[float]
) -> None:
    home.config_file.write_text("[inference]\nbackend = 'fake'\nbase = 'fake'\n")
    with holder(home, "rewards withdraw") as process:
        ran = run(*line.split())
    assert ran.status == 75
    assert f"`rewards withdraw` (process {process}) is at work in this home: wait until it has ended" in " ".join(
        ran.stderr.split()
    )
    assert sum(slept) < SLEPT_S_MAX


@pytest.mark.parametrize("line", ["limits show", "price show", "jobs", "adapters list", "stop", "pause", "resume"])
def test_what_needs_neither_does_its_work(run: Run, home: Home, line: str, slept: list[float]) -> None:
    with claim_home(home, "benchmark"):
        assert run(*line.split()).status == 0
    assert sum(slept) < SLEPT_S_MAX


def test_a_verb_that_takes_the_home_writes_its_own_name(run: Run, home: Home) -> None:
    run("stake", "show", "--json")
    assert home.lock.read_text().endswith(" stake show\n")
