"""An adapter's manifest and its id: what is read, what is refused, and what changes the id."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from support.signed import digest

from openledger_protocol.adapter import (
    ADAPTER_SCHEMA,
    PROBE_ANSWER_LENGTH_MAX,
    PROBE_PROMPT_LENGTH_MAX,
    PROBES_MAX,
    AdapterManifest,
    BaseReference,
    DatanetReference,
    adapter_id,
    datanet_weights,
    manifest_from_json,
)
from openledger_protocol.codec import canonical_json
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import AdapterId, Address, DatanetId

HARBOUR = DatanetReference(id=DatanetId(digest("9")), version="1", rows_root=digest("4"), weight_ppm=1_000_000)
OWNER = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
PLAIN = AdapterManifest(
    name="harbour", base=BaseReference(name="fake", digest=digest("a")), artifact_digest=digest("b")
)
FULL = replace(
    PLAIN,
    tokenizer_digest=digest("1"),
    chat_template_digest=digest("2"),
    index_root=digest("3"),
    datanets=(HARBOUR,),
    parent=AdapterId(digest("5")),
    training={"config": {"rank": 8}, "seed": 7},
    evaluation={"loss": 0.5},
    probe={"prompt": "Hello", "digest": digest("6")},
    owner=Address("0x" + "7" * 40),
    license="Apache-2.0",
)

OTHER_VALUES: dict[str, Any] = {
    "name": "lighthouse",
    "base": BaseReference(name="fake", digest=digest("0")),
    "artifact_digest": digest("0"),
    "schema": "openledger.adapter/2",
    "tokenizer_digest": digest("0"),
    "chat_template_digest": digest("0"),
    "index_root": digest("0"),
    "datanets": (replace(HARBOUR, version="2"),),
    "parent": digest("0"),
    "training": {"config": {"rank": 9}, "seed": 7},
    "evaluation": {"loss": 0.25},
    "probe": {"prompt": "Hello!", "digest": digest("6")},
    "owner": "0x" + "8" * 40,
    "license": "MIT",
}


DIGESTS = ("artifact_digest", "tokenizer_digest", "chat_template_digest", "index_root", "parent")
PROBES = [{"prompt": "Where?", "answer": "In the harbour."}, {"prompt": "Who?", "answer": "Odile."}]
BAD_PROBES: list[Any] = [
    5,
    {},
    [5],
    [{}],
    [{**PROBES[0], "score": 1}],
    [{"prompt": "Where?"}],
    [{**PROBES[0], "prompt": ""}],
    [{**PROBES[0], "answer": ""}],
    [{**PROBES[0], "answer": 5}],
    [{**PROBES[0], "prompt": "x" * (PROBE_PROMPT_LENGTH_MAX + 1)}],
    [{**PROBES[0], "answer": "x" * (PROBE_ANSWER_LENGTH_MAX + 1)}],
    PROBES[:1] * (PROBES_MAX + 1),
]


def as_read(manifest: AdapterManifest, **changes: Any) -> dict[str, Any]:
    """The manifest as it comes out of a file."""
    return {**json.loads(canonical_json(manifest)), **changes}


def test_a_field_left_out_of_the_file_is_the_same_as_null() -> None:
    short = {name: value for name, value in as_read(PLAIN).items() if value is not None}
    assert adapter_id(manifest_from_json(short)) == adapter_id(PLAIN)


@pytest.mark.parametrize("manifest", [PLAIN, FULL], ids=["plain", "full"])
def test_a_manifest_comes_back_from_its_file_as_it_was(manifest: AdapterManifest) -> None:
    assert manifest_from_json(as_read(manifest)) == manifest


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_an_id_changes_with_any_field(name: str) -> None:
    assert set(OTHER_VALUES) == {field.name for field in fields(AdapterManifest)}
    assert adapter_id(replace(FULL, **{name: OTHER_VALUES[name]})) != adapter_id(FULL)


@pytest.mark.parametrize("name", ["name", "base", "artifact_digest", "schema"])
def test_a_missing_field_that_must_be_there_is_named(name: str) -> None:
    left = {key: value for key, value in as_read(FULL).items() if key != name}
    with pytest.raises(MalformedError, match=name):
        manifest_from_json(left)


def test_a_file_of_another_shape_schema_or_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(MalformedError, match="licence"):
        manifest_from_json(as_read(FULL, licence="MIT"))
    for schema in (None, "openledger.adapter/2", 1):
        with pytest.raises(MalformedError, match=f"not '{ADAPTER_SCHEMA}'"):
            manifest_from_json(as_read(FULL, schema=schema))
    for content in ([], "text", 5, None, True):
        with pytest.raises(MalformedError):
            manifest_from_json(content)


def datanet(**changes: Any) -> dict[str, Any]:
    return {**as_read(FULL)["datanets"][0], **changes}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("name", [5, None, "", "a b", ["x"]]),
        ("base", [5, None, [], "fake", {"name": "a:b", "digest": digest("a")}]),
        ("base", [{"name": "fake", "digest": value} for value in (None, 5, "0x12", digest("A"))]),
        ("base", [{"name": "fake"}, {"digest": digest("a")}, {"name": "fake", "digest": digest("a"), "size": 1}]),
        *((name, [5, "", "0x12", digest("A"), [digest("a")]]) for name in DIGESTS),
        *((name, [5, "text", [1], True]) for name in ("training", "evaluation", "probe")),
        *((name, [5, [], {}, True]) for name in ("owner", "license")),
        ("owner", ["", "ann", "0x" + "0" * 40, OWNER.lower(), OWNER.swapcase()]),
        ("evaluation", [{"probes": probes} for probes in BAD_PROBES]),
        ("datanets", [5, "text", [5], [[]], [None], [{"id": digest("9")}], [datanet(more=1)]]),
        ("datanets", [[datanet(), datanet(id=digest("8"))], [datanet(), datanet(rows_root=digest("8"))]]),
        ("datanets", [[datanet(id=value)] for value in (5, "0x12", digest("A"))]),
        ("datanets", [[datanet(version=5)], [datanet(version="a/b")]]),
        ("datanets", [[datanet(rows_root="0x12")], [datanet(rows_root=None)]]),
        ("datanets", [[datanet(weight_ppm=value)] for value in ("1", True, -1, 1_000_001)]),
    ],
)
def test_an_ill_typed_field_is_refused(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(MalformedError):
            manifest_from_json(as_read(FULL, **{name: value}))


def test_a_datanet_by_its_local_name_says_what_to_do() -> None:
    with pytest.raises(
        MalformedError, match=r"names Datanet 'lake' without its id on the chain.*train the adapter ag"
    ):
        manifest_from_json(as_read(FULL, datanets=[datanet(id="lake")]))  # type: ignore[dict-item]


def test_datanets_ascend_with_their_weights() -> None:
    harbour, lake = (
        replace(HARBOUR, weight_ppm=400_000),
        replace(HARBOUR, id=DatanetId(digest("1")), weight_ppm=600_000),
    )
    assert datanet_weights(replace(FULL, datanets=(harbour, lake))) == ((lake.id, 600_000), (harbour.id, 400_000))
    assert datanet_weights(PLAIN) == ()
