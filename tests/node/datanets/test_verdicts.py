"""Copies of withdrawn rows, and rows that are proven to be older than those approved before them."""

import re
from dataclasses import replace

import pytest
from support.contributors import ADA, BEN
from support.indexes import BO

from openledger_node.datanets.about import DatanetAbout, DatanetPolicy
from openledger_node.datanets.commitments import Committed, owning_order
from openledger_node.datanets.review import appeal, decide
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.verdicts import Verdicts, judge
from openledger_node.datanets.version import read_version
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row

from .conftest import publish

SAID = Row(
    prompt="Who keeps the lighthouse at the end of the long pier?",
    completion="Rurik keeps it, and his sister keeps the boats below.",
    contributor=ADA,
)
COPY = replace(SAID, prompt=f"Hello! {SAID.prompt}", contributor=BEN)
OTHER = Row(prompt="What grows on the hill?", completion="Nothing but heather and gorse.", contributor=BO)


def judged(*batches: tuple[Row, ...], **given: object) -> Verdicts:
    return judge([dict(enumerate(batch, 1)) for batch in batches], **given)  # type: ignore[arg-type]


def kept(found: Verdicts) -> list[Row]:
    return [found.rows[place] for place in found.kept]


def approve(own: OwnDatanets, *batches: tuple[Row, ...]) -> list[str]:
    digests = []
    for rows in batches:
        digests.append(own.contribute("lake", rows, {}).digest)
        own.approve("lake", digests[-1], {})
    return digests  # type: ignore[return-value]


def test_a_copy_does_not_become_the_payee_by_a_withdrawal() -> None:
    found = judged((SAID, OTHER), (COPY,), withdrawn=[canonical_digest(SAID)])
    assert kept(found) == [OTHER]
    assert [found.rows[place] for place in found.left_out] == [COPY]


def test_a_copy_is_paid_to_the_owner_of_a_row_that_stays_and_to_its_own_if_an_appeal_cleared_it() -> None:
    found = judged((SAID, OTHER), (COPY,), withdrawn=[canonical_digest(OTHER)])
    assert (kept(found), found.clusters()) == ([SAID, COPY], (0, 0))
    found = judged((SAID, OTHER), (COPY,), withdrawn=[canonical_digest(SAID)], cleared=[canonical_digest(COPY)])
    assert (kept(found), found.clusters()) == ([OTHER, COPY], (0, 1))


def test_repetitions_of_a_withdrawn_row_by_its_own_contributor_stay_together() -> None:
    again = replace(SAID, prompt=SAID.prompt.upper())
    once_more = replace(SAID, completion=f"{SAID.completion} Yes.")
    found = judged((SAID, OTHER, again, once_more), (COPY,), withdrawn=[canonical_digest(SAID)])
    assert (kept(found), found.clusters()) == ([OTHER, again, once_more], (0, 1, 1))


def test_a_copy_that_is_offered_after_the_withdrawal_is_named_and_left_out(own: OwnDatanets) -> None:
    approve(own, (SAID, OTHER))
    publish(own)
    own.withdraw("lake", [canonical_digest(SAID)])
    batch = own.contribute("lake", (COPY,), {})
    (note,) = batch.gate.copies
    assert (note.contributor, note.is_withdrawn, batch.of_others) == (ADA, True, 1)
    own.approve("lake", batch.digest, {})
    assert own.rows(own.get("lake")) == (OTHER,)
    assert own.left_out(own.get("lake")) == {canonical_digest(COPY)}


def test_an_appeal_keeps_a_row_that_is_no_copy_of_the_withdrawn_one(own: OwnDatanets, home: Home) -> None:
    _, batch = approve(own, (SAID, OTHER), (COPY,))
    publish(own)
    own.withdraw("lake", [canonical_digest(SAID)])
    assert publish(own) == "2"
    assert own.version_rows("lake", "1")[1] == (SAID, OTHER, COPY), "a published version keeps its rows"
    assert own.training_rows("lake")[1] == own.version_rows("lake", "2")[1] == (OTHER,)
    appeal(own, "lake", batch, 1, "I live beside it")
    decide(own, "lake", batch, 1, upheld=True, reason="he does")
    version = read_version(home, "lake", publish(own))
    assert [row.account for row in version.rows] == [BO, BEN]
    assert [(row.cluster, each.upheld) for row, each in zip(version.rows[1:], version.appeals, strict=True)] == [
        (1, True)
    ]


@pytest.mark.parametrize(
    ("committed", "order"),
    [
        ((None, None, None), [0, 1, 2]),
        ((None, None, Committed(at_s=5, after=0)), [2, 0, 1]),
        ((None, None, Committed(at_s=5, after=1)), [0, 2, 1]),
        ((None, None, Committed(at_s=5, after=2)), [0, 1, 2]),
        ((Committed(at_s=9, after=3), None, None), [0, 1, 2]),  # published before it was committed to
        ((None, Committed(at_s=9, after=0), Committed(at_s=5, after=0)), [2, 1, 0]),
        ((None, Committed(at_s=5, after=1), Committed(at_s=5, after=1)), [0, 1, 2]),  # in one block
    ],
)
def test_a_batch_stands_where_its_proof_puts_it(committed: tuple[Committed | None, ...], order: list[int]) -> None:
    assert owning_order(committed) == order


def test_a_committed_row_is_paid_for_a_copy_that_was_approved_before_it() -> None:
    found = judged((COPY, OTHER), (SAID,), committed=(None, Committed(at_s=5, after=0)))
    assert (kept(found), found.clusters()) == ([SAID, COPY, OTHER], (0, 0, 2))
    found = judged((COPY, OTHER), (SAID,), committed=(None, Committed(at_s=5, after=1)))
    assert (kept(found), found.clusters()) == ([COPY, OTHER, SAID], (0, 1, 0)), "the copy was published before"


def test_a_contribution_asks_no_other_quota_than_its_preview(own: OwnDatanets) -> None:
    """A row that is left out as a copy of a withdrawn one may come back by an appeal, so it counts."""
    approve(own, (SAID, OTHER), (COPY,))
    own.withdraw("lake", [canonical_digest(SAID)])
    own.change("lake", about=DatanetAbout(policy=DatanetPolicy(rows_per_contributor_max=1)))
    more = replace(OTHER, prompt="What grows in the sea?", contributor=BEN)
    (breach,) = own.breaches("lake", [more], {})
    with pytest.raises(NodeError, match=re.escape(breach.reason)):
        own.contribute("lake", [more], {})
