"""`datanet`: rows offered, taken in and shown, all without a chain; what is sent to one is in `test_publishing`."""

import json
from pathlib import Path

import pytest
from support.contributors import ADA, BEN, CONTRIBUTED
from support.verbs import Run

from openledger_node.cli.units import ppm_of
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
    figures["committed"] = None
    assert offered == {
        "schema": "openledger.batch/1",
        "datanet": "lake",
        "state": "pending",
        "digest": digest,
        **figures,
    }
    assert run("datanet", "approve", "lake", digest[:10], "--json").json == {**offered, "state": "approved"}
    assert run("datanet", "show", "lake", "--json").json == {
        "schema": "openledger.datanet/1",
        "name": "lake",
        "licence": "CC-BY-4.0",
        "treasury": ADA,
        "owner_ppm": 50_000,
        "rules": [],  # no network has told them yet
        "accounts": {"ben": BEN},
        "batches": [{"digest": digest, **figures}],
        "approved": [digest],
        "versions": [],
        "withdrawn": [],
        "about": {
            "description": "",
            "languages": [],
            "policy": {
                "characters_min": 0,
                "characters_max": None,
                "languages": [],
                "rows_per_contributor_max": None,
                "takes_unsigned": True,
                "bond_wei_min": "0",
            },
        },
    }
    listed = run("datanet", "list", "--json").json
    assert [each["name"] for each in listed["datanets"]] == ["lake"]
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
    offered = run("datanet", "contribute", "lake", rows, "--yes")
    assert "is pending: 3 rows" in offered.stdout
    assert "1 have a contributor without an address" in offered.stderr
    assert "openledger-node datanet approve lake 0x" in offered.stderr
    (batch,) = lake.get("lake").batches
    assert "is approved" in run("datanet", "approve", "lake", batch.digest).stdout
    again = run("datanet", "contribute", "lake", rows, "--contributor", "eve", "--yes")
    assert "3 are near-duplicates of earlier rows, 3 of them of other contributors" in again.stderr
    assert (
        f"row 1 “What does Odile keep? → Odile keeps the harbour.” copies row 1 of batch {batch.digest[:10]} of {ADA}"
        in again.stderr
    )
    assert "if one of them is no copy: `openledger-node datanet appeal lake 0x" in again.stderr
    shown = run("datanet", "show", "lake").stdout
    assert "CC-BY-4.0" in shown
    assert ("approved" in shown, "pending" in shown) == (True, True)
    assert "lake" in run("datanet", "list").stdout


def test_rows_may_leave_their_contributor_to_the_flag(run: Run, lake: OwnDatanets, tmp_path: Path) -> None:
    file = tmp_path / "bare.jsonl"
    file.write_text(json.dumps({"prompt": "Who bakes?", "completion": "Wilma bakes."}))
    found = run("datanet", "contribute", "lake", str(file), "--contributor", BEN, "--yes", "--json").json
    assert (found["rows"], found["unpaid"]) == (1, 0)


def test_an_empty_home_says_how_to_begin(run: Run) -> None:
    assert "datanet create NAME --licence LICENCE" in run("datanet", "list").stdout


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("show", "pond"), 1, "you have no Datanet 'pond'"),
        (("contribute", "pond", "ROWS"), 1, "you have no Datanet 'pond'"),
        (("contribute", "lake", "/nowhere.jsonl"), 1, "cannot read rows from /nowhere.jsonl"),
        (("contribute", "lake", "ROWS", "--account", "ben"), 2, "'ben' has no address"),
        (("contribute", "lake", "ROWS", "--account", "ben=0x12"), 1, "not an address: '0x12'"),
        (("contribute", "lake", "ROWS", "--yes", "--account", f"{ADA}={BEN}"), 1, "is an address and is paid there"),
        (("contribute", "lake", "ROWS", "--contributor", "a b"), 1, "not a name: 'a b'"),
        (("contribute", "lake", "ROWS", "--contributor", ADA[:-1] + "x"), 1, "an address"),
        (("contribute", "lake", "ROWS"), 3, "Take 3 rows into lake? Give --yes to confirm"),
        (("contribute", "lake", "ROWS", "--columns", "prompt"), 1, "can't read the columns 'prompt'"),
        (("approve", "lake", "0x12"), 1, "0 batches of lake begin with '0x12'"),
        (("approve", "lake", "0x12", "--except", "3"), 2, "--because with the reason, or neither of them"),
        (("approve", "lake", "0x12", "--because", "x"), 2, "--because with the reason, or neither of them"),
        (("approve", "lake", "0x12", "--except", "3,x", "--because", "x"), 2, "'3,x' is no list of rows"),
        (("approve", "lake", "0x12", "--except", "", "--because", "x"), 2, "'' is no list of rows"),
        (("approve", "lake", "0x12", "--except", "3-", "--because", "x"), 2, "'3-' is no list of rows"),
        (("reject", "lake", "0x12", "--because", "x"), 1, "0 batches of lake begin with '0x12'"),
        (("reject", "lake", "0x12"), 2, "--because"),
        (("create", "lake", "--owner-share", "101"), 2, "'101' is not a percentage"),
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


@pytest.mark.parametrize(("text", "ppm"), [("10", 100_000), ("2.5", 25_000), ("0.0001", 1), ("100", 1_000_000)])
def test_a_percentage_is_exact(text: str, ppm: int) -> None:
    assert ppm_of(text) == ppm


def test_a_pull_needs_a_running_node(run: Run) -> None:
    ran = run("adapters", "pull", "lake")
    assert (ran.status, "only a running node has peers to download from" in ran.stderr) == (1, True)


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
def copied(run: Run, lake: OwnDatanets, rows: str) -> str:
    """The batch of somebody who gave the rows of others."""
    batch = run("datanet", "contribute", "lake", rows, "--account", f"ben={BEN}", "--yes", "--json").json["digest"]
    run("datanet", "approve", "lake", batch)
    return str(run("datanet", "contribute", "lake", rows, "--contributor", "eve", "--yes", "--json").json["digest"])


def test_a_batch_is_shown_with_its_numbers_and_copies(run: Run, copied: str) -> None:
    shown = run("datanet", "show", "lake", copied[:10]).stdout
    for words in (
        "3 rows that copy another contributor",
        "at most 0",
        "look",
        "names of people and postal addresses",
    ):
        assert words in shown
    assert "copies row 3 of batch" in shown
    plain = run("datanet", "show", "lake", copied[:10], "--json").json
    assert (plain["schema"], plain["state"], plain["digest"]) == ("openledger.batch/1", "pending", copied)
    assert [note["evidence"] for note in plain["gate"]["copies"]] == ["equal"] * 3


def test_an_appeal_is_filed_and_decided(run: Run, copied: str) -> None:
    filed = run("datanet", "appeal", "lake", copied, "2", "--because", "I wrote it")
    assert f"datanet appeal lake {copied[:10]} 2 --uphold --because TEXT`, or --deny" in filed.stderr
    assert "I wrote it: waits for a decision" in run("datanet", "show", "lake", copied).stdout
    decided = run("datanet", "appeal", "lake", copied, "2", "--uphold", "--because", "She did", "--json").json
    assert (decided["schema"], decided["row"], decided["upheld"]) == ("openledger.appeal/1", 2, True)
    shown = run("datanet", "show", "lake", copied).stdout
    assert "2 rows that copy another contributor" in shown
    assert "because I wrote it: upheld, because She did" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("4", "--because", "x"), "the batch has rows 1 to 3, not 4"),
        (("1", "--because", ""), "a reason has 1 to 400 characters, not 0"),
        (("1", "--deny", "--because", "x"), "nobody has appealed for row 1"),
        (("1",), "--because"),
        (("one", "--because", "x"), "invalid value for 'ROW'"),
    ],
)
def test_a_mistake_in_an_appeal_is_explained(run: Run, copied: str, words: tuple[str, ...], says: str) -> None:
    refused = run("datanet", "appeal", "lake", copied, *words)
    assert refused.status != 0
    assert says in refused.stderr


def test_a_batch_is_checked_without_a_base_and_says_so(run: Run, copied: str) -> None:
    checked = run("datanet", "check", "lake", copied[:10])
    assert "the loss of the base is not measured" in checked.stderr
    assert "base loss" in checked.stdout
    assert run("datanet", "check", "lake", copied[:10], "--trial").status != 0
    assert run("datanet", "check", "lake", "0xffff").status != 0
