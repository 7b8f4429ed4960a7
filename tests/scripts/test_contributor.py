"""A contributor's earnings, read from the chain alone: to the wei, with proofs, and never from a liar unnoticed."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from audited_economy import CONTRIBUTORS, Economy, open_economy
from liars import Liar, Remembered, of, with_a_wei_more, without
from node.cli.verbs import Run, verbs_here
from support.chain_world.contract_world import OPEN, OWNER_KEYS
from test_audit_chain import served

from openledger_node.audit.awards import AwardState, ContributorReport
from openledger_node.audit.chain import pin_chain
from openledger_node.audit.contributor import read_contributor
from openledger_node.audit.contributor_json import contributor_to_json
from openledger_node.audit.contributor_page import render_page
from openledger_node.errors import ChainError
from openledger_node.home import Home
from openledger_node.network_file import write_network
from openledger_protocol.chain import Log
from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of

PAID = Address(CONTRIBUTORS[0])
OWNER = address_of(OWNER_KEYS[2])
"""Owns an adapter, has taught nobody, and has withdrawn."""


@pytest.fixture(scope="module")
def session() -> Iterator[Economy]:
    """Two claims that are final, one that is drawn, one in review, and one without a list."""
    session = open_economy()
    first = session.open(OPEN)
    session.settle(session.record(*session.owed(first, [10_007, 200_003, 30_011, 400_001])))
    session.settle(session.record(*session.owed(first, [0, 101_009])))
    session.take_out(OWNER_KEYS[2])
    session.settle(session.record(*session.owed(first, [0, 101_009])))
    drawn, listed, _ = (session.record(*session.owed(first, [0, amount])) for amount in (20_011, 40_009, 7_001))
    session.offer(drawn)
    session.draw(drawn)
    session.offer(listed)
    yield session
    session.client.close()


@pytest.fixture(scope="module")
def still(session: Economy) -> Remembered:
    return Remembered(session.client)


@pytest.fixture(scope="module")
def report(session: Economy, still: Remembered) -> ContributorReport:
    return read_contributor([still], session.network, PAID)


# ---- an honest endpoint


def test_final_payouts_are_what_the_account_can_withdraw(session: Economy, report: ContributorReport) -> None:
    assert report.holds
    assert report.balance_wei == report.sum_wei(AwardState.FINAL) == session.balance(PAID) > 0
    states = {(award.seq, award.state) for award in report.awards}
    assert states == {(0, "final"), (1, "final"), (2, "final"), (3, "drawn"), (4, "in review")}


def test_a_claim_shows_its_review_and_its_proven_answers(session: Economy, report: ContributorReport) -> None:
    [*_, last] = report.awards
    proposal = pin_chain(session.client, session.network).ask("AttributionRewards", "proposalOf", last.node, last.seq)
    assert last.ready_at_s == proposal["readyAt"] > report.time_s
    assert last.credited_at_s is None
    final = [award for award in report.awards if award.state is AwardState.FINAL]
    shown = {answer.digest for award in final for answer in award.answers or ()}
    receipts = {each.digest for line in session.lines.values() for each in line.receipts}
    assert shown
    assert shown <= receipts
    assert all(award.answers is None for award in report.awards if award not in final)


def test_credits_in_other_roles_and_withdrawals_are_told_apart(session: Economy, still: Remembered) -> None:
    report = read_contributor([still], session.network, OWNER)
    assert report.holds
    assert not report.awards
    assert {each.role for each in report.others} == {CreditRole.OWNER}
    assert report.withdrawn_wei == session.taken_out[OWNER] > 0
    assert report.balance_wei == sum(each.amount_wei for each in report.others) - report.withdrawn_wei > 0


# ---- endpoints that lie


@pytest.mark.parametrize(
    ("who", "contract", "event"),
    [
        (PAID, "AttributionRewards", "Proposed"),
        (PAID, "AttributionRewards", "Credited"),
        (PAID, "PaymentChannels", "Claimed"),
        (OWNER, "AttributionRewards", "Withdrawn"),
    ],
)
def test_an_event_that_is_left_out_is_missed(
    session: Economy, still: Remembered, who: Address, contract: str, event: str
) -> None:
    liar: Any = Liar(still, without(session, contract, event, slice(None)))
    assert read_contributor([liar], session.network, who).faults


def test_a_payout_list_with_another_weight_is_not_the_one_on_the_chain(session: Economy, still: Remembered) -> None:
    def heavier(logs: list[Log]) -> list[Log]:
        changed = of(session, logs, "AttributionRewards", "Proposed")[-1]
        word = changed.data[-32:]
        data = changed.data[:-32] + (int.from_bytes(word, "big") + 1).to_bytes(32, "big")
        return [replace(log, data=data) if log is changed else log for log in logs]

    liar: Any = Liar(still, heavier)
    faults = read_contributor([liar], session.network, CONTRIBUTORS[1]).faults
    assert any("payout list hashes to" in fault for fault in faults)


@pytest.mark.parametrize("zeros", [slice(-64, -32), slice(-192, -160)], ids=["no gross", "no pots"])
def test_a_record_that_divides_nothing_is_a_fault(session: Economy, still: Remembered, zeros: slice) -> None:
    def emptied(logs: list[Log]) -> list[Log]:
        found = []
        for log in logs:
            data = bytearray(log.data)
            data[zeros] = bytes(32)
            found.append(replace(log, data=bytes(data)))
        changed = of(session, logs, "PaymentChannels", "Claimed")
        return [each if log in changed else log for log, each in zip(logs, found, strict=True)]

    liar: Any = Liar(still, emptied)
    faults = read_contributor([liar], session.network, PAID).faults
    assert any("record hashes to" in fault for fault in faults)


def test_two_endpoints_that_differ_are_found_out(session: Economy, still: Remembered) -> None:
    liar: Any = Liar(still, with_a_wei_more(session, "AttributionRewards", "Withdrawn"))
    with pytest.raises(ChainError, match=r"different histories .* withdrawals"):
        read_contributor([still, liar], session.network, OWNER)


class Forgetful:
    """A client that has no data of transactions, or other data."""

    def __init__(self, client: Any, change: Callable[[bytes], bytes | None]) -> None:
        self._client, self._change = client, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def input_of(self, transaction_hash: str) -> bytes | None:
        return self._change(self._client.input_of(transaction_hash))


def flipped(sent: bytes) -> bytes:
    """The data with one bit changed in its last proof."""
    return sent[:-1] + bytes([sent[-1] ^ 1])


@pytest.mark.parametrize("change", [lambda _: None, lambda sent: sent[:64], flipped])
def test_answers_that_are_not_proven_are_not_shown(
    session: Economy, still: Remembered, change: Callable[[bytes], bytes | None]
) -> None:
    report = read_contributor([Forgetful(still, change)], session.network, PAID)
    assert report.holds
    assert None in {award.answers for award in report.awards if award.state is AwardState.FINAL}


# ---- the command


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return verbs_here(home, monkeypatch, capsys)


def test_a_contributor_needs_only_an_address(
    session: Economy, run: Run, report: ContributorReport, tmp_path: Path
) -> None:
    with served(session) as url:
        write_network(file := tmp_path / "network.json", replace(session.network, rpc=(url,)))
        ran = run("contributor", PAID, "--network", str(file), "--json")
        table = run("contributor", "show", PAID, "--network", str(file), "--csv")
    assert ran.status == 0, ran.stderr
    now = {"block": 0, "block_hash": "", "block_time": ""}
    assert {**json.loads(ran.stdout), **now} == {
        "schema": "openledger.contributor/1",
        **contributor_to_json(report),
        **now,
    }
    rows = list(csv.DictReader(StringIO(table.stdout)))
    assert [row["amount_wei"] for row in rows] == [str(award.amount_wei) for award in report.awards]
    ran = run("contributor", PAID, "--network", str(file), "--rpc", "http://127.0.0.1:9")
    assert ran.status == ChainError.exit_code
    assert "does not answer" in ran.stderr


# ---- the page; test_contributor_page.py opens it in a browser


def test_the_page_loads_nothing_asks_one_endpoint_and_takes_no_markup_from_the_network(session: Economy) -> None:
    text = render_page(replace(session.network, rpc=("https://one.example/key", "https://two.example")))
    assert "default-src &#x27;none&#x27;" in text
    assert "connect-src https://one.example;" in text
    assert "two.example" not in text
    assert not [each for each in (" src=", "innerHTML", "<link") if each in text]
    token = replace(session.network.token, symbol="</script><b>")
    assert "<b>" not in render_page(replace(session.network, token=token, rpc=('http://a"><b>',)))
