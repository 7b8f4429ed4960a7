"""An adapter's entry on the chain against its manifest: each field that decides who is paid must be the same."""

from dataclasses import replace
from typing import Any

import pytest
from support.signed import digest

from openledger_protocol.adapter import AdapterManifest, BaseReference, DatanetReference, adapter_id
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import ZERO_DIGEST, Address, DatanetId
from openledger_protocol.registry import RegistryEntry, check_entry, check_weights, entry_of


def datanet(digit: str, weight_ppm: int) -> DatanetReference:
    return DatanetReference(id=DatanetId(digest(digit)), version="1", rows_root=digest(digit), weight_ppm=weight_ppm)


OWNER, THIEF = Address("0x" + "7" * 40), Address("0x" + "6" * 40)
LAKE, HILL = datanet("2", 600_000), datanet("1", 400_000)
MANIFEST = AdapterManifest(
    name="harbour",
    base=BaseReference(name="fake", digest=digest("a")),
    artifact_digest=digest("b"),
    index_root=digest("c"),
    datanets=(LAKE, HILL),
    owner=OWNER,
)
ENTRY = RegistryEntry(
    owner=OWNER,
    base=digest("a"),
    artifact=digest("b"),
    index_root=digest("c"),
    datanets=((HILL.id, 400_000), (LAKE.id, 600_000)),
)


def test_the_entry_of_a_manifest_says_what_it_says() -> None:
    assert entry_of(MANIFEST, OWNER) == ENTRY
    assert ENTRY.datanet_ids == (HILL.id, LAKE.id)
    check_entry(MANIFEST, ENTRY)


def test_an_adapter_of_no_datanets_has_an_entry_of_none() -> None:
    plain = replace(MANIFEST, datanets=None, index_root=None)
    check_entry(plain, replace(ENTRY, datanets=(), index_root=ZERO_DIGEST))
    check_weights(plain)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"owner": THIEF}, f"in its owner: {THIEF} on the chain, {OWNER} in the manifest"),
        ({"datanets": ()}, "in its Datanets and weights: none on the chain"),
        ({"datanets": ((HILL.id, 500_000), (LAKE.id, 500_000))}, f"{LAKE.id} with 600,000 ppm in the manifest"),
        ({"datanets": ((LAKE.id, 600_000), (DatanetId(digest("9")), 400_000))}, f"{digest('9')} with 400,000 ppm"),
        ({"index_root": ZERO_DIGEST}, f"in its attribution index: {ZERO_DIGEST}"),
        ({"base": digest("9")}, "in its base"),
        ({"artifact": digest("9")}, "in its artifact digest"),
    ],
)
def test_an_entry_that_differs_is_refused_and_the_field_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(AdapterRefusedError) as refusal:
        check_entry(MANIFEST, replace(ENTRY, **changes))
    assert str(refusal.value).startswith(f"the chain's entry of adapter {adapter_id(MANIFEST)} differs")
    assert named in str(refusal.value)


def test_an_adapter_without_an_owner_can_not_be_sold() -> None:
    with pytest.raises(AdapterRefusedError, match="names no owner, so it can't be sold"):
        check_entry(replace(MANIFEST, owner=None), ENTRY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datanets": (LAKE,)}, "sum to 1000000, not \\[600000\\]"),
        (
            {"datanets": (replace(LAKE, weight_ppm=1_000_000), replace(HILL, weight_ppm=0))},
            "whose weights are above 0",
        ),
        ({"datanets": tuple(datanet(digit, 111_111) for digit in "123456789")}, "must name 1 to 8 Datanets"),
        ({"index_root": None}, "has no attribution index, so nobody's rows could be paid"),
    ],
)
def test_datanets_that_the_registry_would_refuse_are_refused_before(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AdapterRefusedError, match=message):
        check_weights(replace(MANIFEST, **changes))
