"""`datanet share` and `datanet pull`: who gets the rows, said plainly, and words that lead nowhere."""

import json
from typing import Any

import pytest
from support.contributors import ADA, BEN, CONTRIBUTED, TERMS
from support.verbs import Run

from openledger_node.cli.datanet_commit import WALK
from openledger_node.datanets.held import PulledVersion, is_private_here, keep_pulled, pulled_versions, rows_file
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.sharing import NO_CALLING_BACK, Sharing, is_private, says_readers, sharing_of
from openledger_node.datanets.standing import standing
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.primitives import DatanetId, Digest

USAGE = 2
LAKE = DatanetId("0x" + "ab" * 32)
ROOT = Digest("0x" + "cd" * 32)


@pytest.fixture
def lake(home: Home) -> OwnDatanets:
    own = OwnDatanets(home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # a licence and a share
    return own


def pulled(**changes: Any) -> PulledVersion:
    fields: dict[str, Any] = {
        "id": LAKE,
        "name": "pond",
        "version": 2,
        "rows_root": ROOT,
        "num_rows": 7,
        "licence": "MIT",
        "is_private": False,
    }
    return PulledVersion(**{**fields, **changes})


def test_a_new_datanet_is_public_and_can_be_made_private(run: Run, home: Home, lake: OwnDatanets) -> None:
    public = {"schema": "openledger.sharing/1", "datanet": "lake", "is_private": False, "allowed": []}
    assert run("datanet", "share", "lake", "--json").json == public
    assert "everybody may pull its rows" in says_readers(home, "lake")
    told = run("datanet", "share", "lake", "--private", "--allow", ADA, "--yes", "--json")
    assert told.json == {**public, "is_private": True, "allowed": [ADA]}
    assert NO_CALLING_BACK in " ".join(told.stderr.split())
    assert sharing_of(home, "lake") == Sharing(is_private=True, allowed=(ADA,))
    assert says_readers(home, "lake").startswith("1 wallet may pull its rows")
    assert run("datanet", "share", "lake", "--allow", BEN, "--remove", ADA, "--yes", "--json").json["allowed"] == [
        BEN
    ]
    shown = run("datanet", "share", "lake")
    assert "private: listed wallets may pull the rows" in shown.stdout
    assert BEN in shown.stdout
    assert run("datanet", "share", "lake", "--public", "--yes", "--json").json == public


def test_nothing_is_shared_with_more_people_without_a_yes(run: Run, home: Home, lake: OwnDatanets) -> None:
    run("datanet", "share", "lake", "--private")
    assert sharing_of(home, "lake").is_private, "fewer readers need no yes"
    for more in (("--public",), ("--allow", ADA)):
        assert run("datanet", "share", "lake", *more).status != 0
    assert sharing_of(home, "lake") == Sharing(is_private=True)


def test_a_version_that_is_out_already_may_have_been_pulled(run: Run, lake: OwnDatanets) -> None:
    batch = lake.contribute("lake", CONTRIBUTED, {"ben": BEN})
    lake.approve("lake", batch.digest, {})
    version, *count = lake.next_version("lake")
    lake.keep_version(version, *count)
    told = " ".join(run("datanet", "share", "lake", "--private").stderr.split())
    assert "may have been pulled: those copies stay with their holders" in told


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("share", "lake", "--private", "--allow", "0x12"), "--allow takes the address of a wallet"),
        (("share", "lake", "--private", "--allow", ADA.lower().replace("0x", "0X")), "--allow takes the address"),
        (("share", "lake", "--remove", "ada"), "--remove takes the address of a wallet"),
        (("forget", "a lake"), "neither the id of a Datanet"),
        (("forget", "lake@0"), "has no version"),
        (("pull", "a lake"), "neither the id of a Datanet"),
        (("pull", ""), "neither the id of a Datanet"),
        (("pull", "lake@"), "has no version"),
        (("pull", "lake@0"), "has no version"),
        (("pull", "lake@one"), "has no version"),
        (("pull", f"{LAKE}@1@2"), "has no version"),
        (("pull", f"{LAKE}@{'9' * 5_000}"), "has no version"),
    ],
)
def test_a_wrong_word_is_refused_before_anybody_is_asked(
    run: Run, lake: OwnDatanets, words: tuple[str, ...], why: str
) -> None:
    ran = run("datanet", *words)
    assert ran.status == USAGE
    assert why in " ".join(ran.stderr.split())


def test_a_list_of_a_public_datanet_means_nothing(run: Run, lake: OwnDatanets) -> None:
    told = run("datanet", "share", "lake", "--allow", ADA)
    assert told.status != 0
    assert "add --private" in told.stderr


def test_a_wallet_that_is_not_listed_cannot_be_removed(run: Run, lake: OwnDatanets) -> None:
    run("datanet", "share", "lake", "--private")
    told = run("datanet", "share", "lake", "--remove", ADA)
    assert "is not on the list" in " ".join(told.stderr.split())


def test_only_ones_own_datanets_are_shared(run: Run, home: Home) -> None:
    told = run("datanet", "share", "sea", "--private")
    assert "you have no Datanet 'sea'" in " ".join(told.stderr.split())


def test_without_a_node_nothing_is_pulled(run: Run, home: Home) -> None:
    told = run("datanet", "pull", "lake")
    assert "only a running node has peers" in " ".join(told.stderr.split())


def test_a_name_that_begins_like_an_id_is_a_name(run: Run, home: Home) -> None:
    assert "only a running node has peers" in " ".join(run("datanet", "pull", "0xlake").stderr.split())
    OwnDatanets(home).create(new_datanet("0xlake", treasury=ADA, **TERMS))  # type: ignore[arg-type]
    assert run("datanet", "show", "0xlake", "--json").json["name"] == "0xlake"
    assert standing(home, "0xlake", None) == []


def test_pulled_rows_are_deleted_and_those_of_a_private_datanet_stay_unsellable(run: Run, home: Home) -> None:
    sea = DatanetId("0x" + "ef" * 32)
    for each in (
        pulled(),
        pulled(version=3, rows_root="0x" + "12" * 32),
        pulled(id=sea, name="sea", is_private=True),
    ):
        keep_pulled(home, each)
        rows_file(home, each.id, each.rows_root).write_text("[]")
    unsure = run("datanet", "forget", "pond")
    assert (unsure.status, len(pulled_versions(home))) == (3, 3)
    assert f"Delete 14 rows of pond ({LAKE[:10]}, version 2, 3)?" in unsure.stderr
    assert run("datanet", "forget", "pond@3", "--yes", "--json").json == {
        "schema": "openledger.forgotten_rows/1",
        "id": LAKE,
        "versions": [3],
    }
    assert "nothing is pulled of pond@3" in run("datanet", "forget", "pond@3", "--yes").stderr
    assert f"`openledger-node datanet pull {sea}`" in " ".join(
        run("datanet", "forget", "sea", "--yes").stderr.split()
    )
    assert [(each.name, each.version) for each in pulled_versions(home)] == [("pond", 2)]
    assert not rows_file(home, sea, ROOT).exists()
    run("datanet", "forget", LAKE, "--yes")
    assert pulled_versions(home) == []
    assert is_private_here(home, ROOT), "an adapter that was trained on them can't be sold"


def test_of_two_pulled_datanets_of_one_name_the_id_is_needed(run: Run, home: Home) -> None:
    keep_pulled(home, pulled())
    keep_pulled(home, pulled(id="0x" + "ef" * 32))
    told = " ".join(run("datanet", "forget", "pond", "--yes").stderr.split())
    assert f"2 pulled Datanets are called pond: give the id of one, {LAKE} or 0x" in told
    assert len(pulled_versions(home)) == 2


def test_the_commands_are_listed_as_people_need_them(run: Run) -> None:
    lines = run("datanet", "--help").stdout.partition("Commands:")[2].partition("Options:")[0].splitlines()
    assert [line.split()[0] for line in lines if line[2:3].strip()] == list(WALK)


def test_a_damaged_list_is_said_and_can_be_set_again(run: Run, home: Home, lake: OwnDatanets) -> None:
    file = home.datanets / "lake" / "own" / "sharing.json"
    for content in ("{", "{}", json.dumps({"schema": "openledger.sharing/1", "is_private": True, "allowed": ["x"]})):
        file.write_text(content)
        with pytest.raises(NodeError, match="so nobody gets the rows of lake"):
            sharing_of(home, "lake")
    assert "write it again with" in " ".join(run("datanet", "share", "lake").stderr.split())
    run("datanet", "share", "lake", "--private")
    assert sharing_of(home, "lake") == Sharing(is_private=True)


def test_pulled_versions_are_listed(run: Run, home: Home) -> None:
    keep_pulled(home, pulled())
    keep_pulled(home, pulled(id="0x" + "ef" * 32, name="sea", is_private=True))
    (home.datanets / LAKE / f"{'0x' + '11' * 32}.pulled").write_text("{")
    listed = run("datanet", "list", "--json").json
    assert [(each["name"], each["is_private"]) for each in listed["pulled"]] == [("pond", False), ("sea", True)]
    shown = run("datanet", "list").stdout
    assert "pond" in shown
    assert "private" in shown
    assert is_private(home, ROOT), "one of its holders says so"
