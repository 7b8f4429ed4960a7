"""Credit of prepaid keys: exact in sum, charged once for each request, and never lost nor doubled by a crash."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openledger_node.errors import InputError
from openledger_node.ledger.key_credits import KeyCredit, KeyHold, RequestWork
from openledger_node.ledger.key_days import DAY_S, Income
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.primitives import RequestId, Wei

KEY = "bob"


def request_id(number: int) -> RequestId:
    return RequestId(f"0x{number:064x}")


def credit(wei: int, *, key: str = KEY) -> KeyCredit:
    return KeyCredit(key=key, added_s=1, amount_wei=Wei(wei), note="cash")


def hold_of(number: int, *, key: str = KEY) -> KeyHold:
    return KeyHold(
        request_id=request_id(number),
        key=key,
        began_s=number,
        is_bought=False,
        price_in_wei=Wei(1),
        price_out_wei=Wei(1),
        margin_ppm=0,
    )


def test_a_balance_is_what_was_paid_in_less_what_is_held_and_charged(ledger: Ledger) -> None:
    credits = ledger.key_credits
    assert credits.add(credit(10**30)) == 10**30
    assert credits.add(credit(5)) == 10**30 + 5
    credits.add(credit(7, key="eve"))
    credits.hold(hold_of(1), lambda balance, beside: Wei(100))
    assert credits.balance_wei(KEY) == 10**30 - 95
    assert credits.settle(request_id(1), lambda hold, work: Wei(30)) == 30
    assert credits.balance_wei(KEY) == 10**30 - 25
    assert credits.balance_wei("eve") == 7


def test_a_second_settlement_changes_nothing(ledger: Ledger) -> None:
    ledger.key_credits.add(credit(100))
    ledger.key_credits.hold(hold_of(1), lambda balance, beside: Wei(50))
    ledger.key_credits.settle(request_id(1), lambda hold, work: Wei(30))
    assert ledger.key_credits.settle(request_id(1), lambda hold, work: Wei(50)) == 30
    assert ledger.key_credits.balance_wei(KEY) == 70


def test_a_charge_never_exceeds_its_hold(ledger: Ledger) -> None:
    ledger.key_credits.add(credit(100))
    ledger.key_credits.hold(hold_of(1), lambda balance, beside: Wei(50))
    assert ledger.key_credits.settle(request_id(1), lambda hold, work: Wei(51)) == 50


def test_a_request_that_holds_nothing_is_charged_nothing(ledger: Ledger) -> None:
    assert ledger.key_credits.settle(request_id(9), lambda hold, work: Wei(1)) == 0


def test_a_refused_hold_leaves_no_row(ledger: Ledger) -> None:
    def refuse(balance: Wei, beside: Wei) -> Wei:
        raise PaymentRequiredError("no")

    with pytest.raises(PaymentRequiredError):
        ledger.key_credits.hold(hold_of(1), refuse)
    assert ledger.key_credits.charges(KEY, limit=10) == []


def test_a_crash_between_hold_and_charge_settles_once(file: Path) -> None:
    with closing(open_ledger(file)) as ledger:
        ledger.key_credits.add(credit(100))
        ledger.key_credits.hold(hold_of(1), lambda balance, beside: Wei(50))
    seen: list[RequestWork] = []

    def price(hold: KeyHold, work: RequestWork) -> Wei:
        seen.append(work)
        return Wei(20)

    with closing(open_ledger(file)) as ledger:
        assert ledger.key_credits.balance_wei(KEY) == 50  # still held
        assert (ledger.key_credits.recover(price), ledger.key_credits.recover(price)) == (1, 0)
        assert ledger.key_credits.balance_wei(KEY) == 80
        (charge,) = ledger.key_credits.charges(KEY, limit=5)
    assert (charge.held_wei, charge.charged_wei, charge.cost_wei) == (50, 20, 0)
    assert seen == [RequestWork(tokens_in=0, tokens_out=0, cost_wei=Wei(0))]


def test_income_is_the_sum_of_all_keys_charges_since_a_moment(ledger: Ledger) -> None:
    for number, key in ((1, KEY), (2, "eve"), (3, KEY)):
        ledger.key_credits.add(credit(100, key=key))
        ledger.key_credits.hold(hold_of(number, key=key), lambda balance, beside: Wei(50))
    for number in (1, 2):  # the third one runs
        ledger.key_credits.settle(request_id(number), lambda hold, work: Wei(10))
    assert ledger.key_credits.income() == Income(charged_wei=Wei(20), cost_wei=Wei(0))
    assert ledger.key_credits.income(since_s=2) == Income(charged_wei=Wei(10), cost_wei=Wei(0))


def test_charges_and_credits_are_listed_newest_first(ledger: Ledger) -> None:
    ledger.key_credits.add(credit(1))
    ledger.key_credits.add(credit(2))
    for number in (1, 2, 3):
        ledger.key_credits.hold(hold_of(number), lambda balance, beside: Wei(0))
    assert [each.hold.began_s for each in ledger.key_credits.charges(KEY, limit=2)] == [3, 2]
    assert [each.amount_wei for each in ledger.key_credits.credits(KEY)] == [2, 1]


def test_an_order_adds_its_credit_once(ledger: Ledger) -> None:
    order = replace(credit(100), order_id="bill-7")
    assert ledger.key_credits.add(order) == 100
    assert ledger.key_credits.add(replace(order, note="sent again", added_s=9)) == 100
    assert [each.note for each in ledger.key_credits.credits(KEY)] == ["cash"]


@pytest.mark.parametrize("other", [{"amount_wei": Wei(99)}, {"key": "eve"}], ids=["amount", "key"])
def test_an_order_with_another_amount_or_key_is_refused(ledger: Ledger, other: dict[str, Any]) -> None:
    order = replace(credit(100), order_id="bill-7")
    ledger.key_credits.add(order)
    with pytest.raises(InputError, match=r"'bill-7' has added .* to the key 'bob' before"):
        ledger.key_credits.add(replace(order, **other))
    assert (ledger.key_credits.balance_wei(KEY), ledger.key_credits.balance_wei("eve")) == (100, 0)


def test_income_since_the_middle_of_a_day_is_exact(ledger: Ledger) -> None:
    times = (DAY_S - 1, DAY_S, DAY_S + 10, 2 * DAY_S - 1, 2 * DAY_S)
    ledger.key_credits.add(credit(1_000))
    for number, began_s in enumerate(times):
        ledger.key_credits.hold(replace(hold_of(number), began_s=began_s), lambda balance, beside: Wei(100))
        ledger.key_credits.settle(request_id(number), lambda hold, work: Wei(hold.began_s % 97 + 1))
    for since_s in (0, 1, DAY_S - 1, DAY_S, DAY_S + 1, DAY_S + 10, DAY_S + 11, 2 * DAY_S, 2 * DAY_S + 1):
        expected = sum(began_s % 97 + 1 for began_s in times if began_s >= since_s)
        assert ledger.key_credits.income(since_s=since_s).charged_wei == expected, since_s
