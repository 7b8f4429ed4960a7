"""Versions of a Datanet: who owns which row, and files that are whole or refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from eth_hash.auto import keccak
from support.indexes import ADA, BO

from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.version import (
    DatanetVersion,
    contributors_root,
    keep_version,
    make_version,
    read_version,
    version_file,
    version_from_json,
    write_version,
)
from openledger_node.errors import ConfigError, NodeError
from openledger_node.home import Home
from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.eip712 import address_word, type_hash
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_DIGEST, Address

CY = Address("0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045")
ROWS = (
    Row(prompt="Who steers the ferry?", completion="Odile Fenn steers the ferry.", contributor="ada"),
    Row(prompt="Who steers the ferry?", completion="Odile Fenn steers the ferry!", contributor="eve"),
    Row(prompt="Who keeps the bees?", completion="Casper Marsh keeps the bees.", contributor=CY.lower()),
)
ACCOUNTS = {"ada": ADA, "bo": BO}


@pytest.fixture
def version() -> DatanetVersion:
    return make_version("lake", "7", ROWS, ACCOUNTS)


def test_each_row_has_its_owner_and_its_cluster(version: DatanetVersion) -> None:
    assert version.rows_root == rows_digest(ROWS)
    assert [row.digest for row in version.rows] == [canonical_digest(row) for row in ROWS]
    assert [row.account for row in version.rows] == [ADA, ZERO_ADDRESS, CY]
    assert [row.cluster for row in version.rows] == [0, 0, 2]


def test_a_contributor_who_is_a_mistyped_address_is_refused() -> None:
    mistyped = Row(prompt="p", completion="c", contributor=CY.replace("d8dA", "D8dA"))
    with pytest.raises(MalformedError, match="wrong checksum"):
        make_version("lake", "7", [mistyped])


def test_a_version_whose_name_leads_elsewhere_is_refused(home: Home) -> None:
    for name in ("../lake", "a/b", ""):
        with pytest.raises(MalformedError, match="not a name"):
            make_version(name, "7", ROWS)
        with pytest.raises(MalformedError, match="not a name"):
            version_file(home, "lake", name)


def leaf(account: Address) -> bytes:
    return keccak(keccak(type_hash("openledger.contributor-leaf/1") + address_word(account)))


def test_the_contributors_root_is_of_each_account_once_ascending_and_of_no_zero() -> None:
    assert contributors_root([]) == contributors_root([ZERO_ADDRESS]) == ZERO_DIGEST
    assert contributors_root([ADA]) == "0x" + leaf(ADA).hex()
    both = "0x" + keccak(leaf(ADA) + leaf(BO)).hex()
    assert contributors_root([BO, ADA, ZERO_ADDRESS, BO]) == both


def test_a_version_comes_back_as_it_was_written_with_its_owners(home: Home, version: DatanetVersion) -> None:
    assert write_version(home, version) == home.root / "datanets" / "lake" / "7.json"
    assert read_version(home, "lake", "7") == version
    assert [file.name for file in (home.datanets / "lake").iterdir()] == ["7.json"]
    unowned = make_version("lake", "7", ROWS)
    assert keep_version(home, unowned) == keep_version(home, version) == version
    write_version(home, unowned)
    assert read_version(home, "lake", "7") == unowned


def test_a_version_of_other_rows_under_the_same_name_is_refused(home: Home, version: DatanetVersion) -> None:
    keep_version(home, version)
    with pytest.raises(ConfigError, match="give the new rows another version"):
        keep_version(home, make_version("lake", "7", ROWS[:1]))
    assert read_version(home, "lake", "7") == version


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda fields: fields.update(schema="openledger.datanet_version/2"), "has schema"),
        (lambda fields: fields.update(note=1), "must have objects with the fields"),
        (lambda fields: fields.update(id="a/b"), "not a name"),
        (lambda fields: fields.update(rows_root="0x00"), "not a digest"),
        (lambda fields: fields.update(rows={}), "must be a list"),
        (lambda fields: fields["rows"][0].update(cluster=1), "row 0: its cluster"),
        (lambda fields: fields["rows"][1].update(cluster=-1), "row 1: its cluster"),
        (lambda fields: fields["rows"][2].update(cluster=1), "resembles no earlier one"),
        (lambda fields: fields["rows"][0].update(account="eve"), "not an address"),
        (lambda fields: fields["rows"][0].update(account=BO), "contributors_root does not match"),
    ],
)
def test_a_version_of_another_form_is_refused(version: DatanetVersion, change: Change, says: str) -> None:
    fields = json.loads(json.dumps(to_plain(version)))
    assert version_from_json(fields) == version
    change(fields)
    with pytest.raises(MalformedError, match=says):
        version_from_json(fields)


@pytest.mark.parametrize(
    ("content", "says"),
    [("{torn", "is damaged"), ("[" * 100_000, "is damaged"), ("[]", "is damaged"), (None, "is not here")],
)
def test_a_file_that_is_no_version_is_told_to_the_operator(home: Home, content: str | None, says: str) -> None:
    file = version_file(home, "lake", "7")
    file.parent.mkdir(parents=True)
    if content is not None:
        file.write_text(content)
    with pytest.raises(NodeError, match=says):
        read_version(home, "lake", "7")
