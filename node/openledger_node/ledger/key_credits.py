"""Credit of prepaid API keys: what their owners paid in, and one charge for each request.

A balance is never stored. It is the sum of the credits less the sum of the charges, which are added up by day, and
a request that runs counts with all that it holds.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openledger_protocol.primitives import RequestId, Wei

from ..errors import InputError
from ..text import open_text
from .bought import STILL_DUE
from .key_days import DAY_S, Income, KeyDays
from .store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCredit:
    """Credit that the node's owner added to a key."""

    key: str
    added_s: int
    amount_wei: Wei
    note: str
    order_id: str | None = None  # of the owner's own books; no two credits have the same


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHold:
    """A request of a prepaid key, with the prices that apply to it."""

    request_id: RequestId
    key: str
    began_s: int
    is_bought: bool
    price_in_wei: Wei  # of 1,000 tokens
    price_out_wei: Wei
    margin_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCharge:
    """A request's hold, and its charge once it has ended."""

    hold: KeyHold
    held_wei: Wei
    charged_wei: Wei | None  # None: it runs, or a receipt of it may still come
    cost_wei: Wei | None  # what the network charged


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWork:
    """A request's answer, as far as the ledger has it."""

    tokens_in: int  # 0 unless this machine began to answer and did not fail
    tokens_out: int
    cost_wei: Wei  # what other nodes charged, or may still charge
    is_open: bool = False  # a receipt may still come, for less than was counted


ChooseHold = Callable[[Wei, Wei], Wei]
"""Decides how much to hold of a balance, with what running requests hold; what it raises leaves no row."""

Price = Callable[[KeyHold, RequestWork], Wei]
"""The price of an answer."""


class KeyCredits:
    """Rows of credits and charges, which are never deleted."""

    def __init__(self, store: Store, days: KeyDays) -> None:
        self._store = store
        self._days = days

    def add(self, credit: KeyCredit) -> Wei:
        """Add credit and return the new balance. A credit with an order's id counts once, however often it is added.

        Raises:
            InputError: the order has added another amount before, or credit to another key.
        """
        with self._store.transaction() as transaction:
            if not self._is_repeated(credit):
                transaction.execute(
                    "INSERT INTO key_credit (key, added_s, amount_wei, note, order_id) VALUES (?, ?, ?, ?, ?)",
                    (credit.key, credit.added_s, str(credit.amount_wei), credit.note, credit.order_id),
                )
            return self.balance_wei(credit.key)

    def find_order(self, order_id: str) -> KeyCredit | None:
        """The credit that an order has added."""
        row = self._store.row("SELECT * FROM key_credit WHERE order_id = ?", (order_id,))
        return _credit(row) if row else None

    def balance_wei(self, key: str) -> Wei:
        """The credit that is neither charged nor held."""
        added = self._store.sum_wei("amount_wei", "FROM key_credit WHERE key = ?", (key,))
        return Wei(added - self._days.charged_wei(key) - self._held_wei(key))

    def _held_wei(self, key: str) -> Wei:
        return self._store.sum_wei("held_wei", "FROM key_charge WHERE key = ? AND charged_wei IS NULL", (key,))

    def _is_repeated(self, credit: KeyCredit) -> bool:
        """True if the credit's order has been carried out before.

        Raises:
            InputError: it has added another amount, or credit to another key.
        """
        found = self.find_order(credit.order_id) if credit.order_id is not None else None
        if found and (found.key, found.amount_wei) != (credit.key, credit.amount_wei):
            raise InputError(
                f"order {credit.order_id!r} has added {open_text(found.amount_wei)} to the key {found.key!r} before, "
                f"not {open_text(credit.amount_wei)} to {credit.key!r}: check the order, or give another id"
            )
        return found is not None

    def hold(self, hold: KeyHold, choose: ChooseHold) -> Wei:
        """Hold credit for a request, in one transaction with the look at the balance."""
        with self._store.transaction() as transaction:
            held_wei = choose(self.balance_wei(hold.key), self._held_wei(hold.key))
            transaction.execute(
                "INSERT INTO key_charge (request_id, key, began_s, is_bought, price_in_wei, price_out_wei,"
                " margin_ppm, held_wei) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    hold.request_id,
                    hold.key,
                    hold.began_s,
                    hold.is_bought,
                    str(hold.price_in_wei),
                    str(hold.price_out_wei),
                    hold.margin_ppm,
                    str(held_wei),
                ),
            )
        return held_wei

    def settle(self, request_id: RequestId, price: Price) -> Wei:
        """Charge a request that has ended for what the ledger has of it, at most for what it held.

        Returns the charge. While a receipt may still come, the most that it may charge stays held. A second call for
        a request that is charged changes nothing.
        """
        with self._store.transaction() as transaction:
            row = transaction.execute("SELECT * FROM key_charge WHERE request_id = ?", (request_id,)).fetchone()
            if row is None:
                return Wei(0)
            if row["charged_wei"] is not None:
                return Wei(int(row["charged_wei"]))
            work = self.work(request_id)
            charged = Wei(min(int(row["held_wei"]), price(_hold(row), work)))
            if work.is_open:
                held = "UPDATE key_charge SET held_wei = ? WHERE request_id = ?"
                transaction.execute(held, (str(charged), request_id))
            else:
                transaction.execute(
                    "UPDATE key_charge SET charged_wei = ?, cost_wei = ? WHERE request_id = ?",
                    (str(charged), str(work.cost_wei), request_id),
                )
                day = row["began_s"] // DAY_S
                self._days.add_charge(row["key"], day, charged_wei=charged, cost_wei=work.cost_wei)
        return charged

    def settle_late(self, key: str, price: Price) -> None:
        """Charge the requests of a key that ended while a receipt was missing, if it has come or none is made."""
        with self._store.transaction():
            rows = self._store.rows(
                "SELECT request_id FROM key_charge WHERE key = ? AND charged_wei IS NULL AND EXISTS"
                " (SELECT 1 FROM job WHERE job.request_id = key_charge.request_id AND job.state <> 'running')"
                " AND NOT EXISTS (SELECT 1 FROM purchase WHERE purchase.request_id = key_charge.request_id"
                f" AND {STILL_DUE})",
                (key,),
            )
            for row in rows:
                self.settle(row["request_id"], price)

    def recover(self, price: Price) -> int:
        """Settle what the previous daemon left open, at a start after `Jobs.recover`; return the number."""
        with self._store.transaction():
            rows = self._store.rows("SELECT request_id FROM key_charge WHERE charged_wei IS NULL")
            for row in rows:
                self.settle(row["request_id"], price)
        return len(rows)

    def income(self, *, since_s: int = 0) -> Income:
        """The charges of all keys since a moment, and the network's charges for them."""
        day, rest_s = divmod(since_s, DAY_S)
        days = self._days.income(since_day=day + 1 if rest_s else day).values()
        begun = self._income_of_rest(since_s, until_s=(day + 1) * DAY_S) if rest_s else []
        parts = [*days, *begun]
        return Income(
            charged_wei=Wei(sum(each.charged_wei for each in parts)),
            cost_wei=Wei(sum(each.cost_wei for each in parts)),
        )

    def _income_of_rest(self, since_s: int, *, until_s: int) -> list[Income]:
        """The income of each key in a part of a day."""
        rows = self._store.rows(
            "SELECT sum_wei(charge.charged_wei) AS charged_wei, sum_wei(charge.cost_wei) AS cost_wei"
            " FROM key_day CROSS JOIN key_charge AS charge ON charge.key = key_day.key"
            " WHERE key_day.day = :since_s / :day_s AND charge.began_s >= :since_s AND charge.began_s < :until_s"
            " AND charge.charged_wei IS NOT NULL GROUP BY key_day.key",
            {"since_s": since_s, "until_s": until_s, "day_s": DAY_S},
        )
        return [Income(charged_wei=Wei(int(row["charged_wei"])), cost_wei=Wei(int(row["cost_wei"]))) for row in rows]

    def charges(self, key: str, *, limit: int) -> list[KeyCharge]:
        """The newest charges of a key, newest first."""
        rows = self._store.rows(
            "SELECT * FROM key_charge WHERE key = ? ORDER BY began_s DESC, rowid DESC LIMIT ?", (key, limit)
        )
        return [_charge(row) for row in rows]

    def credits(self, key: str) -> list[KeyCredit]:
        """The credits of a key, newest first."""
        rows = self._store.rows("SELECT * FROM key_credit WHERE key = ? ORDER BY rowid DESC", (key,))
        return [_credit(row) for row in rows]

    def work(self, request_id: RequestId) -> RequestWork:
        """The work on a request. A purchase without a receipt counts with the most that it may charge.

        It counts nothing once its seller has said that it makes none.
        An answer whose text is empty has cost its prompt too. One that was cancelled before its first token has not.
        """
        query = f"SELECT most_wei FROM purchase WHERE request_id = ? AND {STILL_DUE}"
        rows = self._store.rows(query, (request_id,))
        return self._work(request_id, [int(row["most_wei"]) for row in rows])

    def final_work(self, request_id: RequestId) -> RequestWork:
        """The work on a request whose charge can't be corrected later; see `work`.

        A purchase without a receipt counts with what the vouchers of its lane allow beyond the receipts that are
        here. So a caller doesn't pay for a whole answer because its seller left before the first chunk.
        """
        rows = self._store.rows(
            "SELECT most_wei, ceiling_wei, charged_wei FROM purchase JOIN lane USING (channel_id, adapter_id)"
            f" WHERE request_id = ? AND {STILL_DUE}",
            (request_id,),
        )
        return self._work(
            request_id, [min(int(row["most_wei"]), int(row["ceiling_wei"]) - int(row["charged_wei"])) for row in rows]
        )

    def _work(self, request_id: RequestId, missing_wei: Sequence[int]) -> RequestWork:
        """The work by the job, the receipts, and what the missing receipts count."""
        job = self._store.row(
            "SELECT tokens_in, tokens_out FROM job WHERE request_id = ? AND state = 'completed'"
            " AND (first_token_ns IS NOT NULL OR finish_reason <> 'cancelled')",
            (request_id,),
        )
        bodies = self._store.rows("SELECT body FROM receipt WHERE request_id = ?", (request_id,))
        receipts_wei = sum(int(json.loads(row["body"])["amount_wei"]) for row in bodies)
        return RequestWork(
            tokens_in=job["tokens_in"] if job else 0,
            tokens_out=job["tokens_out"] or 0 if job else 0,
            cost_wei=Wei(receipts_wei + sum(missing_wei)),
            is_open=bool(missing_wei),
        )


def _hold(row: sqlite3.Row) -> KeyHold:
    return KeyHold(
        request_id=RequestId(row["request_id"]),
        key=row["key"],
        began_s=row["began_s"],
        is_bought=bool(row["is_bought"]),
        price_in_wei=Wei(int(row["price_in_wei"])),
        price_out_wei=Wei(int(row["price_out_wei"])),
        margin_ppm=row["margin_ppm"],
    )


def _credit(row: sqlite3.Row) -> KeyCredit:
    return KeyCredit(
        key=row["key"],
        added_s=row["added_s"],
        amount_wei=Wei(int(row["amount_wei"])),
        note=row["note"],
        order_id=row["order_id"],
    )


def _charge(row: sqlite3.Row) -> KeyCharge:
    return KeyCharge(
        hold=_hold(row),
        held_wei=Wei(int(row["held_wei"])),
        charged_wei=None if row["charged_wei"] is None else Wei(int(row["charged_wei"])),
        cost_wei=None if row["cost_wei"] is None else Wei(int(row["cost_wei"])),
    )
