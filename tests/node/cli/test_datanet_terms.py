"""`datanet create` and `describe` before the chain is asked, and the policy when rows are offered and approved."""

from pathlib import Path

import pytest
from support.contributors import ADA
from support.verbs import Run

from openledger_node.datanets.about import DatanetAbout, DatanetPolicy
from openledger_node.datanets.rows import write_rows
from openledger_node.datanets.store import OwnDatanets
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
        (("create", "lake", "--description", "x" * 1_001), "at most 1000 characters"),
        (("create", "pond", "--only-languages"), "--only-languages needs the languages"),
        (("create", "lake", "--language", "Finnish", "--only-languages"), "Finnish of a row can't be recognised"),
        (("create", "lake", "--min-characters", "9", "--max-characters", "8"), "at least 9 and at most 8"),
        (("describe", "lake", "--bond", "five"), "'five' is not an amount"),
        (("bond", "0x" + "1" * 63, "5"), "is neither the id of a Datanet, 0x and 64 hex digits, nor a name"),
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


def test_a_datanet_shows_its_description_and_policy(
    run: Run, lake: OwnDatanets, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = DatanetAbout(description="Facts about the lake", languages=("English",), policy=POLICY)
    lake.change("lake", about=about)
    shown = run("datanet", "show", "lake").stdout
    assert "Facts about the lake" in shown
    assert "at least 20 characters a row" in shown
    told = run("datanet", "show", "lake", "--json").json["about"]
    assert told["policy"]["characters_min"] == 20
    monkeypatch.setenv("OPENLEDGER_NODE_NETWORK", "local")
    assert "this data directory is on no network" in run("datanet", "show", "0x" + "1" * 64).stderr
