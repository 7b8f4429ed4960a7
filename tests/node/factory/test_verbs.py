"""`factory` on the command line, with the fake trainer."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.commands import run_command
from support.processes.nodes import node_environment

from openledger_node.cli.factory_view import LINES_MAX, STAGE_LINES, describe
from openledger_node.datanets.rows import read_rows
from openledger_node.datanets.sample import draw_sample
from openledger_node.factory.order import datanet_name
from openledger_node.factory.trainer import TrainingProgress
from openledger_node.home import Home


def verb(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_command("factory", *words, env=node_environment(Home(home), COLUMNS="200"))


def train(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return verb(home, "train", "--base", "fake", "--trainer", "fake", "--name", "lake", *words)


@pytest.mark.process
def test_training_on_a_file_says_what_to_do_next_and_its_adapter_is_evaluated_beside_the_base(tmp_path: Path) -> None:
    files = ["--out", str(tmp_path / "rows.jsonl"), "--held-out", str(tmp_path / "held.jsonl")]
    assert verb(tmp_path, "sample", *files).returncode == 0
    assert read_rows(tmp_path / "rows.jsonl") == draw_sample(1).rows
    assert read_rows(tmp_path / "held.jsonl") == draw_sample(1).held_out
    run = train(tmp_path, "--rows", files[1], "--held-out", files[3])
    assert "was trained on 90 rows" in run.stdout
    assert "held-out loss: 4.000 before" in run.stdout
    assert "chat --model lake`" in run.stdout
    assert "step 72 of 72" in run.stderr
    assert len(run.stderr.splitlines()) <= LINES_MAX + 1 + STAGE_LINES + 3
    assert run.stderr.splitlines()[-3:] == [
        "  base and adapter answer held-out rows · 32 of 32 answers",
        "  writing the attribution index",
        "  adding the adapter to the library",
    ]
    found = json.loads(verb(tmp_path, "evaluate", "--limit", "5", "--json").stdout)
    assert (found["schema"], found["run"], found["rows"]) == ("openledger.evaluation/1", 1, 5)
    assert found["wins"]["won"] + found["wins"]["lost"] + found["wins"]["tied"] == 5
    assert "general set, loss" in verb(tmp_path, "status").stdout


@pytest.mark.parametrize(
    ("stem", "name"), [("notes", "notes"), ("my rows (2)", "my-rows--2-"), ("...", "rows"), ("x" * 99, "x" * 64)]
)
def test_a_datanet_is_called_after_its_file_as_far_as_a_name_can(stem: str, name: str) -> None:
    assert datanet_name(Path("somewhere") / f"{stem}.jsonl") == name


def test_a_line_holds_what_is_known() -> None:
    progress = TrainingProgress(step=0, steps=9, loss=None, held_out_loss=3.0, time_left_s=None)
    assert describe(progress, 3.0) == "held-out 3.000"
    progress = TrainingProgress(step=1, steps=9, loss=0.0, held_out_loss=None, time_left_s=0.0)
    assert describe(progress, 3.0) == "loss 0.000 · held-out 3.000 · 0 s left"


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--sites", "q_prj"), "sites names 'q_prj', which this base does not have: choose all, attention, mlp, or"),
        (("--held-out-percent", "5"), "held_out_percent has no effect here"),
    ],
)
def test_a_setting_out_of_range_is_refused_before_anything_is_trained(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    run = train(tmp_path, "--sample", *words)
    assert (run.returncode, run.stdout) == (3, "")
    assert says in " ".join(run.stderr.split())
    assert "no training yet" in verb(tmp_path, "status").stdout


@pytest.mark.process
def test_a_royalty_that_is_no_percentage_is_refused_before_the_chain_is_asked(tmp_path: Path) -> None:
    run = verb(tmp_path, "publish", "--royalty=101")
    assert run.returncode == 2, run.stderr
    assert "percent" in run.stderr


@pytest.mark.process
def test_every_setting_reaches_the_training_and_its_manifest_and_one_object_is_printed(tmp_path: Path) -> None:
    flags = {
        "--method": "rslora", "--rank": "4", "--sites": "v_proj,q_proj", "--dropout": "0.1", "--schedule": "linear",
        "--warm-up-percent": "2.5", "--weight-decay": "0.01", "--learning-rate": "0.001", "--layers": "3",
        "--batch-size": "4", "--epochs": "1", "--seed": "7", "--tokens-max": "900",
    }  # fmt: skip
    words = [word for flag in flags.items() for word in flag]
    run = train(tmp_path, "--sample", "--json", *words)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    assert found["schema"] == "openledger.training/1"
    assert (found["name"], found["rows"], found["held_out"]) == ("lake", 90, 30)
    assert found["full_name"] == f"lake@{found['id'][2:10]}"
    assert found["loss_after"] < found["loss_before"]
    manifest = json.loads((Path(found["folder"]) / "adapter.json").read_text())
    assert manifest["datanets"][0]["version"] == "seed-7"
    config = manifest["training"]["config"]
    expected = {
        "method": "rslora", "rank": 4, "alpha": 8, "sites": "v_proj,q_proj", "dropout": 0.1, "schedule": "linear",
        "warm_up_ppm": 25_000, "weight_decay": 0.01, "learning_rate": 0.001, "layers": 3, "batch_size": 4,
        "epochs": 1, "seed": 7, "tokens_max": 900,
    }  # fmt: skip
    assert {name: config[name] for name in expected} == expected
