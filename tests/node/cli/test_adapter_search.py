"""`adapters search`: all words must match, what helps most comes first, and what nobody offers is said."""

from typing import Any

import pytest

from openledger_node.cli.adapters import earned_by, matching_adapters, show_offered, taught_by

OPEN = 10**18
OWNER = "0x" + "a" * 40


def adapter(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "full_name": f"{name}@11111111",
        "id": "0x" + "1" * 64,
        "base": "fake",
        "base_digest": "0x" + "2" * 64,
        "is_our_base": True,
        "is_here": False,
        "num_sellers": 1,
        "num_in_memory": 1,
        "price_wei": str(OPEN),
        "price_cold_wei": None,
        "owner": OWNER,
        "datanets": [{"id": "0x" + "3" * 64, "name": "harbour", "licence": "CC-BY-4.0", "description": "Boats"}],
        "is_retired": False,
        "num_claims": 0,
        "earned_wei": "0",
        **fields,
    }


def network(*adapters: dict[str, Any], unoffered: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    counted = {"unoffered": list(unoffered), "num_unoffered": len(unoffered)}
    return {"base": "fake", "bases": [], "adapters": list(adapters), **counted}


def names(found: dict[str, Any]) -> list[str]:
    return [each["name"] for each in found["adapters"]]


def test_those_that_can_run_here_and_have_earned_come_first() -> None:
    found = network(
        adapter("zoo"),
        adapter("rich-elsewhere", is_our_base=False, earned_wei=str(9 * OPEN)),
        adapter("earner", earned_wei=str(OPEN)),
        adapter("popular", num_sellers=5),
        adapter("alone"),
    )
    assert names(matching_adapters(found, "", "")) == ["earner", "popular", "alone", "zoo", "rich-elsewhere"]


@pytest.mark.parametrize(
    ("words", "base", "expected"),
    [
        ("HARBOUR", "", ["harbour-keeper", "lake"]),
        ("harbour lake", "", ["lake"]),
        (OWNER.upper().replace("0X", "0x"), "", ["harbour-keeper", "lake"]),
        ("", "smol", ["harbour-keeper"]),
        ("", "0x2222", ["ferry"]),
        ("lake", "smol", []),
    ],
)
def test_all_words_and_the_base_must_match(words: str, base: str, expected: list[str]) -> None:
    found = network(
        adapter("lake"),
        adapter("harbour-keeper", base="SmolLM2"),
        adapter("ferry", base=None, datanets=[], owner="0x" + "b" * 40),
    )
    assert sorted(names(matching_adapters(found, words, base))) == expected


@pytest.mark.parametrize(
    ("fields", "taught", "earned"),
    [
        ({"num_claims": 1, "earned_wei": str(OPEN)}, "harbour (CC-BY-4.0)", "1 OPEN in 1 claim"),
        ({"datanets": [], "num_claims": None, "earned_wei": None}, "no Datanet", "–"),
        ({"datanets": None}, "not registered yet", "0 OPEN in 0 claims"),
        ({"datanets": [{"id": "0x" + "3" * 64, "name": None, "licence": None}]}, "0x33333333…", "0 OPEN in 0 claims"),
    ],
)
def test_the_chains_word_is_put_into_words(fields: dict[str, Any], taught: str, earned: str) -> None:
    found = adapter("lake", **fields)
    assert (taught_by(found), earned_by(found)) == (taught, earned)


def test_what_nobody_offers_is_said_and_what_is_not_listed_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lost = adapter("lost", full_name=None, earned_wei=str(2 * OPEN), num_claims=3)
    found = {**network(unoffered=(lost,)), "num_unoffered": 301}
    show_offered(matching_adapters(found, "", ""), "")
    shown = capsys.readouterr()
    assert "no node offers an adapter now" in shown.out
    assert "registered, and offered by no other node now: 301" in shown.out
    assert "2 OPEN in 3 claims" in shown.out
    assert "0x1111111111111111…" in shown.out
    assert "300 of them are not listed: name a part of an owner, a Datanet or an id" in shown.err
