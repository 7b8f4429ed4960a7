"""One wallet in every role: each figure of its books is the chain's, to the wei."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from node.accounting.one_wallet import ODD, OneWallet, open_one_wallet
from support.chain_world.contract_world import OPEN
from support.contributors import ADA
from support.signed import account

from openledger_node.accounting.book_entries import BookLine
from openledger_node.accounting.earnings import EarningsReports
from openledger_node.cli.earnings import COLUMNS, _print, write_csv
from openledger_node.cli.render import out_console
from openledger_node.cli.units import amount, open_amount, rounded_amount
from openledger_node.errors import NodeError
from openledger_node.keystore import Account
from openledger_node.settlement.actions import (
    CloseChannel,
    RemoveStake,
    SetPayout,
    WithdrawChannel,
    WithdrawRewards,
    WithdrawStake,
)
from openledger_node.text import rfc3339
from openledger_protocol.constants import PPM
from openledger_protocol.errors import MalformedError
from openledger_protocol.events import BLOCKS_KEPT
from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import Wei


@pytest.fixture
def one(tmp_path: Path) -> Iterator[OneWallet]:
    with open_one_wallet(tmp_path) as opened:
        yield opened


def report(one: OneWallet, **given: Any) -> dict[str, Any]:
    return EarningsReports(one.world.node).report(given, now_s=float(one.world.now_s))


def final(found: dict[str, Any]) -> dict[str, int]:
    return {line["line"]: int(line["final_wei"]) for line in found["lines"]}


def under_way(found: dict[str, Any]) -> dict[str, int]:
    return {line["line"]: int(line["under_way_wei"]) for line in found["lines"]}


def balance(found: dict[str, Any]) -> dict[str, int]:
    return {name: int(value) for name, value in found["books"]["balance"].items() if name.endswith("_wei")}


def locked(found: dict[str, Any], what: str) -> tuple[int, ...]:
    (row,) = [each for each in found["books"]["locked"] if each["what"] == what]
    return tuple(int(row[name]) for name in ("put_in_wei", "returned_wei", "used_wei", "locked_wei"))


def test_each_line_is_what_the_chain_has_credited_and_the_books_hold_to_the_wei(one: OneWallet) -> None:
    one.sell(ODD), one.sell(ODD, is_base=True), one.buy(ODD), one.buy(ODD // 3, is_base=True)
    bought, events = report(one), one.world.node.ledger.events
    assert int(bought["spent_wei"]) == ODD + ODD // 3 == -int(bought["net_wei"]) - int(bought["gas_open_wei"])
    assert locked(bought, "channels") == (50 * OPEN, 0, 0, 50 * OPEN)
    one.world.run(lambda: len(events.find("Proposed")) == 2)
    before = report(one)
    assert not events.find("Finalized"), "nothing is final yet"
    one.settle()
    found, chain, other = report(one), one.credits(), one.world.payer.accounts.wallet
    lines = final(found)
    assert set(final(before).values()) == {0}
    assert under_way(before) == lines, "without a wei lost"
    assert locked(found, "channels") == (50 * OPEN, 0, ODD + ODD // 3, 50 * OPEN - ODD - ODD // 3)
    royalties = 2 * (ODD * 100_000 // PPM)
    owned = sum(wei for (role, _), wei in chain.items() if role == CreditRole.OWNER)
    assert lines["royalty"] == royalties
    assert lines["datanet_owner"] == owned - royalties > 0
    assert lines["node"] == chain[CreditRole.NODE, one.wallet] == int(found["claimed_wei"]) > 0
    for line, role in (("contributor", CreditRole.CONTRIBUTOR), ("treasury", CreditRole.TREASURY)):
        assert lines[line] == sum(wei for (each, _), wei in chain.items() if each == role) > 0, line
        assert chain[role, other] > 0, "some of it came with a claim of the other node"
    assert sum(chain.values()) == one.world.balance(one.wallet) == int(found["balance_wei"])
    assert int(found["total"]["final_wei"]) == sum(chain.values())
    assert under_way(found) == dict.fromkeys(lines, 0)
    assert found["books"]["holds"]
    assert balance(found)["credited_wei"] == sum(chain.values())
    with events._store.transaction() as transaction:
        transaction.execute("DELETE FROM event WHERE name = 'Credited'")
    assert report(one)["books"]["balance"]["holds"] is False, "events are missing"


def test_a_withdrawal_leaves_the_books_whole_and_what_it_left_opens_the_next_period(one: OneWallet) -> None:
    one.sell(ODD)
    one.settle()
    world, wallet = one.world, one.wallet
    credited = world.balance(wallet)
    held = world.chain.read("OpenToken", "balanceOf", wallet)
    world.act(WithdrawRewards(accounts=(wallet,), amount_wei=Wei(credited)))
    world.run(lambda: world.node.ledger.events.find("Withdrawn"))
    before = report(one)
    assert world.chain.read("OpenToken", "balanceOf", wallet) - held == credited
    assert (int(before["withdrawn_wei"]), int(before["balance_wei"])) == (credited, 0)
    names = ("opening_wei", "credited_wei", "withdrawn_wei", "balance_wei")
    assert balance(before) == dict(zip(names, (0, credited, credited, 0), strict=True))
    one.sell(ODD)
    one.settle()
    before, left = report(one), world.balance(wallet)
    world.wait(1)
    middle = rfc3339(world.now_s)
    one.sell(ODD), one.buy(ODD)
    one.settle()
    found, whole = report(one, since=middle), report(one)
    assert (balance(found)["opening_wei"], balance(found)["withdrawn_wei"]) == (left, 0)
    assert [each["books"]["holds"] for each in (before, found, whole)] == [True] * 3
    for line, wei in final(found).items():
        assert wei == final(whole)[line] - final(before)[line], line
    assert int(found["net_wei"]) == int(whole["net_wei"]) - int(before["net_wei"])


def test_days_sum_to_every_total_and_periods_are_those_of_each_alone(one: OneWallet) -> None:
    one.sell(ODD), one.buy(ODD)
    one.settle()
    one.world.wait(2 * 86_400)
    one.sell(ODD), one.buy(ODD // 3)
    asked = [rfc3339(one.world.now_s), "1d", "30d", None]
    one.world.run(lambda: one.world.node.ledger.events.find("Claimed"))
    for since in (None, "30d", "2d"):
        found = report(one, since=since, by="day")
        sums = {name: sum(int(day[name]) for day in found["days"]) for name in found["days"][0] if name != "day"}
        both = {line["line"]: int(line["under_way_wei"]) + int(line["final_wei"]) for line in found["lines"]}
        for name in ("settled_wei", "claimed_wei", "spent_wei", "lost_wei", "gas_wei", "gas_open_wei", "net_wei"):
            assert sums[name] == int(found[name]), (name, since)
        assert sums["royalty_wei"] == both["royalty"]
        assert sums["datanet_wei"] == both["datanet_owner"] + both["contributor"] + both["treasury"]
        assert sums["other_wei"] == sum(both[name] for name in ("protocol", "other_nodes"))
        assert found["days"][-1]["total_wei"] == found["net_wei"]

    found = report(one, since="30d", by="day", periods=asked)
    for since, period in zip(asked, found["periods"], strict=True):
        alone = report(one, since=since)
        assert period == {name: alone[name] for name in period}
        assert {"lines", "total", "net_wei", "pending_wei", "spent_wei", "books"} <= set(period)
    assert [each["num_bought"] for each in found["periods"]] == [1, 1, 2, 2]
    for refused in ("7d", 0, {}, ["7d"] * 9, [7], ["someday"]):
        with pytest.raises(MalformedError, match=r"periods is a list of at most 8 times|not a time"):
            report(one, periods=refused)


def test_stake_bonds_and_deposits_come_back_whole(one: OneWallet) -> None:
    world, node = one.world, one.world.node
    config = next(row.config for row in node.ledger.channels.all() if row.channel_id == one.bought)
    stake = node.deployment.stake(one.wallet).bonded_wei
    assert locked(report(one), "stake") == (stake, 0, 0, stake)
    assert locked(report(one), "adapters") == (10 * OPEN, 0, 0, 10 * OPEN)
    world.act(RemoveStake(amount_wei=Wei(3)))
    world.act(CloseChannel(channel_id=one.bought, config=config, amount_wei=Wei(2 * OPEN)))
    world.run(lambda: node.ledger.events.find("UnbondStarted"))
    assert locked(report(one), "stake") == (stake, 0, 0, stake), "unbonding stake is still locked"
    world.wait(130)
    world.act(WithdrawStake())
    world.act(WithdrawChannel(channel_id=one.bought, config=config))
    world.run(lambda: node.ledger.events.find("StakeWithdrawn") and node.ledger.events.find("WithdrawFinished"))
    found = report(one)
    assert locked(found, "stake") == (stake, 3, 0, stake - 3)
    assert locked(found, "channels") == (50 * OPEN, 2 * OPEN, 0, 48 * OPEN)
    assert found["books"]["holds"]


def test_what_is_paid_to_another_address_is_withdrawn_in_the_books(one: OneWallet) -> None:
    one.sell(ODD)
    one.settle()
    credited, payout = one.world.balance(one.wallet), account(0x5E)
    one.world.act(SetPayout(payout=payout))
    one.world.act(WithdrawRewards(accounts=(one.wallet,), amount_wei=Wei(credited)))
    one.world.run(lambda: one.world.node.ledger.events.find("Withdrawn"))
    found = report(one)
    assert one.world.chain.read("OpenToken", "balanceOf", payout) == credited == int(found["withdrawn_wei"])
    assert found["books"]["holds"]


def test_a_fee_for_a_late_list_is_named_and_already_left_out_of_the_credit(one: OneWallet) -> None:
    one.sell(ODD)
    node = one.world.node
    one.world.run(lambda: node.ledger.events.find("Claimed"))
    (claimed,) = node.ledger.events.find("Claimed")
    one.world.wait(600)  # the window for the list is over
    one.settle()
    found = report(one)
    owed = int(claimed.arguments["record"]["nodeShare"])  # type: ignore[index,call-overload]
    credited = one.credits()[CreditRole.NODE, one.wallet]
    assert (int(found["fees_wei"]), int(found["claimed_wei"])) == (owed - credited, credited)
    assert 0 < credited < owed
    assert found["books"]["holds"]


def test_command_and_csv_say_what_the_json_says_to_the_wei(one: OneWallet, monkeypatch: pytest.MonkeyPatch) -> None:
    one.live()
    found = report(one, movements=True)
    figures = figures_of_json(found)
    with redirect_stdout(io.StringIO()) as printed:
        write_csv(found)
    assert figures_of_csv(printed.getvalue()) == figures
    assert min(figures.values()) > 0, "each comparison says something"
    monkeypatch.setattr(out_console, "width", 400)
    with redirect_stdout(io.StringIO()) as printed:
        _print(found)
    check_text(printed.getvalue(), figures)
    assert "royalties of your adapters" in printed.getvalue()
    assert open_amount(found["net_wei"]) in printed.getvalue()


def test_books_that_do_not_add_up_or_leave_accounts_out_say_so(
    one: OneWallet, capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = (Account(name=name, address=at, file=Path()) for name, at in (("wallet", one.wallet), ("ada", ADA)))
    found = EarningsReports(one.world.node, accounts_of=lambda: [own, other]).report({}, now_s=float(one.world.now_s))
    assert found["books"]["left_out"] == [{"account": ADA, "name": "ada"}]
    found["books"]["holds"] = found["books"]["balance"]["holds"] = False
    _print(found)
    said = " ".join(capsys.readouterr().out.split())
    assert "ada: these are the books of the node's own accounts, and of none chosen by --wallet" in said
    assert "do not add up for rewards at block" in said
    assert "`openledger-node network rescan`" in said


def test_books_of_a_ledger_that_is_far_behind_are_not_shown(one: OneWallet) -> None:
    for _ in range(BLOCKS_KEPT + 1):
        one.world.wait(1)
    with pytest.raises(NodeError, match="so its books are not complete: wait until it has read the rest"):
        report(one)
    one.world.node.step()
    assert report(one)["books"]["holds"]


# ---- the figures as each output shows them


LINES = ("node", "royalty", "datanet_owner", "contributor", "treasury")
LOCKED = {"staked": "stake", "adapter bonds": "adapters", "channel deposits": "channels"}


def figures_of_json(found: dict[str, Any]) -> dict[str, int]:
    """Figures of the JSON of `earnings`, whose own equations must hold."""
    assert found["books"]["holds"]
    lines = {each["line"]: int(each["final_wei"]) for each in found["lines"]}
    assert sum(lines.values()) == int(found["total"]["final_wei"])
    out = sum(int(found[name]) for name in ("spent_wei", "lost_wei", "gas_open_wei"))
    assert int(found["total"]["final_wei"]) + int(found["total"]["under_way_wei"]) - out == int(found["net_wei"])
    locked = {each["what"]: int(each["locked_wei"]) for each in found["books"]["locked"]}
    return {
        **{line: lines[line] for line in LINES},
        "spent": int(found["spent_wei"]),
        "withdrawn": int(found["withdrawn_wei"]),
        "balance": int(found["balance_wei"]),
        **{name: locked[what] for name, what in LOCKED.items()},
        "gas": int(found["gas_wei"]),
    }


def figures_of_csv(text: str) -> dict[str, int]:
    """Figures of the CSV of `earnings`, each summed from its rows; both columns of an amount must agree."""
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert [row["time_utc"] for row in rows] == sorted(row["time_utc"] for row in rows)
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row["kind"]] += int(row["amount_wei"])
        assert open_amount(row["amount_wei"]).replace(",", "") == f"{row['amount_open']} OPEN"
    credited = sum(sums[line] for line in BookLine)
    withdrawn = sums["withdrawn"]
    return {
        **{line: sums[line] for line in LINES},
        "spent": -sums["answer"],
        "withdrawn": withdrawn,
        "balance": credited - withdrawn,
        "staked": -sums["stake_added"] - sums["stake_returned"],
        "adapter bonds": -sums["adapter_bond"] - sums["adapter_bond_returned"],
        "channel deposits": -sums["channel_deposit"] - sums["channel_returned"] + sums["answer"],
        "gas": -sum(int(row["coin_wei"]) for row in rows),
    }


def check_text(text: str, figures: dict[str, int]) -> None:
    """Require each figure in what `earnings` prints for people; its table of lines rounds to a millionth."""
    said = text.split()
    for name, wei in figures.items():
        assert (rounded_amount(wei) if name in LINES else amount(wei)) in said, (name, wei)
    assert "to the wei at block" in " ".join(said)
