"""`datanet`: rows offered, taken in and shown, all without a chain; what is sent to one is in `test_publishing`."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.contributors import ADA, BEN, CONTRIBUTED
from support.verbs import Run

from openledger_node.datanets.rows import write_rows
from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home
from openledger_node.models.library import list_adapters
from openledger_protocol.datanet import datanet_id
from openledger_protocol.primitives import ZERO_ADDRESS


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
    assert message in ran.stderr
    assert ran.status == status


@pytest.mark.process
def test_an_adapter_learns_from_a_published_version_and_names_it(
    run: Run, lake: OwnDatanets, rows: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "fake")
    train = ("factory", "train", "--datanet", "lake", "--name", "lake", "--held-out", rows, "--trainer", "fake")
    assert "no version of lake was published" in run(*train).stderr
    lake.approve("lake", lake.contribute("lake", CONTRIBUTED, {"ben": BEN}).digest, {})
    version, *counts = lake.next_version("lake")
    lake.keep_version(version, *counts)
    assert run(*train, "--json").json["rows"] == 3
    assert "no version 2 of lake was published" in run(*train[:3], "lake@2", *train[4:]).stderr
    (adapter,) = list_adapters(home)
    (learned,) = adapter.manifest.datanets or ()
    assert learned.id == datanet_id(ZERO_ADDRESS, "lake"), "no wallet was there to own it"
    assert (learned.version, learned.rows_root) == ("1", version.rows_root)


@pytest.fixture
def copied(lake: OwnDatanets) -> str:
    """The batch of somebody who gave the rows of others."""
    lake.approve("lake", lake.contribute("lake", CONTRIBUTED, {"ben": BEN}).digest, {})
    return lake.contribute("lake", [replace(row, contributor="eve") for row in CONTRIBUTED], {}).digest


def test_an_appeal_is_filed_and_decided_and_a_mistake_in_it_is_explained(run: Run, copied: str) -> None:
    for words, says in (
        (("4", "--because", "x"), "the batch has rows 1 to 3, not 4"),
        (("1", "--because", ""), "a reason has 1 to 400 characters, not 0"),
        (("1", "--deny", "--because", "x"), "nobody has appealed for row 1"),
        (("1",), "--because"),
        (("one", "--because", "x"), "invalid value for 'ROW'"),
    ):
        refused = run("datanet", "appeal", "lake", copied, *words)
        assert (refused.status != 0, says in refused.stderr) == (True, True), says
    filed = run("datanet", "appeal", "lake", copied, "2", "--because", "I wrote it")
    assert f"datanet appeal lake {copied[:10]} 2 --uphold --because TEXT`, or --deny" in filed.stderr
    assert "I wrote it: waits for a decision" in run("datanet", "show", "lake", copied).stdout
    decided = run("datanet", "appeal", "lake", copied, "2", "--uphold", "--because", "She did", "--json").json
    assert (decided["schema"], decided["row"], decided["upheld"]) == ("openledger.appeal/1", 2, True)
    assert "because I wrote it: upheld, because She did" in run("datanet", "show", "lake", copied).stdout
