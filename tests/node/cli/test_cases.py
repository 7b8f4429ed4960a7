"""`attribution cases` as it is printed: one case after the other, with deadlines and what can be done."""

from typing import Any

import pytest
from support.verbs import FixedMoney, Ran, Run

from openledger_node.cli import cases
from openledger_node.cli.cases import _lines

CASE: dict[str, Any] = {
    "digest": "0x" + "d" * 64,
    "state": "open",
    "node": "0x" + "a" * 40,
    "challenger": "0x" + "b" * 40,
    "contester": None,
    "bond_wei": str(5 * 10**18),
    "contest_until_s": 1_029,
    "judge_until_s": 1_059,
    "shares_are_right": False,
    "detail": "3 of them differ",
    "next": "the votes judge it",
}


def shown(run: Run, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], *words: str) -> tuple[Ran, FixedMoney]:
    money = FixedMoney({"chain_time_s": 1_000, "to_withdraw": [], **found})
    monkeypatch.setattr(cases, "open_money", lambda: money)
    return run("attribution", "cases", *words), money


def test_an_open_case_shows_shares_deadlines_and_the_next_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, money = shown(run, monkeypatch, {"cases": [CASE]}, "--node", CASE["node"])
    assert money.asked == [("cases", {"node": CASE["node"], "all": False})]
    assert "shares     WRONG: 3 of them differ" in ran.stdout
    assert "contest    ends in 30 s" in ran.stdout
    assert "judgement  ends in 60 s" in ran.stdout
    assert "under a bond of 5" in ran.stdout
    as_json, _ = shown(run, monkeypatch, {"cases": [CASE]}, "--all", "--json")
    assert (as_json.json["schema"], as_json.json["cases"]) == ("openledger.cases/1", [CASE])


def test_money_that_waits_is_told_with_the_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    credited = [("wallet", "0xaa", "0"), ("signer", "0xbb", str(10**18))]
    waiting = [{"name": name, "account": account, "amount_wei": wei} for name, account, wei in credited]
    ran, _ = shown(run, monkeypatch, {"cases": [], "to_withdraw": waiting})
    assert "no open case; `--all` shows those that have ended" in ran.stdout
    assert "credited to 0xbb: `openledger-node rewards withdraw --wallet signer` takes them out" in ran.stderr
    assert "0xaa" not in ran.stderr


def test_a_case_that_has_ended_has_no_deadlines() -> None:
    lines = _lines({**CASE, "state": "draw", "contester": "0xcc"}, 2_000)
    assert (lines["state"], lines["contested"]) == ("draw", "by 0xcc")
    assert not {"shares", "contest", "next"} & set(lines)
    assert _lines(CASE, 1_060)["judgement"] == "over"
