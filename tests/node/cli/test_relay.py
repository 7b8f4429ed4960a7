"""`rewards quote` and `rewards relay FILE`: what is printed, what the node gets, and how slips are explained."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.verbs import Run

from openledger_node.cli import rewards, transactions
from openledger_node.cli.transactions import TransactionFlags

RELAY = "0x" + "a" * 40
QUOTE = {
    "network": "harbour-1",
    "relay": RELAY,
    "fee_wei": str(2 * 10**15),
    "gas": 250_000,
    "at": "2026-01-31T00:00:00Z",
}


class OneAnswer:
    """A node that answers every query alike."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.asked: list[tuple[str, Any]] = []

    def __enter__(self) -> "OneAnswer":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, question: str, **arguments: Any) -> Any:
        self.asked.append((question, arguments))
        return self.found


def test_a_quote_is_the_line_that_the_contributor_types(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    money = OneAnswer(QUOTE)
    monkeypatch.setattr(rewards, "open_money", lambda: money)
    ran = run("rewards", "quote")
    assert f"contributor withdraw --fee 0.002 --relay {RELAY}" in ran.stdout
    assert money.asked == [("relay_quote", {})]
    assert run("rewards", "quote", "--json").json == {"schema": "openledger.relay-quote/1", **QUOTE}


def test_the_fee_of_a_quote_can_be_typed_as_it_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    quote = {**QUOTE, "fee_wei": str(1_234_500 * 10**15)}
    monkeypatch.setattr(rewards, "open_money", lambda: OneAnswer(quote))
    assert f"contributor withdraw --fee 1234.5 --relay {RELAY}" in run("rewards", "quote").stdout


def test_the_file_is_what_the_node_plans(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planned: list[tuple[str, Any]] = []

    def carry_out(verb: str, arguments: Any, _: TransactionFlags) -> None:
        planned.append((verb, arguments))

    monkeypatch.setattr(transactions, "carry_out", carry_out)
    file = tmp_path / "withdrawal.json"
    file.write_text(json.dumps({"schema": "openledger.withdrawal/1"}))
    assert run("rewards", "relay", str(file)).status == 0
    assert planned == [("rewards relay", {"withdrawal": {"schema": "openledger.withdrawal/1"}})]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot read"),
        (b"", "is no signed withdrawal"),
        (b"\xff\xfe", "is no signed withdrawal"),
        (b"[" * 1_000, "is no signed withdrawal"),
        (b" " * (64 * 1024 + 1), "is too long for a signed withdrawal"),
    ],
)
def test_what_is_no_file_of_a_withdrawal_is_refused(
    run: Run, tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "withdrawal.json"
    if content is not None:
        file.write_bytes(content)
    ran = run("rewards", "relay", str(file))
    assert ran.status == 2
    assert why in ran.stderr
