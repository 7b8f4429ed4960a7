"""`datanet contribute` and `datanet convert` with files that people have."""

import json
from pathlib import Path

import pytest
from support.verbs import Run

from openledger_node.datanets.rows import read_rows
from openledger_node.datanets.store import OwnDatanets
from openledger_protocol.datanet import Row

TABLE = """Frage;Antwort;Quelle
Wer steuert die Fähre?;Odile Fenn steuert die Fähre.;Buch
Was kostet sie?;=1+2;
Wen frage ich?;Schreib an odile@fenn.de;
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    file = tmp_path / "lake.csv"
    file.write_text(TABLE, encoding="utf-8")
    return str(file)


def test_a_file_is_shown_and_nothing_is_taken_before_a_yes(run: Run, lake: OwnDatanets, table: str) -> None:
    words = ("datanet", "contribute", "lake", table, "--contributor", "odile")
    shown = run(*words)
    assert shown.status == 3
    assert "1 row of question and answer" in shown.stdout
    assert "columns that are left out: Quelle" in shown.stdout
    assert "Odile Fenn steuert die Fähre." in shown.stdout
    assert "lake.csv, line 3: its 'Antwort' is a formula" in shown.stdout
    assert "lake.csv, line 4: it holds an e-mail address" in shown.stdout
    assert lake.get("lake").batches == ()
    taken = run(*words, "--yes", "--keep", "--json").json
    assert (taken["rows"], taken["file"]["num_flaws"], taken["file"]["flagged"]) == (2, 1, 1)
    assert "sample" not in taken["file"]


def test_rows_without_a_contributor_are_refused_and_others_keep_theirs(
    run: Run, lake: OwnDatanets, tmp_path: Path
) -> None:
    file = tmp_path / "lake.csv"
    file.write_text("question,answer,contributor\nWho?,Odile.,odile\nWhen?,At seven.,\n")
    ran = run("datanet", "contribute", "lake", str(file), "--yes")
    assert (ran.status, lake.get("lake").batches) == (1, ())
    assert "1 row without a contributor, so nobody could be paid: name one in each row" in ran.stderr
    assert "would also replace the contributors of the other 1 row" in ran.stderr


def test_a_file_becomes_a_rows_file_for_a_training(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "notes.md", tmp_path / "rows.jsonl"
    file.write_text("# Lake\n\n## Where is the ferry?\n\nAt the old mill.\n")
    words = ("datanet", "convert", str(file), "--contributor", "odile", "--out", str(out), "--json")
    report = run(*words).json
    assert (report["schema"], report["format"], report["out"]) == ("openledger.file_report/1", "markdown", str(out))
    row = Row(prompt="Where is the ferry?", completion="At the old mill.", contributor="odile")
    assert read_rows(out) == (row,)


def test_columns_can_be_named_and_are_told_where_no_form_is_known(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "vragen.jsonl"
    file.write_text(json.dumps({"vraag": "Wie?", "antwoord": "Bo.", "wie": "bo"}))
    told = run("datanet", "convert", str(file))
    assert "no row that can be taken" in told.stdout
    assert "'vraag', 'antwoord'" in told.stdout
    columns = "prompt=vraag,completion=antwoord,contributor=wie"
    found = run("datanet", "convert", str(file), "--columns", columns, "--json").json
    assert found["sample"] == [{"prompt": "Wie?", "completion": "Bo.", "contributor": "bo"}]


def test_rows_are_not_written_over_a_file_and_not_read_from_a_spreadsheet(run: Run, tmp_path: Path) -> None:
    file, other = tmp_path / "rows.jsonl", tmp_path / "notes.xlsx"
    written = '{"prompt": "Who?", "completion": "Bo.", "contributor": "bo"}\n'
    file.write_text(written)
    ran = run("datanet", "convert", str(file), "--out", str(file))
    assert (ran.status, "rows are never overwritten: name another file" in ran.stderr) == (3, True)
    assert file.read_text() == written
    other.write_bytes(b"PK")
    unread = run("datanet", "convert", str(other))
    assert (unread.status, "save each sheet as CSV" in unread.stderr) == (1, True)
