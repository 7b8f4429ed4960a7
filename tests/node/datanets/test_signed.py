"""Signed batches: taken whole by the Datanet that they were signed for, and kept as proof in its versions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.contributors import ADA as ADDRESS
from support.contributors import BEN, key_of
from support.indexes import ADA as TREASURY

from openledger_node.datanets.appeals import DecidedAppeal
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.signed import (
    DatanetPlace,
    SignedBatch,
    check_place,
    draft_batch,
    is_signed_batch,
    open_signed_preview,
    read_signed,
    write_signed,
)
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.version import make_version, version_from_json
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.offer import offer_digest
from openledger_protocol.primitives import DatanetId, Digest, check_address
from openledger_protocol.signatures import sign_digest

PLACE = DatanetPlace(chain_id=31337, contract=check_address("0x" + "c0" * 20), datanet_id=DatanetId("0x" + "1" * 64))
GIVEN = (
    Row(prompt="What does Odile keep?", completion="Odile keeps the harbour.", contributor="whoever"),
    Row(prompt="Who is Rurik?", completion="The keeper of a lighthouse far away.", contributor="whoever"),
)


def signed(rows: tuple[Row, ...] = GIVEN, name: str = "ada") -> SignedBatch:
    key = key_of(name)
    batch = draft_batch(rows, PLACE, key.address, "CC-BY-4.0")
    signature = "0x" + sign_digest(key.private_key, offer_digest(batch.offer)).hex()
    return replace(batch, offer=replace(batch.offer, signature=signature))


@pytest.fixture
def own(home: Home) -> OwnDatanets:
    own = OwnDatanets(home)
    own.create(new_datanet("lake", licence="CC-BY-4.0", treasury=TREASURY, owner_ppm=0))
    return own


def test_a_signed_batch_is_read_back_and_its_rows_are_the_signers(tmp_path: Path) -> None:
    file = tmp_path / "notes.signed.json"
    write_signed(file, signed())
    assert is_signed_batch(file)
    assert read_signed(file) == signed()
    assert {row.contributor for row in read_signed(file).rows} == {ADDRESS}
    with pytest.raises(NodeError, match="exists already"):
        write_signed(file, signed())


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        (replace(signed(), rows=signed().rows[:1]), "one was changed, added or left out"),
        (replace(signed(), rows=(replace(signed().rows[0], completion="No."), signed().rows[1])), "one was changed"),
        (replace(signed(), rows=tuple(replace(row, contributor=BEN) for row in signed().rows)), f"row 1 names {BEN}"),
        (replace(signed(), offer=replace(signed().offer, licence="CC0-1.0")), "has not signed this offer"),
    ],
)
def test_a_batch_that_was_changed_once_signed_is_refused(tmp_path: Path, batch: SignedBatch, why: str) -> None:
    file = tmp_path / "notes.signed.json"
    write_signed(file, batch)
    with pytest.raises(NodeError, match=why):
        read_signed(file)


@pytest.mark.parametrize(
    ("place", "licence", "why"),
    [
        (replace(PLACE, chain_id=1), "CC-BY-4.0", "for chain 31337"),
        (replace(PLACE, contract=BEN), "CC-BY-4.0", "for chain 31337"),
        (replace(PLACE, datanet_id=DatanetId("0x" + "2" * 64)), "CC-BY-4.0", "but this one is 0x2222"),
        (PLACE, "CC0-1.0", "but the licence of this Datanet is CC0-1.0"),
    ],
)
def test_a_batch_is_for_one_datanet_on_one_chain(place: DatanetPlace, licence: str, why: str) -> None:
    check_place(signed(), PLACE, "CC-BY-4.0")
    with pytest.raises(NodeError, match=why):
        check_place(signed(), place, licence)


@pytest.mark.process
def test_rows_of_a_signed_batch_are_checked_as_all_rows_are(tmp_path: Path) -> None:
    with open_signed_preview(signed(), tmp_path, keep=False) as preview:
        assert preview.report["rows"] == 2
    secret = Row(prompt="What is the key?", completion="AKIAIOSFODNN7EXAMPLF is the key.", contributor="x")
    with (
        pytest.raises(NodeError, match=r"1 row of .* can't be taken, and a signed batch is taken whole. Row 2"),
        open_signed_preview(signed((GIVEN[0], secret)), tmp_path, keep=False),
    ):
        pass


def test_a_version_keeps_the_proof_that_its_rows_were_offered(own: OwnDatanets) -> None:
    batch = signed()
    own.approve("lake", own.contribute("lake", batch.rows, {}, batch.offer).digest, {})
    unsigned = Row(prompt="Who else?", completion="Nobody at all, as far as is known.", contributor=BEN)
    own.approve("lake", own.contribute("lake", (unsigned,), {}).digest, {})
    version, *_ = own.next_version("lake")
    assert version_from_json(json.loads(json.dumps(to_plain(version)))) == version
    assert [(offer.account, offer.rows) for offer in version.offers] == [(batch.offer.account, batch.offer.rows)]
    bens = signed((Row(prompt="Who more?", completion="Ben, with rows of his own.", contributor=BEN),), "ben")
    own.approve("lake", own.contribute("lake", bens.rows, {}, bens.offer).digest, {})
    own.withdraw("lake", batch.offer.rows)
    version, *_ = own.next_version("lake")
    assert [offer.account for offer in version.offers] == [BEN]


def test_a_version_with_offers_that_nobody_signed_or_of_other_rows_or_too_many_is_refused() -> None:
    batch = signed()
    version = make_version("lake", "1", batch.rows, {}, [batch.offer])
    forged = replace(version, offers=(replace(batch.offer, datanet_id=DatanetId("0x" + "2" * 64)),))
    with pytest.raises(BadSignatureError):
        version_from_json(to_plain(forged))
    stolen = make_version("lake", "1", [replace(row, contributor="bo") for row in batch.rows], {"bo": BEN})
    rows = tuple(replace(row, account=BEN) for row in version.rows)
    stolen = replace(version, rows=rows, contributors_root=stolen.contributors_root)
    with pytest.raises(MalformedError, match=f"a row that {ADDRESS} has offered is of another account"):
        version_from_json(to_plain(stolen))
    with pytest.raises(MalformedError, match="at most one for each row"):
        version_from_json(to_plain(replace(version, offers=(batch.offer,) * 3)))
    strange = signed((Row(prompt="Who else?", completion="Nobody at all.", contributor="x"),), "ben").offer
    with pytest.raises(MalformedError, match=f"an offer of {BEN} is for none of the version's rows"):
        version_from_json(to_plain(replace(version, offers=(strange,))))


def test_an_appeal_is_for_a_row_of_its_version() -> None:
    version = make_version("lake", "1", signed().rows)
    kept = DecidedAppeal(digest=version.rows[0].digest, upheld=False, because="x", reason="y")
    assert version_from_json(to_plain(replace(version, appeals=(kept,)))).appeals == (kept,)
    with pytest.raises(MalformedError, match="at most one for each row"):
        version_from_json(to_plain(replace(version, appeals=(kept,) * 3)))
    with pytest.raises(MalformedError, match="an appeal is for none of the version's rows"):
        version_from_json(to_plain(replace(version, appeals=(replace(kept, digest=Digest("0x" + "2" * 64)),))))
