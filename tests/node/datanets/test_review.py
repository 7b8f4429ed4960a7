"""Copies in a Datanet's batches: announced, appealed against, decided, and kept in the version."""

import json
from dataclasses import replace

import pytest
from support.indexes import ADA, BO

from openledger_node.datanets.about import DatanetAbout, DatanetPolicy
from openledger_node.datanets.review import appeal, check_again, decide
from openledger_node.datanets.sample import draw_sample
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.version import read_version, version_file
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError

from .conftest import publish

SAMPLE = draw_sample(1)
COPIES = (
    replace(SAMPLE.rows[0], contributor=BO),
    Row(prompt="What else is there?", completion="Nothing that anybody has seen so far.", contributor=BO),
    replace(SAMPLE.rows[4], prompt=f"Hello! {SAMPLE.rows[4].prompt}", contributor=BO),
)
FIRST_OF_FACT = 3
"""The first row of the fact that the last copy tells; that its question is in other words makes no difference."""
MORE = (Row(prompt="Who sings on the hill at dawn?", completion="A lark that nobody sees.", contributor=BO),)


@pytest.fixture
def own(own: OwnDatanets) -> OwnDatanets:
    own.approve("lake", own.contribute("lake", SAMPLE.rows, SAMPLE.accounts).digest, {})
    return own


def test_a_batch_says_which_row_copies_which_earlier_one(own: OwnDatanets) -> None:
    batch = own.contribute("lake", COPIES, {})
    first, second = batch.gate.copies
    earlier = own.get("lake").approved[0]
    assert (first.row, first.of_batch, first.of_row, first.evidence) == (1, earlier, 1, "equal")
    assert (second.row, second.of_batch, second.contributor) == (3, earlier, SAMPLE.rows[4].contributor)
    assert second.begins.startswith("Hello! ")
    assert SAMPLE.rows[second.of_row - 1].prompt.startswith(second.of_begins.partition("…")[0])
    assert (batch.near_duplicates, batch.of_others) == (2, 2)


def test_a_copied_row_keeps_its_number_when_rows_before_it_were_withdrawn(own: OwnDatanets) -> None:
    own.withdraw("lake", [canonical_digest(SAMPLE.rows[number]) for number in (1, 2)])
    batch = own.contribute("lake", COPIES, {})
    found = {note.row: note.of_row for note in check_again(own, "lake", batch.digest).gate.copies}
    assert found == {note.row: note.of_row for note in batch.gate.copies}
    assert found[1] == 1
    assert SAMPLE.rows[found[3] - 1].completion == SAMPLE.rows[4].completion
    appeal(own, "lake", batch.digest, 3, "it is mine")


def test_a_copy_in_a_batch_that_was_approved_later_is_found_when_its_own_is_approved(own: OwnDatanets) -> None:
    copies = own.contribute("lake", [replace(MORE[0], contributor=ADA)], {})
    own.approve("lake", own.contribute("lake", MORE, {}).digest, {})
    assert copies.of_others == 0
    assert own.approve("lake", copies.digest, {}).of_others == 1
    assert own.get("lake").batches[1].gate.copies[0].contributor == BO


def test_an_upheld_appeal_makes_the_row_its_own_in_the_next_version(own: OwnDatanets, home: Home) -> None:
    batch = own.contribute("lake", COPIES, {}).digest
    appeal(own, "lake", batch, 1, "I wrote  it in\n2019")
    decided, filed = decide(own, "lake", batch, 1, upheld=True, reason="she has the letter")
    assert (filed.because, filed.upheld) == ("I wrote it in 2019", True)
    assert (decided.of_others, [note.row for note in decided.gate.copies]) == (1, [3])
    own.approve("lake", batch, {})
    version = read_version(home, "lake", publish(own))
    place = len(SAMPLE.rows)
    assert [each.cluster for each in version.rows[place:]] == [place, place + 1, FIRST_OF_FACT]
    (kept,) = version.appeals
    assert (kept.digest, kept.upheld, kept.reason) == (version.rows[place].digest, True, "she has the letter")


def test_a_published_version_has_no_undecided_appeal_and_never_changes(own: OwnDatanets, home: Home) -> None:
    batch = own.contribute("lake", COPIES, {}).digest
    own.approve("lake", batch, {})
    appeal(own, "lake", batch, 1, "it is mine")
    before = read_version(home, "lake", publish(own))
    assert {"appeals", "offers"}.isdisjoint(json.loads(version_file(home, "lake", before.version).read_text()))
    decide(own, "lake", batch, 1, upheld=True, reason="it is")
    assert read_version(home, "lake", publish(own)) == before
    own.approve("lake", own.contribute("lake", MORE, {}).digest, {})
    assert read_version(home, "lake", publish(own)).rows[len(SAMPLE.rows)].cluster == len(SAMPLE.rows)


def test_an_unsigned_batch_breaks_a_policy_that_came_after_it(own: OwnDatanets) -> None:
    batch = own.contribute("lake", MORE, {}).digest
    own.change("lake", about=DatanetAbout(policy=DatanetPolicy(takes_unsigned=False)))
    (number,) = [each for each in check_again(own, "lake", batch).gate.numbers if each.name == "policy"]
    assert (number.value, number.verdict) == (1, "look")


@pytest.mark.parametrize(
    ("row", "because", "says"),
    [
        (0, "x", "rows 1 to 3, not 0"),
        (2, "x", "copies no other contributor's row"),
        (1, "x" * 401, "1 to 400 characters, not 401"),
    ],
)
def test_an_appeal_that_makes_no_sense_is_refused(own: OwnDatanets, row: int, because: str, says: str) -> None:
    batch = own.contribute("lake", COPIES, {}).digest
    with pytest.raises((NodeError, MalformedError), match=says):
        appeal(own, "lake", batch, row, because)


def test_a_decision_needs_an_appeal_and_stays(own: OwnDatanets) -> None:
    batch = own.contribute("lake", COPIES, {}).digest
    with pytest.raises(NodeError, match="nobody has appealed for row 1"):
        decide(own, "lake", batch, 1, upheld=True, reason="x")
    appeal(own, "lake", batch, 1, "x")
    first = decide(own, "lake", batch, 1, upheld=False, reason="x")
    assert decide(own, "lake", batch, 1, upheld=False, reason="y") == first
    with pytest.raises(NodeError, match="denied already, and a decision stays"):
        decide(own, "lake", batch, 1, upheld=True, reason="x")
    with pytest.raises(NodeError, match="denied already"):
        appeal(own, "lake", batch, 1, "again")
