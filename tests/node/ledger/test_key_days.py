"""Day sums of named keys: always what their rows add up to, also after a crash at any write."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from openledger_node.ledger.key_credits import KeyCredit, KeyHold
from openledger_node.ledger.key_days import KeySums
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_protocol.primitives import RequestId, Wei

DAY_S = 86_400


def request_id(number: int) -> RequestId:
    return RequestId(f"0x{number:064x}")


def use(ledger: Ledger, number: int, *, key: str, began_s: int) -> None:
    """Hold budget and credit for a request."""
    ledger.key_credits.hold(
        KeyHold(
            request_id=request_id(number),
            key=key,
            began_s=began_s,
            is_bought=False,
            price_in_wei=Wei(1),
            price_out_wei=Wei(1),
            margin_ppm=0,
        ),
        lambda balance, beside: Wei(10**20),
    )
    ledger.key_uses.hold(
        request_id(number), key, day=began_s // DAY_S, now_s=began_s, choose=lambda use: (Wei(5), 50)
    )


def settle(ledger: Ledger, number: int, *, wei: int, tokens: int) -> None:
    ledger.key_credits.settle(request_id(number), lambda hold, work: Wei(wei))
    ledger.key_uses.settle(request_id(number), spent_wei=Wei(wei), tokens=tokens)


def test_sums_are_those_of_the_rows_in_any_order_of_ends(ledger: Ledger) -> None:
    drawn, keys = random.Random(7), ("anna", "bob")
    for key in keys:
        ledger.key_credits.add(KeyCredit(key=key, added_s=0, amount_wei=Wei(10**24), note=""))
    begun = {number: drawn.choice(keys) for number in range(60)}
    for number, key in begun.items():
        use(ledger, number, key=key, began_s=drawn.randrange(4 * DAY_S))
    ended = drawn.sample(sorted(begun), 50)
    paid = {number: drawn.randrange(10**19) for number in ended}
    for number in ended:
        settle(ledger, number, wei=paid[number], tokens=number)
        settle(ledger, number, wei=1, tokens=1)  # a second one changes nothing
    assert ledger.key_days.wrong() == []
    for key in keys:
        numbers = [number for number in ended if begun[number] == key]
        charged = sum(paid[number] for number in numbers)
        assert ledger.key_days.of_keys()[key] == KeySums(
            num_requests=len(numbers), tokens=sum(numbers), spent_wei=Wei(charged), charged_wei=Wei(charged)
        )
        num_open = sum(begun[number] == key for number in begun if number not in paid)
        assert ledger.key_credits.balance_wei(key) == 10**24 - charged - num_open * 10**20
        days = [ledger.key_uses.day(key, day) for day in range(4)]
        assert sum(day.num_requests for day in days) == len(numbers) + num_open
        assert sum(day.held_tokens for day in days) == 50 * num_open
        assert ledger.key_uses.last_s(key) == max(day.last_s or 0 for day in days)


def test_a_settlement_that_fails_in_the_middle_leaves_row_and_sum_as_they_were(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(ledger, 1, key="bob", began_s=5)
    with monkeypatch.context() as patch:
        patch.setattr(ledger.key_days, "_put", _crash)
        with pytest.raises(ZeroDivisionError):
            settle(ledger, 1, wei=3, tokens=4)
    assert (ledger.key_days.wrong(), ledger.key_days.of_keys()) == ([], {})
    settle(ledger, 1, wei=3, tokens=4)
    assert ledger.key_days.of_keys()["bob"].charged_wei == 3


def _crash(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def test_the_newest_days_are_compared_without_the_rows_of_the_others(ledger: Ledger) -> None:
    for number, day in enumerate((1, 1, 2, 2, 2, 5, 6)):
        use(ledger, number, key="bob", began_s=day * DAY_S)
        settle(ledger, number, wei=3, tokens=4)
    days = ledger.key_days
    assert [days.recent_day(rows_max=most) for most in (1, 2, 4, 5, 6, 7)] == [6, 5, 5, 2, 2, 0]
    with days._store.transaction() as transaction:
        transaction.execute("UPDATE key_day SET charged_wei = '2' WHERE day IN (1, 5)")
        transaction.execute("DELETE FROM key_day WHERE day = 6")
    assert days.wrong(since_day=6) == [("bob", 6)]
    assert days.wrong(since_day=2) == [("bob", 5), ("bob", 6)]
    assert days.wrong() == [("bob", 1), ("bob", 5), ("bob", 6)]


def test_a_wrong_sum_is_found_and_counted_again(ledger: Ledger) -> None:
    use(ledger, 1, key="bob", began_s=DAY_S)
    settle(ledger, 1, wei=3, tokens=4)
    with ledger.key_days._store.transaction() as transaction:
        transaction.execute("UPDATE key_day SET charged_wei = '2'")
    assert ledger.key_days.wrong() == [("bob", 1)]
    ledger.key_days.recount()
    assert ledger.key_days.wrong() == []
    assert ledger.key_days.charged_wei("bob") == 3


def test_a_request_that_is_settled_during_the_comparison_is_not_a_wrong_sum(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_ledger(file)) as ledger:
        use(ledger, 1, key="bob", began_s=DAY_S)
        with closing(open_ledger(file, is_writer=False)) as reader:
            store = reader.key_days._store
            read = store.rows

            def rows(query: str, values: tuple[int]) -> list[sqlite3.Row]:
                found = read(query, values)
                settle(ledger, 1, wei=3, tokens=4)
                return found

            monkeypatch.setattr(store, "rows", rows)
            assert reader.key_days.wrong() == []
