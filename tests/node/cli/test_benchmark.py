"""`benchmark`: on the fake engine it takes a second."""

import os
import platform
import re
from pathlib import Path

import pytest
from support.tiny import make_base
from support.verbs import Run

from openledger_node.cli.shared_benchmark import shared_bars
from openledger_node.config import InferenceConfig
from openledger_node.engine.backend import Profile
from openledger_node.engine.benchmark import BatchFigures, Figures, SharedFigures
from openledger_node.home import Home, claim_home

CARD = Profile(
    backend="torch_lora",
    kernel="triton",
    device="cuda",
    dtype="bfloat16",
    quantisation="int4",
    threads=1,
    context_max=64,
    vocab_size=257,
    num_blocks=8,
    block_bytes=1,
    base_bytes=0,
    end_ids=(256,),
)

SHORT = ("benchmark", "--prompt-tokens", "8", "--answer-tokens", "4", "--rank", "2")


@pytest.fixture(autouse=True)
def _fake_engine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BACKEND", "fake")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "fake")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BATCH_MAX", "4")


def test_machines_read_every_figure(run: Run, home: Home) -> None:
    found = run(*SHORT, "--json").json
    assert found["schema"] == "openledger.benchmark/1"
    assert [(one["batch"], one["adapters"]) for one in found["batches"]] == [(1, 0), (4, 0), (1, 1), (4, 4)]
    assert found["failed"] == 0
    assert found["adapter_load_ms"] > 0
    assert found["batch_fits"] == 4
    assert home.lock.read_text() == f"{os.getpid()} benchmark\n"
    assert not [file for file in home.root.iterdir() if file.name.startswith(".benchmark")]


def test_people_read_a_table_and_a_verdict(run: Run) -> None:
    ran = run(*SHORT)
    said = ran.stdout
    steps = ran.stderr.splitlines()
    assert (steps[0], len(steps)) == ("  writing adapters", 15), "each step is said, so that nobody takes it for dead"
    assert steps[-1].startswith("  15 of 15: ")
    assert "4 different" in said
    assert "This machine answers 4 requests at once, each with a different adapter" in said


def test_beside_a_node_that_runs_nothing_is_measured(run: Run, home: Home) -> None:
    with claim_home(home):
        ran = run(*SHORT)
    assert ran.status == 3
    assert "stop it with `openledger-node stop`" in ran.stderr


def test_more_tokens_than_the_context_are_refused(run: Run) -> None:
    ran = run("benchmark", "--prompt-tokens", "4096")
    assert ran.status == 3
    assert f"[inference] context_max is {InferenceConfig().context_max}" in ran.stderr


def test_a_block_to_share_has_the_machine_and_the_bars(run: Run) -> None:
    said = run(*SHORT, "--share").stdout
    assert said.startswith("```\nopenledger-node benchmark --share\n")
    assert said.endswith("```\n")
    assert re.search(r" 0 failed; load \d+\.\d when it began\n", said), "others can judge the figures"
    for words in ("no card: this ran on a CPU", "openledger-node 0.", "torch 2.", "kernel none", "a base of my own"):
        assert words in said
    assert "met" not in said, "the goals are a card's"
    assert [line.split()[0] for line in said.splitlines() if line.startswith("G")] == ["G4", "G6", "G8", "G9", "G12"]
    assert "a pause, until the engine's process is gone: 0." in said


def test_a_block_to_share_names_nothing_of_the_operators(
    run: Run, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_base(tmp_path / "my-secret-tune")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BACKEND", "torch_lora")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", str(folder))
    monkeypatch.setenv("OPENLEDGER_INFERENCE_ACCELERATION", "off")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_CONTEXT_MAX", "128")
    said = run(*SHORT, "--share").stdout
    assert "a base of my own: 2 layers of 48, 4/2 heads, vocabulary 260" in said
    assert "G4   a step of 4 over the time that its bytes take: " in said
    assert "NOT TESTED: the base is not in 4 bits" in said
    for private in (str(home.root), str(tmp_path), "my-secret-tune", os.sep + "home", platform.node()):
        assert private not in said


def test_bars_of_a_card_are_met_by_its_figures() -> None:
    batches = tuple(
        BatchFigures(batch=batch, adapters=adapters, tokens_per_s=1, ttft_ms=1, ttft_p95_ms=1, step_ms=step_ms)
        for batch, adapters, step_ms in ((1, 0, 10.0), (32, 0, 16.0), (1, 1, 12.0), (32, 32, 25.0))
    )
    figures = Figures(
        profile=CARD,
        start_s=1,
        batches=batches,
        load_ms=1,
        load_p95_ms=1,
        adapter_bytes=1,
        batch_fits=32,
        peak_bytes=None,
        card_bytes=None,
        failures=(),
        shared=SharedFigures(chat_batch=16, greedy_step_ms=10.0, chat_step_ms=11.0, pause_s=1.5),
    )
    found = {bar.name: bar for bar in shared_bars(figures, {1: 8_000_000, 32: 10_000_000}, 1e9)}
    values = {name: bar.value for name, bar in found.items()}
    assert values == pytest.approx({"G4": 1.6, "G6": 0.64, "G8": 0.8, "G9": 10, "G12": 1.5})
    verdicts = {name: bar.verdict(is_card=True).rpartition(": ")[2] for name, bar in found.items()}
    assert verdicts == {"G4": "met)", "G6": "missed)", "G8": "met)", "G9": "missed)", "G12": "met)"}
