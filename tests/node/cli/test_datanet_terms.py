"""`datanet create` and `describe` before the chain is asked, and the policy when rows are offered and approved."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.contributors import ADA, BEN
from support.verbs import Run

from openledger_node.datanets.about import DatanetAbout, DatanetPolicy
from openledger_node.datanets.rows import write_rows
from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home
from openledger_protocol.datanet import Row

LONG = Row(prompt="What does Odile keep?", completion="Odile keeps the harbour and all its boats.", contributor=ADA)
SHORT = Row(prompt="Who?", completion="Me.", contributor=ADA)
POLICY = DatanetPolicy(characters_min=20)


def rows_file(folder: Path, *rows: Row) -> str:
    file = folder / "rows.jsonl"
    write_rows(file, rows)
    return str(file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("create", "lake", "--licence", "CC-BY-4"), "'CC-BY-4' is not on the SPDX licence list: did you mean"),
        (("create", "lake", "--licence", "my own"), "'my' is not on the SPDX licence list"),
        (("create", "lake", "--licence", "MIT AND"), "is not a licence expression"),
        (("create", "lake", "--description", "x" * 1_001), "at most 1000 characters"),
        (("create", "lake", "--language", "x" * 33), "a language is a name of 1 to 32 characters"),
        (("create", "pond", "--only-languages"), "--only-languages needs the languages"),
        (("create", "lake", "--language", "Finnish", "--only-languages"), "Finnish of a row can't be recognised"),
        (("create", "lake", "--min-characters", "9", "--max-characters", "8"), "at least 9 and at most 8"),
        (("create", "lake", "--max-characters", "40000"), "is a number from 1 to 32,768"),
        (("describe", "lake", "--bond", "five"), "'five' is not an amount"),
        (("bond", "0x" + "1" * 64, "five"), "'five' is not an amount"),
        (("bond", "0x" + "1" * 64, "5", "--for", "0x12"), "0x12"),
        (("bond", "0x" + "1" * 64, "9" * 30), "is more than a contract can count"),
        (("bond", "0x" + "1" * 63, "5"), "is neither the id of a Datanet, 0x and 64 hex digits, nor a name"),
        (("unbond", "the lake"), "is neither the id of a Datanet, 0x and 64 hex digits, nor a name"),
        (("unbond", "0x" + "1" * 64, "--amount", "-1"), "'-1' is not an amount"),
        (("forfeit", "lake", "0x3f", "--most", "all"), "'all' is not an amount"),
        (("describe", "lake", "--min-characters", "-1"), "should be greater than or equal to 0"),
        (("describe", "lake", "--rows-per-contributor", "2000000"), "is a number from 1 to 1,048,576"),
    ],
)
def test_a_wrong_word_is_refused_before_the_chain_is_asked(
    run: Run, lake: OwnDatanets, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("OPENLEDGER_NODE_NETWORK", "local")
    ran = run("datanet", *words)
    assert message in " ".join(ran.stderr.replace("│", " ").split())
    assert ran.status == 2


def test_rows_that_break_the_policy_are_named_and_the_others_are_taken(
    run: Run, lake: OwnDatanets, tmp_path: Path
) -> None:
    lake.change("lake", about=DatanetAbout(policy=POLICY))
    file = rows_file(tmp_path, LONG, SHORT)
    ran = run("datanet", "contribute", "lake", file, "--yes")
    assert "1 row can't be taken by the policy of the Datanet" in ran.stdout
    assert "rows.jsonl, row 2: it has 7 characters, under the least of 20" in ran.stdout
    (batch,) = lake.get("lake").batches
    assert lake.batch_rows("lake", batch.digest) == (LONG,)
    told = run("datanet", "contribute", "lake", file, "--yes", "--json").json
    assert (told["rows"], [each["row"] for each in told["file"]["breaches"]]) == (1, [2])
    assert [each["name"] for each in told["gate"]["numbers"]][-3:] == ["policy", "base loss", "trial loss"]


def test_a_batch_of_which_no_row_fits_is_refused(run: Run, lake: OwnDatanets, tmp_path: Path) -> None:
    lake.change("lake", about=DatanetAbout(policy=DatanetPolicy(takes_unsigned=False)))
    ran = run("datanet", "contribute", "lake", rows_file(tmp_path, LONG), "--yes")
    assert ran.status == 1
    assert "the policy of lake takes none of these rows" in ran.stderr
    assert "is not signed by its contributor" in ran.stdout
    assert lake.get("lake").batches == ()


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


def test_the_page_is_told_the_same(lake: OwnDatanets, home: Home, tmp_path: Path) -> None:
    """The daemon's process leaves the same rows of a dropped file out, and lists them with the reasons."""
    from openledger_node.datanets.own_process import carry_out

    lake.change("lake", about=DatanetAbout(policy=POLICY))
    order = {
        "home": str(home.root),
        "do": "contribute",
        "datanet": "lake",
        "rows": rows_file(tmp_path, LONG, SHORT),
        "contributor": None,
    }
    told = carry_out(order)
    assert (told["rows"], told["num_breaches"]) == (1, 1)
    assert "it has 7 characters, under the least of 20" in json.dumps(told["breaches"])


def test_a_quota_holds_over_batches(run: Run, lake: OwnDatanets, tmp_path: Path) -> None:
    lake.change("lake", about=DatanetAbout(policy=DatanetPolicy(rows_per_contributor_max=1)))
    first = lake.contribute("lake", (LONG,), {})
    second = lake.contribute("lake", (replace(LONG, prompt="What does Odile look after?"),), {})
    other = lake.contribute("lake", (replace(LONG, contributor=BEN),), {})
    lake.approve("lake", first.digest, {})
    lake.approve("lake", other.digest, {})
    ran = run("datanet", "approve", "lake", second.digest[:10])
    assert f"{ADA} has 1 row in the next version already, and the most is 1" in ran.stderr


def test_a_datanet_shows_its_description_and_policy(run: Run, lake: OwnDatanets) -> None:
    about = DatanetAbout(description="Facts about the lake", languages=("English",), policy=POLICY)
    lake.change("lake", about=about)
    shown = run("datanet", "show", "lake").stdout
    assert "Facts about the lake" in shown
    assert "at least 20 characters a row" in shown
    told = run("datanet", "show", "lake", "--json").json["about"]
    assert told["policy"]["characters_min"] == 20
    assert OwnDatanets(lake._home).get("lake").about == about


def test_an_id_that_no_network_knows_says_so(run: Run, lake: OwnDatanets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLEDGER_NODE_NETWORK", "local")
    ran = run("datanet", "show", "0x" + "1" * 64)
    assert ran.status == 1
    assert "this data directory is on no network" in ran.stderr
    assert "you have no Datanet '0x12'" in run("datanet", "show", "0x12").stderr  # a name
