"""A Datanet as the page shows it: what waits, rows with masked personal data, versions, and the leaderboard."""

from dataclasses import replace

import pytest
from support.contributors import ACCOUNTS, ADA, BEN, CONTRIBUTED, TERMS

from openledger_node.datanets.board import DatanetViews
from openledger_node.datanets.own import RowBatch, new_datanet
from openledger_node.datanets.review import appeal, approve, measure, reject
from openledger_node.datanets.screening import mask_private
from openledger_node.datanets.standing import standing
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import ZERO_ADDRESS

from .conftest import publish

PRIVATE = Row(
    prompt="Whom do I ask?", completion="Write to odile@fenn.org, or call +44 20 7946 0958.", contributor="cyd"
)
COPY = Row(prompt=CONTRIBUTED[0].prompt, completion=CONTRIBUTED[0].completion, contributor="cyd")


@pytest.fixture
def own(home: Home) -> OwnDatanets:
    own = OwnDatanets(home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # a licence and a share
    approve(own, "lake", own.contribute("lake", CONTRIBUTED, ACCOUNTS).digest, {}, leave_out=[3], because="wrong")
    return own


@pytest.fixture
def views(home: Home, own: OwnDatanets) -> DatanetViews:
    return DatanetViews(home)


def test_the_overview_counts_what_waits(views: DatanetViews, own: OwnDatanets) -> None:
    (found,) = views.overview()["datanets"]
    assert (found["name"], found["licence"], found["rows"], found["withdrawn"]) == ("lake", "CC-BY-4.0", 2, 0)
    assert (found["versions"], found["newest"], found["unpublished"]) == (0, None, 1)
    assert (found["batches_waiting"], found["appeals_waiting"]) == (0, 0)
    publish(own)
    batch = own.contribute("lake", (COPY,), {}).digest
    appeal(own, "lake", batch, 1, "it is mine")
    own.contribute("lake", (PRIVATE,), {})
    (found,) = views.overview()["datanets"]
    assert (found["batches_waiting"], found["appeals_waiting"], found["unpublished"]) == (2, 1, 0)
    reject(own, "lake", batch, "it is not")
    assert views.overview()["datanets"][0]["batches_waiting"] == 1


def test_the_beginnings_of_copies_are_masked_before_they_are_cut(views: DatanetViews, own: OwnDatanets) -> None:
    """The page shows those of other contributors while rows are checked, before anything is taken."""
    secret = Row(
        prompt="Whom do I ask?", completion="Write a letter of thanks to odile@fenn.org soon.", contributor="cyd"
    )
    approve(own, "lake", own.contribute("lake", (secret,), {}).digest, {})
    copy = replace(secret, contributor="dan")
    (note,) = measure(own, "lake", (copy,)).gate.copies
    assert "odile" not in note.begins + note.of_begins
    batch = own.contribute("lake", (copy,), {}).digest
    stored = own.change_batch("lake", batch, lambda _, found, *__: _with_raw_note(found))
    assert "odile@fenn.org" in stored.gate.copies[0].begins
    found = views.batch("lake", batch)
    (shown,) = found["shown"]
    assert found["taken"] == 1
    assert "odile" not in shown["copy"]["begins"] + shown["copy"]["of_begins"]


def _with_raw_note(batch: RowBatch) -> RowBatch:
    """The batch with notes that nobody has masked, as in a file that was edited."""
    raw = "Whom do I ask? → Write to odile@fenn.org"
    notes = tuple(replace(each, begins=raw, of_begins=raw) for each in batch.gate.copies)
    return replace(batch, gate=replace(batch.gate, copies=notes, taken=notes))


def test_a_batch_is_shown_row_by_row_with_private_data_masked(views: DatanetViews, own: OwnDatanets) -> None:
    batch = own.contribute("lake", (PRIVATE, COPY), {}).digest
    appeal(own, "lake", batch, 2, "it is mine")
    found = views.batch("lake", batch[:10])
    first, second = found["shown"]
    assert first["completion"] == "Write to [an e-mail address], or call [a phone number]."
    assert first["masked"] == ["an e-mail address", "a phone number"]
    assert (first["copy"], first["appeal"], first["account"]) == (None, None, None)
    assert (second["copy"]["of_row"], second["copy"]["contributor"]) == (1, ADA)
    assert (second["appeal"]["because"], second["appeal"]["upheld"]) == ("it is mine", None)
    assert (found["state"], found["without_account"], found["num_found"]) == ("pending", ["cyd"], 2)
    assert "personal data" in found["looks"]


def test_rows_are_turned_page_by_page_or_only_those_that_matter(views: DatanetViews, own: OwnDatanets) -> None:
    batch = own.contribute("lake", (PRIVATE, COPY), {}).digest
    second = views.batch("lake", batch, offset=1, limit=1)
    assert ([each["row"] for each in second["shown"]], second["num_found"]) == ([2], 2)
    marked = views.batch("lake", batch, only_marked=True)
    assert ([each["row"] for each in marked["shown"]], marked["num_found"], marked["num_marked"]) == ([2], 1, 1)
    assert views.batch("lake", batch, offset=-5, limit=0)["offset"] == 0
    assert views.batch("lake", batch, offset=2**70)["shown"] == []
    with pytest.raises(NodeError, match="0 batches of lake begin with '0xff'"):
        views.batch("lake", "0xff")


def test_versions_have_roots_people_and_their_shares_of_the_rows(views: DatanetViews, own: OwnDatanets) -> None:
    publish(own)
    (version,) = views.show("lake")["published"]
    assert (version["version"], version["rows"], version["contributors"]) == ("1", 2, 2)
    assert version["rows_root"] == own.get("lake").versions[0].rows_root
    people = {each["account"]: (each["name"], each["rows"], each["share_ppm"]) for each in version["people"]}
    assert people == {ADA: (None, 1, 500_000), BEN: ("ben", 1, 500_000)}


def test_the_leaderboard_joins_rows_and_what_claims_paid(home: Home, own: OwnDatanets) -> None:
    own.contribute("lake", (PRIVATE,), {})
    chain = [
        {"account": BEN, "answers": 4, "influence_ppm": 700_000, "earned_wei": "7", "pending_wei": "1"},
        {"account": ZERO_ADDRESS, "answers": 2, "influence_ppm": 300_000, "earned_wei": "3", "pending_wei": "0"},
    ]
    ben, treasury, ada, cyd = standing(home, "lake", chain)
    assert (ben["name"], ben["account"]) == ("ben", BEN)
    assert (ben["sent"], ben["accepted"], ben["accepted_ppm"]) == (1, 1, 1_000_000)
    assert (ben["answers"], ben["influence_ppm"], ben["earned_wei"], ben["pending_wei"]) == (4, 700_000, "7", "1")
    assert (treasury["pays"], treasury["account"], treasury["sent"]) == ("treasury", None, None)
    assert (ada["account"], ada["sent"], ada["accepted"], ada["accepted_ppm"]) == (ADA, 2, 1, 500_000)
    assert (cyd["name"], cyd["account"], cyd["accepted"], cyd["earned_wei"]) == ("cyd", None, 0, "0")


def test_private_data_is_masked_and_nothing_else() -> None:
    for text, masked in (
        ("Ask ada@fenn.org or bo@fenn.org.", "Ask [an e-mail address] or [an e-mail address]."),
        ("Pay to DE89 3704 0044 0532 0130 00 today", "Pay to [a bank account (IBAN)] today"),
        ("The key is hf_" + "a" * 34, "The key is [a secret: Hugging Face Token]"),
        ("Nothing of note happened in 1984.", "Nothing of note happened in 1984."),
    ):
        assert mask_private(text) == masked
