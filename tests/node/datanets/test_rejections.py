"""Rows and batches that the owner rejects: they are in no version, and an approval stays as it was given."""

from dataclasses import replace

import pytest
from support.indexes import ADA, BO

from openledger_node.datanets.about import DatanetAbout, DatanetPolicy
from openledger_node.datanets.own import state_of
from openledger_node.datanets.review import appeal, approve, check_again, measure, reject
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.version import read_version
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError

from .conftest import publish

ROWS = tuple(
    Row(prompt=f"Who keeps the {what}?", completion=f"{name} keeps it, and has done so for years.", contributor=BO)
    for what, name in (("ferry", "Odile"), ("mill", "Rurik"), ("light", "Tamsin"), ("gate", "Petra"))
)


SHORT = DatanetAbout(policy=DatanetPolicy(characters_max=80))
LONG = Row(prompt="Who keeps the well?", completion="Wilma keeps it, " + "year after year, " * 5, contributor=BO)


def test_rows_that_are_left_out_are_in_no_version(own: OwnDatanets, home: Home) -> None:
    batch = own.contribute("lake", ROWS, {}).digest
    found = approve(own, "lake", batch, {}, leave_out=[3, 1, 3], because="they  name\ncustomers")
    assert [(each.row, each.because) for each in found.gate.rejected] == [
        (1, "they name customers"),
        (3, "they name customers"),
    ]
    assert own.rows(own.get("lake")) == (ROWS[1], ROWS[3])
    version = read_version(home, "lake", publish(own))
    assert [each.digest for each in version.rows] == [canonical_digest(ROWS[1]), canonical_digest(ROWS[3])]
    again = [replace(row, contributor=ADA) for row in ROWS[:2]]
    assert [note.row for note in measure(own, "lake", again).gate.copies] == [2], "nor are they sources of copies"
    with pytest.raises(NodeError, match=r"row 3 was rejected \(they name customers\), so no version contains it"):
        appeal(own, "lake", batch, 3, "it is right")


def test_an_approval_can_be_repeated_and_not_changed(own: OwnDatanets) -> None:
    batch = own.contribute("lake", ROWS, {}).digest
    first = approve(own, "lake", batch, {}, leave_out=[2], because="wrong")
    assert approve(own, "lake", batch, {}, leave_out=[2], because="wrong again") == first
    assert approve(own, "lake", batch, {}) == first
    for change in (
        lambda: approve(own, "lake", batch, {}, leave_out=[3], because="wrong"),
        lambda: reject(own, "lake", batch, "wrong"),
    ):
        with pytest.raises(NodeError, match="is approved already, and that stays: `openledger-node datanet withdraw"):
            change()
    assert own.get("lake").batches == (first,)


def test_a_rejected_batch_waits_no_more_and_can_still_be_approved(own: OwnDatanets) -> None:
    batch = own.contribute("lake", ROWS, {})
    assert reject(own, "lake", batch.digest, "half of it is copied").gate.rejected_because == "half of it is copied"
    datanet = own.get("lake")
    assert (datanet.pending, state_of(datanet, datanet.batches[0])) == ((), "rejected")
    assert check_again(own, "lake", batch.digest).gate.rejected_because == "half of it is copied"
    with pytest.raises(NodeError, match=r"were rejected from lake as batch 0x\w{8} \(half of it is copied\)"):
        own.contribute("lake", ROWS, {})
    approve(own, "lake", batch.digest, {})
    datanet = own.get("lake")
    assert state_of(datanet, datanet.batches[0]) == "approved"
    assert datanet.batches[0].gate.rejected_because == ""


@pytest.mark.parametrize(
    ("rows", "because", "says"),
    [
        ([5], "x", "rows 1 to 4, not 5"),
        ([1, 2, 3, 4], "x", "all of its 4 rows: reject the batch instead"),
        ([1], " ", "1 to 400 characters, not 0"),
    ],
)
def test_a_senseless_rejection_approves_nothing(own: OwnDatanets, rows: list[int], because: str, says: str) -> None:
    batch = own.contribute("lake", ROWS, {}).digest
    with pytest.raises((NodeError, MalformedError), match=says):
        approve(own, "lake", batch, {}, leave_out=rows, because=because)
    assert own.get("lake").approved == ()


def test_the_policy_names_rows_by_their_numbers_in_the_batch(own: OwnDatanets) -> None:
    batch = own.contribute("lake", (*ROWS, LONG), {}).digest
    own.change("lake", about=SHORT)
    with pytest.raises(NodeError, match=r"1 row of 3 of this batch can't be taken .*\(row 5: it has"):
        approve(own, "lake", batch, {}, leave_out=[1, 2], because="twice")


def test_the_copy_of_a_row_that_is_left_out_belongs_to_its_own_contributor(own: OwnDatanets) -> None:
    copy = replace(ROWS[0], contributor=ADA)
    batch = own.contribute("lake", (*ROWS, copy), {})
    assert [(note.row, note.of_row) for note in batch.gate.copies] == [(5, 1)]
    found = approve(own, "lake", batch.digest, {}, leave_out=[1], because="wrong")
    assert (found.gate.copies, found.of_others, found.near_duplicates) == ((), 0, 0)
    assert found == check_again(own, "lake", batch.digest) == own.get("lake").batches[0]
