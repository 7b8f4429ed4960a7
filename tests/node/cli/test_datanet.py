"""`datanet` without a chain: rows are read from files, contributed, approved and shown, under a policy."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from node.cli.verbs import Run
from support.contributors import ADA, BEN, CONTRIBUTED

from openledger_node.datanets.about import DatanetAbout, DatanetPolicy
from openledger_node.datanets.rows import read_rows, write_rows
from openledger_node.datanets.store import OwnDatanets
from openledger_protocol.datanet import Row


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "rows.jsonl"
    write_rows(file, CONTRIBUTED)
    return str(file)


def test_rows_are_offered_taken_in_and_shown(run: Run, lake: OwnDatanets, rows: str) -> None:
    offered = run("datanet", "contribute", "lake", rows, "--account", f"ben={BEN}", "--yes", "--json").json
    digest, read, gate = offered["digest"], offered.pop("file"), offered["gate"]
    assert [each["verdict"] for each in gate["numbers"]] == ["ok"] * 7 + ["unmeasured"] * 2
    assert (read["format"], read["rows"], read["num_flaws"]) == ("jsonl", 3, 0)
    figures = {"rows": 3, "contributors": 2, "near_duplicates": 0, "of_others": 0, "unpaid": 0, "gate": gate}
    batch = {"schema": "openledger.batch/1", "datanet": "lake", "digest": digest, **figures, "committed": None}
    assert offered == {**batch, "state": "pending"}
    assert run("datanet", "approve", "lake", digest[:10], "--json").json == {**batch, "state": "approved"}
    shown = run("datanet", "show", "lake", "--json").json
    assert (shown["schema"], shown["accounts"], shown["approved"]) == ("openledger.datanet/1", {"ben": BEN}, [digest])
    assert shown["batches"] == [{"digest": digest, **figures, "committed": None}]
    assert [each["name"] for each in run("datanet", "list", "--json").json["datanets"]] == ["lake"]
    assert lake.rows(lake.get("lake")) == CONTRIBUTED


def test_rows_are_left_out_of_a_batch_and_a_batch_is_rejected(run: Run, lake: OwnDatanets, rows: str) -> None:
    digest = run("datanet", "contribute", "lake", rows, "--yes", "--json").json["digest"]
    rejected = run("datanet", "reject", "lake", digest[:10], "--because", "not checked")
    assert f"batch {digest[:10]} of lake is rejected" in rejected.stdout
    shown = run("datanet", "show", "lake", digest).stdout
    assert ("rejected" in shown, "not checked" in shown) == (True, True)
    words = ("datanet", "approve", "lake", digest, "--except", "1,3-3", "--because", "they are wrong")
    assert "is approved: 1 row" in run(*words).stdout
    assert lake.rows(lake.get("lake")) == CONTRIBUTED[1:2]
    assert "2 rows (1, 3), because they are wrong" in run("datanet", "show", "lake", digest).stdout
    states = [each["state"] for each in run("datanet", "rows", "lake", "--json").json["rows"]]
    assert states == ["rejected", "approved", "rejected"]


def test_people_are_told_what_the_intake_found_and_what_comes_next(run: Run, lake: OwnDatanets, rows: str) -> None:
    assert "is pending: 3 rows" in (offered := run("datanet", "contribute", "lake", rows, "--yes")).stdout
    assert "1 have a contributor without an address" in offered.stderr
    assert "openledger-node datanet approve lake 0x" in offered.stderr
    (batch,) = lake.get("lake").batches
    assert "is approved" in run("datanet", "approve", "lake", batch.digest).stdout
    again = run("datanet", "contribute", "lake", rows, "--contributor", "eve", "--yes").stderr
    assert "3 are near-duplicates of earlier rows, 3 of them of other contributors" in again
    first = "row 1 “What does Odile keep? → Odile keeps the harbour.”"
    assert f"{first} copies row 1 of batch {batch.digest[:10]} of {ADA}" in again
    assert "if one of them is no copy: `openledger-node datanet appeal lake 0x" in again
    copied = lake.get("lake").batches[1].digest
    shown = run("datanet", "show", "lake", copied[:10]).stdout
    for words in ("3 rows that copy another contributor", "at most 0", "look", "copies row 3 of batch"):
        assert words in shown
    checked = run("datanet", "check", "lake", copied[:10])
    assert "the loss of the base is not measured" in checked.stderr
    assert run("datanet", "check", "lake", copied[:10], "--trial").status != 0


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("show", "pond"), 1, "you have no Datanet 'pond'"),
        (("contribute", "lake", "/nowhere.jsonl"), 1, "cannot read rows from /nowhere.jsonl"),
        (("contribute", "lake", "ROWS", "--account", "ben"), 2, "'ben' has no address"),
        (("contribute", "lake", "ROWS", "--yes", "--account", f"{ADA}={BEN}"), 1, "is an address and is paid there"),
        (("contribute", "lake", "ROWS", "--columns", "prompt"), 1, "can't read the columns 'prompt'"),
        (("approve", "lake", "0x12"), 1, "0 batches of lake begin with '0x12'"),
        (("approve", "lake", "0x12", "--except", "3"), 2, "--because with the reason, or neither of them"),
        (("approve", "lake", "0x12", "--except", "3,x", "--because", "x"), 2, "'3,x' is no list of rows"),
        (("create", "lake", "--rule", "poa-v2"), 2, "'poa-v2' is not an attribution rule of Datanets: choose"),
        (("create", "lake", "--licence", "CC-BY-4"), 2, "'CC-BY-4' is not on the SPDX licence list: did you mean"),
        (("create", "lake", "--description", "x" * 1_001), 2, "at most 1000 characters"),
        (("create", "pond", "--only-languages"), 2, "--only-languages needs the languages"),
        (("create", "lake", "--language", "Finnish", "--only-languages"), 2, "Finnish of a row can't be recognised"),
        (("create", "lake", "--min-characters", "9", "--max-characters", "8"), 2, "at least 9 and at most 8"),
        (("describe", "lake", "--rows-per-contributor", "2000000"), 2, "is a number from 1 to 1,048,576"),
        (("publish", "lake"), 3, "this node is on no network"),
        (("show", "../lake"), 1, "not a name: '../lake'"),
    ],
)
def test_a_wrong_word_is_refused_with_what_to_do(
    run: Run,
    lake: OwnDatanets,
    rows: str,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    monkeypatch.setenv("OPENLEDGER_NODE_NETWORK", "local")
    ran = run("datanet", *[rows if word == "ROWS" else word for word in words])
    said = " ".join(ran.stderr.replace("│", " ").split())
    assert (ran.status, message in said) == (status, True), said


@pytest.fixture
def copied(lake: OwnDatanets) -> str:
    """The batch of somebody who gave the rows of others."""
    lake.approve("lake", lake.contribute("lake", CONTRIBUTED, {"ben": BEN}).digest, {})
    return lake.contribute("lake", [replace(row, contributor="eve") for row in CONTRIBUTED], {}).digest


def test_an_appeal_is_filed_and_decided_and_a_mistake_in_it_is_explained(run: Run, copied: str) -> None:
    for words, says in (
        (("4", "--because", "x"), "the batch has rows 1 to 3, not 4"),
        (("1", "--because", ""), "a reason has 1 to 400 characters, not 0"),
        (("1",), "--because"),
    ):
        refused = run("datanet", "appeal", "lake", copied, *words)
        assert (refused.status != 0, says in refused.stderr) == (True, True), says
    filed = run("datanet", "appeal", "lake", copied, "2", "--because", "I wrote it")
    assert f"datanet appeal lake {copied[:10]} 2 --uphold --because TEXT`, or --deny" in filed.stderr
    assert "I wrote it: waits for a decision" in run("datanet", "show", "lake", copied).stdout
    decided = run("datanet", "appeal", "lake", copied, "2", "--uphold", "--because", "She did", "--json").json
    assert (decided["schema"], decided["row"], decided["upheld"]) == ("openledger.appeal/1", 2, True)
    assert "because I wrote it: upheld, because She did" in run("datanet", "show", "lake", copied).stdout


def test_a_file_is_shown_and_nothing_is_taken_before_a_yes(run: Run, lake: OwnDatanets, tmp_path: Path) -> None:
    file = tmp_path / "lake.csv"
    lines = ["Frage;Antwort;Quelle", "Wer steuert die Fähre?;Odile Fenn steuert die Fähre.;Buch"]
    lines += ["Was kostet sie?;=1+2;", "Wen frage ich?;Schreib an odile@fenn.de;"]
    file.write_text("\n".join(lines), encoding="utf-8")
    words = ("datanet", "contribute", "lake", str(file), "--contributor", "odile")
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


def test_rows_without_a_contributor_are_refused(run: Run, lake: OwnDatanets, tmp_path: Path) -> None:
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


LONG = Row(prompt="What does Odile keep?", completion="Odile keeps the harbour and all its boats.", contributor=ADA)
SHORT = Row(prompt="Who?", completion="Me.", contributor=ADA)
POLICY = DatanetPolicy(characters_min=20)


def test_only_rows_that_break_the_policy_are_left_out(run: Run, lake: OwnDatanets, tmp_path: Path) -> None:
    lake.change("lake", about=DatanetAbout(policy=POLICY))
    write_rows(tmp_path / "rows.jsonl", (LONG, SHORT))
    file = str(tmp_path / "rows.jsonl")
    ran = run("datanet", "contribute", "lake", file, "--yes")
    assert "1 row can't be taken by the policy of the Datanet" in ran.stdout
    assert "rows.jsonl, row 2: it has 7 characters, under the least of 20" in ran.stdout
    (batch,) = lake.get("lake").batches
    assert lake.batch_rows("lake", batch.digest) == (LONG,)
    told = run("datanet", "contribute", "lake", file, "--yes", "--json").json
    assert (told["rows"], [each["row"] for each in told["file"]["breaches"]]) == (1, [2])
    assert [each["name"] for each in told["gate"]["numbers"]][-3:] == ["policy", "base loss", "trial loss"]
    lake.change("lake", about=DatanetAbout(policy=DatanetPolicy(takes_unsigned=False)))
    refused = run("datanet", "contribute", "lake", file, "--yes")
    assert (refused.status, "the policy of lake takes none of these rows" in refused.stderr) == (1, True)
    assert "is not signed by its contributor" in refused.stdout


def test_a_batch_that_a_later_policy_refuses_is_not_approved(run: Run, lake: OwnDatanets, tmp_path: Path) -> None:
    batch = lake.contribute("lake", (LONG, SHORT), {})
    lake.change("lake", about=DatanetAbout(policy=POLICY))
    ran = run("datanet", "approve", "lake", batch.digest[:10])
    assert ran.status == 1
    assert "1 row of 2 of this batch can't be taken by the policy of lake (row 2: it has 7 characters" in ran.stderr
    assert "openledger-node datanet describe lake" in ran.stderr
    assert lake.get("lake").approved == ()
    checked = run("datanet", "check", "lake", batch.digest[:10]).stdout
    assert "rows that break the policy" in checked


def test_a_datanet_shows_its_text_and_policy(run: Run, lake: OwnDatanets, monkeypatch: pytest.MonkeyPatch) -> None:
    about = DatanetAbout(description="Facts about the lake", languages=("English",), policy=POLICY)
    lake.change("lake", about=about)
    shown = run("datanet", "show", "lake").stdout
    assert "Facts about the lake" in shown
    assert "at least 20 characters a row" in shown
    told = run("datanet", "show", "lake", "--json").json["about"]
    assert told["policy"]["characters_min"] == 20
    monkeypatch.setenv("OPENLEDGER_NODE_NETWORK", "local")
    assert "this data directory is on no network" in run("datanet", "show", "0x" + "1" * 64).stderr
