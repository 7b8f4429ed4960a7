"""`datanet pull` and `datanet forget`: rows of others here, and words that lead nowhere."""

from typing import Any

import pytest
from node.cli.verbs import Run
from support.contributors import ADA, TERMS

from openledger_node.datanets.held import PulledVersion, keep_pulled, pulled_versions, rows_file
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.standing import standing
from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home
from openledger_protocol.primitives import DatanetId, Digest

USAGE = 2
LAKE = DatanetId("0x" + "ab" * 32)
ROOT = Digest("0x" + "cd" * 32)


def pulled(**changes: Any) -> PulledVersion:
    fields: dict[str, Any] = {"id": LAKE, "name": "pond", "version": 2, "rows_root": ROOT, "num_rows": 7}
    fields["licence"] = "MIT"
    return PulledVersion(**{**fields, **changes})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("forget", "lake@0"), "has no version"),
        (("pull", "a lake"), "neither the id of a Datanet"),
        (("pull", f"{LAKE}@1@2"), "has no version"),
        (("pull", f"{LAKE}@{'9' * 5_000}"), "has no version"),
    ],
)
def test_a_wrong_word_is_refused_before_anybody_is_asked(run: Run, words: tuple[str, ...], why: str) -> None:
    ran = run("datanet", *words)
    assert ran.status == USAGE
    assert why in " ".join(ran.stderr.split())


def test_a_name_that_begins_like_an_id_is_a_name(run: Run, home: Home) -> None:
    assert "only a running node has peers" in " ".join(run("datanet", "pull", "0xlake").stderr.split())
    OwnDatanets(home).create(new_datanet("0xlake", treasury=ADA, **TERMS))  # type: ignore[arg-type]
    assert run("datanet", "show", "0xlake", "--json").json["name"] == "0xlake"
    assert standing(home, "0xlake", None) == []


def test_pulled_rows_are_deleted(run: Run, home: Home) -> None:
    sea = DatanetId("0x" + "ef" * 32)
    for each in (pulled(), pulled(version=3, rows_root="0x" + "12" * 32), pulled(id=sea, name="sea")):
        keep_pulled(home, each)
        rows_file(home, each.id, each.rows_root).write_text("[]")
    unsure = run("datanet", "forget", "pond")
    assert (unsure.status, len(pulled_versions(home))) == (3, 3)
    assert f"Delete 14 rows of pond ({LAKE[:10]}, version 2, 3)?" in unsure.stderr
    forgotten = run("datanet", "forget", "pond@3", "--yes", "--json").json
    assert forgotten == {"schema": "openledger.forgotten_rows/1", "id": LAKE, "versions": [3]}
    assert "nothing is pulled of pond@3" in run("datanet", "forget", "pond@3", "--yes").stderr
    assert f"`openledger-node datanet pull {sea}`" in " ".join(
        run("datanet", "forget", "sea", "--yes").stderr.split()
    )
    assert [(each.name, each.version) for each in pulled_versions(home)] == [("pond", 2)]
    assert not rows_file(home, sea, ROOT).exists()
    run("datanet", "forget", LAKE, "--yes")
    assert pulled_versions(home) == []


def test_pulled_versions_are_listed_and_of_two_of_one_name_the_id_is_needed(run: Run, home: Home) -> None:
    for each in (pulled(), pulled(id="0x" + "ef" * 32)):
        keep_pulled(home, each)
    (home.datanets / LAKE / f"{'0x' + '11' * 32}.pulled").write_text("{")
    assert [each["name"] for each in run("datanet", "list", "--json").json["pulled"]] == ["pond", "pond"]
    told = " ".join(run("datanet", "forget", "pond", "--yes").stderr.split())
    assert f"2 pulled Datanets are called pond: give the id of one, {LAKE} or 0x" in told
    assert len(pulled_versions(home)) == 2
