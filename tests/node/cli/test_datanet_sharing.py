"""`datanet share` and `datanet pull`: who gets the rows, said plainly, and words that lead nowhere."""

import json
from typing import Any

import pytest
from support.contributors import ADA, BEN, CONTRIBUTED, TERMS
from support.verbs import Run

from openledger_node.datanets.held import PulledVersion, keep_pulled
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.sharing import NO_CALLING_BACK, Sharing, is_private, says_readers, sharing_of
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
        (("pull", "0x12"), "neither the id of a Datanet"),
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
