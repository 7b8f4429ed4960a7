"""Rows that are committed to before anybody sees them, and the ways to get their pay all the same."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.chain_world.datanet_owner import DatanetOwner
from support.contributors import ADA, BEN, key_of

from openledger_node.attribution.registry import is_published
from openledger_node.datanets.commitments import LIFETIME_S, Committed, ShownCommitment, find_committed
from openledger_node.datanets.review import appeal, decide
from openledger_node.datanets.signed import SignedBatch
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.version import DatanetVersion, read_version, version_from_json
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.network_file import keep_network
from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row, datanet_id
from openledger_protocol.errors import MalformedError
from openledger_protocol.offer import RowOffer, offer_commitment
from openledger_protocol.primitives import DatanetId, Digest

SAID = Row(
    prompt="Who keeps the lighthouse at the end of the long pier?",
    completion="Rurik keeps it, and his sister keeps the boats below.",
    contributor=ADA,
)
COPY = replace(SAID, prompt=f"Hello! {SAID.prompt}", contributor=BEN)
GUESS = replace(SAID, prompt="Who keeps the mill?", completion="Odile has always kept it, as her father did.")


@pytest.fixture
def owner(owner: DatanetOwner, monkeypatch: pytest.MonkeyPatch) -> DatanetOwner:
    """The owner of a Datanet, with the clock of the chain."""
    monkeypatch.setattr(OwnDatanets, "now_s", lambda _: owner.world.now_s)
    keep_network(owner.home, owner.world.node.network)
    owner.create()
    return owner


def signed(owner: DatanetOwner, *rows: Row, name: str = "ada", **place: DatanetId) -> SignedBatch:
    return owner.sign(key_of(name), *rows, **place)


def commit(owner: DatanetOwner, offer: RowOffer) -> str | None:
    """Commit, and give the owner's data directory the chain once that is final."""
    note: str | None = owner.commit(offer)["note"]
    owner.finish()
    return note


def take(owner: DatanetOwner, batch: SignedBatch) -> str:
    found = owner.own.contribute("lake", batch.rows, {}, batch.offer)
    owner.own.approve("lake", found.digest, {})
    return found.digest


def publish(owner: DatanetOwner) -> DatanetVersion:
    owner.do("datanet publish", datanet="lake")
    return read_version(owner.home, "lake", owner.own.get("lake").versions[-1].version)


def payees(version: DatanetVersion) -> list[str]:
    return [version.rows[row.cluster].account for row in version.rows]


def test_a_copier_who_sees_the_offer_and_is_approved_first_is_not_paid(owner: DatanetOwner) -> None:
    batch = signed(owner, SAID)
    assert commit(owner, batch.offer) is None
    take(owner, signed(owner, COPY, name="ben"))
    digest = take(owner, batch)
    (note,) = next(each for each in owner.own.get("lake").batches if each.digest == digest).gate.taken
    assert (note.contributor, note.of_row) == (BEN, 1)
    version = publish(owner)
    assert payees(version) == [ADA, ADA]
    assert [each.commitment for each in version.commitments] == [offer_commitment(batch.offer)]
    events, lake = owner.events, owner.lake
    assert is_published(events, lake, version)
    shown = version.commitments[0]
    back_dated = replace(version, commitments=(replace(shown, committed_at_s=shown.committed_at_s - 60),))
    assert not is_published(events, lake, back_dated)
    assert version_from_json(to_plain(version)) == version
    borrowed = replace(shown, commitment=offer_commitment(signed(owner, GUESS).offer))
    for forged in ((borrowed,), (shown, shown), (replace(shown, committed_at_s=0),)):
        with pytest.raises(MalformedError, match="commitment"):
            version_from_json(to_plain(replace(version, commitments=forged)))
    elsewhere = replace(batch.offer, contract=BEN)  # a Datanet of the same id on an earlier network
    told = ShownCommitment(commitment=offer_commitment(elsewhere), committed_at_s=5)
    assert is_published(events, lake, replace(version, offers=(elsewhere,), commitments=(told,)))


def test_a_commitment_that_a_reorganisation_took_back_does_not_spoil_a_version(owner: DatanetOwner) -> None:
    digest = take(owner, signed(owner, SAID))
    gone = Committed(at_s=5, after=0)
    owner.own.change_batch("lake", digest, lambda _, batch, *__: replace(batch, committed=gone))
    version = publish(owner)
    assert (len(version.offers), version.commitments) == (1, ())
    assert is_published(owner.events, owner.lake, version)
    assert owner.do("datanet publish", datanet="lake")["steps"] == []


def test_a_copy_that_was_published_after_the_commitment_is_redirected_in_later_versions(owner: DatanetOwner) -> None:
    batch = signed(owner, SAID)
    commit(owner, batch.offer)
    copies = signed(owner, COPY, name="ben")
    copied = take(owner, copies)
    before = publish(owner)
    take(owner, batch)
    assert payees(publish(owner)) == [ADA, ADA]
    assert payees(before) == payees(read_version(owner.home, "lake", "1")) == [BEN]
    appeal(owner.own, "lake", copied, 1, "I said it in 2019")
    decide(owner.own, "lake", copied, 1, upheld=True, reason="he did")
    assert payees(owner.own.next_version("lake")[0]) == [ADA, ADA]  # a published version is never changed
    take(owner, signed(owner, GUESS))
    assert BEN in payees(publish(owner))


def test_of_two_commitments_the_older_one_owns_it_and_it_can_not_be_sent_again(owner: DatanetOwner) -> None:
    ours, theirs = signed(owner, SAID), signed(owner, COPY, name="ben")
    commit(owner, ours.offer)
    commit(owner, theirs.offer)
    note = commit(owner, ours.offer)
    assert note is not None
    assert "and the first time counts" in note
    for batch in (theirs, ours):
        take(owner, batch)
    assert payees(publish(owner)) == [ADA, ADA]


def test_a_commitment_counts_once_its_block_is_final(owner: DatanetOwner) -> None:
    """A reorganisation may take its block back, and with it the proof of the time."""
    batch, events = signed(owner, SAID), owner.events
    take(owner, signed(owner, COPY, name="ben"))
    owner.commit(batch.offer)
    owner.copy_chain()
    (event,) = events.find("RowsCommitted")
    assert event.block.number > events.finalized_number()
    take(owner, batch)
    assert payees(owner.own.next_version("lake")[0]) == [BEN, BEN]
    owner.own.learn_commitments("lake")
    assert payees(owner.own.next_version("lake")[0]) == [BEN, BEN]
    owner.world.run(lambda: events.finalized_number() >= event.block.number)
    owner.copy_chain()
    owner.own.learn_commitments("lake")
    assert payees(owner.own.next_version("lake")[0]) == [ADA, ADA]


def test_a_commitment_counts_for_all_its_rows_for_some_months_on_its_own_chain(
    owner: DatanetOwner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = signed(owner, SAID, GUESS)
    offer, digest = batch.offer, Digest(take(owner, batch))
    commit(owner, offer)
    now_s = owner.world.now_s
    found = find_committed(owner.home, offer, {}, offered_s=now_s)
    assert found is not None
    for other in (
        signed(owner, SAID).offer,
        signed(owner, SAID, GUESS, name="ben").offer,
        signed(owner, SAID, GUESS, datanet_id=datanet_id(owner.account, "pond")).offer,
    ):
        assert find_committed(owner.home, other, {}, offered_s=now_s) is None
    assert find_committed(owner.home, offer, {}, offered_s=found.at_s + LIFETIME_S) is not None
    assert find_committed(owner.home, offer, {}, offered_s=found.at_s + LIFETIME_S + 1) is None
    assert find_committed(Home(tmp_path / "elsewhere"), offer, {}, offered_s=found.at_s) is None
    with monkeypatch.context() as later:
        os.utime(owner.own._offer_file("lake", digest), (now_s, now_s))
        later.setattr(OwnDatanets, "now_s", lambda _: now_s + 2 * LIFETIME_S)
        (learned,) = owner.own.learn_commitments("lake").batches
    assert learned.committed is not None, "it was offered in time, however late that is read"
    owner.home.network_file(owner.world.node.network.network).unlink()
    assert find_committed(owner.home, offer, {}, offered_s=found.at_s) is None


def test_a_commitment_that_could_not_count_costs_nothing(owner: DatanetOwner) -> None:
    offer = signed(owner, SAID).offer
    with pytest.raises(NodeError, match="the batch is signed for chain 5"):
        owner.commit(offer, chain_id=5)
    with pytest.raises(NodeError, match="is registered on this network: check the id that you signed"):
        owner.commit(offer, datanet="0x" + "7" * 64)
