"""Licence, description and policy of a Datanet, also as a hostile owner writes them on the chain."""

import json
from dataclasses import replace
from typing import Any

import pytest
from support.contributors import ADA, BEN

from openledger_node.datanets.about import (
    METADATA_BYTES_MAX,
    DatanetAbout,
    DatanetPolicy,
    about_from_metadata,
    breaches_text,
    changed_about,
    find_breaches,
    licence_of,
    metadata_text,
)
from openledger_node.datanets.licences import check_licence
from openledger_node.errors import InputError
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError

ABOUT = DatanetAbout(
    description="Facts about the lake – and its harbour.",
    languages=("English", "German"),
    policy=DatanetPolicy(
        characters_min=10,
        characters_max=200,
        languages=("English", "German"),
        rows_per_contributor_max=2,
        takes_unsigned=False,
    ),
)


@pytest.mark.parametrize(
    ("typed", "licence"),
    [
        ("cc-by-4.0", "CC-BY-4.0"),
        ("(MIT AND CC-BY-4.0) or CC0-1.0", "(MIT AND CC-BY-4.0) OR CC0-1.0"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("LicenseRef-Harbour", "LicenseRef-Harbour"),
    ],
)
def test_a_licence_is_an_spdx_expression(typed: str, licence: str) -> None:
    assert check_licence(typed) == licence


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("CC-BY-4", "'CC-BY-4' is not on the SPDX licence list: did you mean .*CC-BY-4.0"),
        ("CC BY 4.0", "'CC' is not on the SPDX licence list"),
        ("MIT Apache-2.0", "not a licence expression"),
        ("", "not a licence expression"),
        ("M" * 65, "at most 64 characters"),
    ],
)
def test_another_licence_gets_the_near_names(typed: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        check_licence(typed)


DOCUMENT = json.loads(metadata_text(ABOUT))


def hostile(**changed: Any) -> str:
    return json.dumps({**DOCUMENT, **changed})


def with_policy(**changed: Any) -> str:
    return hostile(policy={**DOCUMENT["policy"], **changed})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"schema": "openledger.datanet_metadata/1"}',
        "[" * 4_000,
        "x" * (METADATA_BYTES_MAX + 1),
        hostile(schema="openledger.datanet_metadata/2"),
        hostile(description=7),
        hostile(description="x" * 1_001),
        hostile(languages=["x"] * 17),
        hostile(languages=[{}]),
        hostile(policy=None),
        with_policy(characters_min=-1),
        with_policy(takes_unsigned="yes"),
        hostile(more=1),
    ],
)
def test_a_document_that_is_none_is_ignored(text: str) -> None:
    assert about_from_metadata(text) is None


def test_control_characters_are_escaped() -> None:
    about: Any = about_from_metadata(hostile(description="\x1b[31mred\nline", languages=["\u202eEnglish"]))
    assert about.description == "\\x1b[31mred\\nline"
    assert about.languages == ("\\u202eEnglish",)
    assert licence_of("CC0-1.0\x1b[2J" + "x" * 100).startswith("CC0-1.0\\x1b[2J")
    assert len(licence_of("x" * 10_000)) == 64


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"policy": {"characters_min": 300}}, "at least 300 and at most 200"),
        ({"policy": {"languages": ["Klingon"]}}, "Klingon of a row can't be recognised"),
        ({"policy": {"rows_per_contributor_max": 0}}, "is a number from 1"),
        ({"policy": 7}, "a description is an object"),
        ({"name": "x"}, "has the fields"),
    ],
)
def test_a_bad_change_is_refused(given: Any, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        changed_about(ABOUT, given)


def test_a_document_has_a_limit_in_bytes() -> None:
    with pytest.raises(MalformedError, match="over 4096: shorten"):
        metadata_text(replace(ABOUT, description="\U0001f600" * 1_000, languages=("\U0001f600" * 32,) * 1))


LONG = Row(prompt="What is the lake?", completion="The lake is " + "deep " * 60, contributor=ADA)
SHORT = Row(prompt="Who?", completion="Me.", contributor=ADA)
FINE = Row(prompt="What does Odile keep in the harbour?", completion="Odile keeps the boats of it.", contributor=ADA)
FRENCH = Row(prompt="Qui est dans le port?", completion="Elle est dans le port avec le bateau.", contributor=ADA)
UNSURE = Row(prompt="Zzyzx qwrt?", completion="Blub blub blub blub.", contributor=ADA)


def reasons(policy: DatanetPolicy, *rows: Row, **more: Any) -> list[tuple[int, str]]:
    return [(each.row, each.reason) for each in find_breaches(policy, rows, **more)]


def test_each_row_that_breaks_the_policy_is_named_with_its_limit() -> None:
    policy = replace(ABOUT.policy, rows_per_contributor_max=None)
    assert reasons(policy, FINE, SHORT, LONG, FRENCH, UNSURE) == [
        (2, "it has 7 characters, under the least of 10"),
        (3, "it has 329 characters, over the most of 200"),
        (4, "it is in French, and this Datanet takes English, German"),
    ]
    assert breaches_text(find_breaches(policy, [SHORT, LONG, FRENCH]), most=1).endswith("; and 2 more")


def test_a_quota_counts_the_rows_of_the_next_version() -> None:
    policy = DatanetPolicy(rows_per_contributor_max=2)
    rows = [replace(FINE, prompt=f"Question {number}?") for number in range(3)]
    assert reasons(policy, *rows) == [(3, f"{ADA} has 2 rows in the next version already, and the most is 2")]
    assert [each.row for each in find_breaches(policy, rows, earlier=[FINE])] == [2, 3]
    assert reasons(policy, replace(FINE, contributor=BEN), earlier=[FINE, FINE]) == []
    named, of_ben = replace(FINE, contributor="ben"), replace(FINE, contributor=BEN)
    found = find_breaches(policy, [named], earlier=[of_ben] * 2, accounts={"ben": BEN})
    assert [each.row for each in found] == [1], "a name and its address are one contributor"
