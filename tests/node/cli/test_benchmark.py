"""`benchmark`: on the fake engine it takes a second."""

import os

import pytest
from node.cli.verbs import Run

from openledger_node.home import Home, claim_home

SHORT = ("benchmark", "--prompt-tokens", "8", "--answer-tokens", "4", "--rank", "2")


@pytest.fixture(autouse=True)
def _fake_engine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BACKEND", "fake")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "fake")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BATCH_MAX", "4")


def test_beside_a_node_that_runs_nothing_is_measured(run: Run, home: Home) -> None:
    with claim_home(home):
        ran = run(*SHORT)
    assert ran.status == 3
    assert "stop it with `openledger-node stop`" in ran.stderr


def test_more_tokens_than_the_context_are_refused(run: Run) -> None:
    ran = run("benchmark", "--prompt-tokens", "4096")
    assert ran.status == 3
    assert "[inference] context_max allows 2048" in ran.stderr


@pytest.mark.process
def test_machines_read_every_figure_and_people_a_table_and_a_verdict(run: Run, home: Home) -> None:
    found = run(*SHORT, "--json").json
    assert found["schema"] == "openledger.benchmark/1"
    assert [(one["batch"], one["adapters"]) for one in found["batches"]] == [(1, 0), (4, 0), (1, 1), (4, 4)]
    assert (found["failed"], found["batch_fits"]) == (0, 4)
    assert found["adapter_load_ms"] > 0
    assert home.lock.read_text() == f"{os.getpid()} benchmark\n"
    assert not [file for file in home.root.iterdir() if file.name.startswith(".benchmark")]
    ran = run(*SHORT)
    steps = ran.stderr.splitlines()
    assert (steps[0], len(steps)) == ("  writing adapters", 15), "each step is said, so that nobody takes it for dead"
    assert steps[-1].startswith("  15 of 15: ")
    assert "This machine answers 4 requests at once, each with a different adapter" in ran.stdout
