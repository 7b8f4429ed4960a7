"""Samples on the command line; adding one to a real base is in tests/real."""

from pathlib import Path

import pytest
from node.cli.verbs import Run

from openledger_node.datanets.sample import named_sample
from openledger_node.datanets.store import OwnDatanets

USAGE_ERROR, CONFIG_ERROR = 2, 3


@pytest.mark.parametrize("words", [(), ("--sample", "harbour", "--name", "mine")])
def test_either_a_folder_or_a_sample_is_added(run: Run, words: tuple[str, ...]) -> None:
    ran = run("adapters", "add", *words)
    assert (ran.status, ran.stdout) == (USAGE_ERROR, "")
    assert "give either a FOLDER, or --sample NAME alone" in ran.stderr


def test_the_rows_of_a_sample_are_contributed_with_the_accounts_of_its_people(run: Run, lake: OwnDatanets) -> None:
    batch = run("datanet", "contribute", "lake", "--sample", "harbour", "--json").json
    assert (batch["rows"], batch["contributors"], batch["unpaid"]) == (90, 3, 0)
    assert lake.get("lake").accounts == named_sample("harbour").accounts
    assert run("datanet", "contribute", "lake").status == USAGE_ERROR
    assert "choose harbour or valley" in run("datanet", "contribute", "lake", "--sample", "lake").stderr


@pytest.mark.parametrize("taken", ["rows.jsonl", "held-out.jsonl"])
def test_sample_rows_are_written_over_no_file(run: Run, tmp_path: Path, taken: str) -> None:
    files = {name: tmp_path / name for name in ("rows.jsonl", "held-out.jsonl")}
    files[taken].write_text("mine")
    ran = run("factory", "sample", "--out", files["rows.jsonl"], "--held-out", files["held-out.jsonl"])
    assert (ran.status, ran.stdout) == (CONFIG_ERROR, "")
    assert f"{files[taken].name} exists already, and rows are never overwritten: name another file" in ran.stderr
    assert [file.name for file in tmp_path.glob("*.jsonl")] == [taken]
    assert files[taken].read_text() == "mine"
