"""Earnings are what ledger and chain say, to the wei."""

import csv
import io
from contextlib import redirect_stdout
from typing import Any

import pytest
from support.chain_world.contract_world import OPEN
from support.chain_world.world import World

from openledger_node.accounting.earning_days import COIN_WEI, DAY_S, DayParts, earning_days, first_midnight
from openledger_node.accounting.earnings import EarningsReports
from openledger_node.cli.earnings import write_csv
from openledger_node.settlement.records import record_of
from openledger_node.text import MOMENT_S_MAX, rfc3339, since_of
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_DIGEST, Wei
from openledger_protocol.settlement import EpochClaim

NOW_S = 1_800_000_000.0


def report(world: World, **given: Any) -> dict[str, Any]:
    return EarningsReports(world.node).report(given, now_s=float(world.node.client.head().timestamp_s))


def settle(world: World) -> None:
    """Settle until every claim is final."""
    ledger = world.node.ledger
    world.run(lambda: ledger.claims.newest(limit=1) and not ledger.claims.unfinished())


def test_a_claim_is_settled_since_its_claim_and_claimed_since_its_credit(world: World) -> None:
    node, before = world.node, report(world)
    world.earn(world.open_channel(), OPEN)
    pending = report(world)
    assert (pending["pending_wei"], pending["claimed_wei"]) == (str(OPEN), "0")
    assert pending["net_wei"] == before["net_wei"], "what no claim holds is in no sum"
    world.run(lambda: any(claim.state == "claimed" for claim in node.ledger.claims.unfinished()))
    (claimed,) = node.ledger.events.find("Claimed", {"node": node.accounts.wallet})
    record = record_of(claimed)

    def since(at_s: int) -> dict[str, Any]:
        return report(world, since=rfc3339(at_s))

    made, after = since(record.claimed_at_s), since(record.claimed_at_s + 1)
    assert (made["settled_wei"], after["settled_wei"]) == (str(record.node_share_wei), "0")
    assert [each["claimed_at"] for each in made["settlements"]] == [rfc3339(record.claimed_at_s)]
    assert after["settlements"] == []
    assert int(after["net_wei"]) == -int(after["gas_open_wei"])

    settle(world)
    over = since(record.claimed_at_s + 1)
    assert (over["settled_wei"], over["claimed_wei"]) == ("0", str(record.node_share_wei))
    assert [each["seq"] for each in over["settlements"]] == [record.seq]
    coins = [node.client.coin_balance(account) for account in (node.accounts.wallet, node.accounts.signer)]
    assert int(report(world)["gas_wei"]) == 2 * OPEN - sum(coins), "each began with one coin"

    (credited,) = node.ledger.events.find("Credited", {"node": node.accounts.wallet, "role": 0})
    block = node.client.block(credited.block.number)
    assert block is not None
    with redirect_stdout(io.StringIO()) as printed:
        write_csv(report(world, movements=True))
    rows = list(csv.DictReader(io.StringIO(printed.getvalue())))
    (row,) = [each for each in rows if each["kind"] == "node"]
    assert (int(row["amount_wei"]), row["transaction"]) == (credited.arguments["amount"], credited.transaction_hash)
    assert row["time_utc"] == rfc3339(block.timestamp_s)
    with pytest.raises(MalformedError, match="not by 'week'"):
        report(world, by="week")


def test_a_claim_that_was_refused_has_no_share_in_the_credit_of_the_next(world: World) -> None:
    world.earn(world.open_channel(), OPEN)
    ledger, head = world.node.ledger, world.node.client.head()
    claim = EpochClaim(
        node=world.node.accounts.wallet,
        seq=world.node.deployment.next_seq(world.node.accounts.wallet),
        epoch=1_000_000,
        items_hash=ZERO_DIGEST,
    )
    kept = ledger.claims.add("refused", claim, [], gross_wei=Wei(1), now_s=head.timestamp_s - 100_000)
    ledger.claims.move(kept.claim_id, "refused")
    world.run(lambda: ledger.claims.newest(limit=1)[0].state == "final")
    states = {each["state"]: each["credited_wei"] for each in report(world)["settlements"]}
    assert states == {"refused": None, "final": report(world)["claimed_wei"]}
    assert [each["state"] for each in report(world, since="1d")["settlements"]] == ["final"]


def test_a_day_without_anything_is_zero_and_gas_parts_sum_to_the_rounded_whole() -> None:
    gas = [(DAY_S * 10 + 5.0, 1), (DAY_S * 12 + 5.0, 1), (DAY_S * 99.0, 1)]  # the last by a chain that is ahead
    parts = DayParts(settled=[(DAY_S * 10.5, 7)], claimed=[(0.0, 3)], gas=gas, coin_price_wei=COIN_WEI // 2)
    found = earning_days(parts, since_s=0, now_s=DAY_S * 12.5)
    assert [day["day"] for day in found] == ["1970-01-11", "1970-01-12", "1970-01-13"]
    assert [day["net_wei"] for day in found] == ["10", "0", "-1"]
    assert [day["total_wei"] for day in found] == ["10", "10", "9"]
    assert sum(int(day["gas_open_wei"]) for day in found) == 3 // 2


@pytest.mark.parametrize(("since", "days"), [("30d", 30), ("1h", 1), ("2027-01-14", 2), ("2099-01-01", 1)])
def test_only_whole_days_count_to_today_and_too_many_are_refused(since: str, days: int) -> None:
    since_s = first_midnight(since_of(since, now_s=NOW_S), now_s=NOW_S)
    none = DayParts(settled=(), claimed=(), gas=(), coin_price_wei=0)
    assert [day["net_wei"] for day in earning_days(none, since_s=since_s, now_s=NOW_S)] == ["0"] * days
    with pytest.raises(MalformedError, match="later time"):
        earning_days(none, since_s=86_400.0, now_s=NOW_S)


@pytest.mark.parametrize(
    ("text", "at_s"),
    [
        ("", 0.0),
        ("30d", NOW_S - 30 * 86_400),
        ("90m", NOW_S - 5_400),
        ("1970-01-02", 86_400.0),
        ("1970-01-02T01:00:00+01:00", 86_400.0),
        ("1600-01-01", 0.0),
        ("0001-01-01T00:00:00+23:00", 0.0),
        ("9999-12-31T23:59:59-23:00", MOMENT_S_MAX),
    ],
)
def test_a_moment_is_said_as_people_say_it(text: str | None, at_s: float) -> None:
    assert since_of(text, now_s=NOW_S) == at_s


def test_what_is_no_moment_is_refused() -> None:
    for text in ("yesterday", "30", "d", "-5d", "2026-13-01"):
        with pytest.raises(MalformedError, match="is not a time"):
            since_of(text, now_s=NOW_S)
