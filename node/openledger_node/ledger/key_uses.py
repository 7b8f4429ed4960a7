"""Uses of named API keys: one row for each of their requests, so that no restart forgets or counts one twice."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from openledger_protocol.primitives import RequestId, Wei

from .store import Store

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class DayUse:
    """The use of one key on one UTC day."""

    num_requests: int
    spent_wei: Wei
    held_wei: Wei  # by requests that run
    tokens: int
    held_tokens: int
    last_s: int | None  # when its newest request began


Choose = Callable[[DayUse], tuple[Wei, int]]
"""Decides how many wei and tokens to hold; what it raises leaves no row."""


def day_of(now_s: int) -> int:
    """The UTC day of a time, counted from 1970."""
    return now_s // DAY_S


class KeyUses:
    """Rows of uses."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def hold(self, request_id: RequestId, key: str, *, day: int, now_s: int, choose: Choose) -> tuple[Wei, int]:
        """Write what a request holds, in one transaction with the look at what is left."""
        with self._store.transaction() as transaction:
            wei, tokens = choose(self.day(key, day))
            transaction.execute(
                "INSERT INTO key_use (request_id, key, day, began_s, held_wei, held_tokens)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (request_id, key, day, now_s, str(wei), tokens),
            )
        return wei, tokens

    def settle(self, request_id: RequestId, *, spent_wei: Wei, tokens: int) -> None:
        """Write what a request has used; only the first call counts."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE key_use SET spent_wei = ?, tokens = ? WHERE request_id = ? AND spent_wei IS NULL",
                (str(spent_wei), tokens, request_id),
            )

    def day(self, key: str, day: int) -> DayUse:
        """The use of a key on a day, in days since 1970."""
        (row,) = self._store.rows(
            "SELECT COUNT(*) AS num_requests, sum_wei(spent_wei) AS spent_wei, TOTAL(tokens) AS tokens,"
            " sum_wei(CASE WHEN spent_wei IS NULL THEN held_wei END) AS held_wei, MAX(began_s) AS last_s,"
            " TOTAL(CASE WHEN spent_wei IS NULL THEN held_tokens END) AS held_tokens"
            " FROM key_use WHERE key = ? AND day = ?",
            (key, day),
        )
        return DayUse(
            num_requests=row["num_requests"],
            spent_wei=Wei(int(row["spent_wei"] or 0)),
            held_wei=Wei(int(row["held_wei"] or 0)),
            tokens=int(row["tokens"]),
            held_tokens=int(row["held_tokens"]),
            last_s=row["last_s"],
        )

    def last_s(self, key: str) -> int | None:
        """The time at which the newest request of a key began."""
        row = self._store.row("SELECT MAX(began_s) AS last_s FROM key_use WHERE key = ?", (key,))
        return row["last_s"] if row else None

    def key_of(self, request_id: RequestId) -> str | None:
        """The name of the key that a request came with; None: the owner's key or the page."""
        row = self._store.row("SELECT key FROM key_use WHERE request_id = ?", (request_id,))
        return row["key"] if row else None

    def used(self, request_id: RequestId) -> tuple[Wei, int]:
        """The wei and tokens that a request has used, by what the ledger has of it.

        The wei are what its receipts charge, and the most that receipts may charge that have not come. The tokens are
        the job's or, if its row has none because the answer broke off, those of its receipts. A job that ended in a
        crash counts with all the tokens that it held, since nobody knows how many were delivered.
        """
        bodies = [
            json.loads(row["body"])
            for row in self._store.rows("SELECT body FROM receipt WHERE request_id = ?", (request_id,))
        ]
        open_wei = self._store.sum_wei("most_wei", "FROM purchase WHERE request_id = ?", (request_id,))
        wei = Wei(sum(int(body["amount_wei"]) for body in bodies) + open_wei)
        job = self._store.row("SELECT state, tokens_in, tokens_out FROM job WHERE request_id = ?", (request_id,))
        if job is None:
            return wei, 0  # it was refused before any work
        if job["tokens_out"] is not None:
            return wei, job["tokens_in"] + job["tokens_out"]
        if job["state"] == "failed":
            return wei, sum(body["work"]["tokens_in"] + body["work"]["tokens_out"] for body in bodies)
        held = self._store.row("SELECT held_tokens FROM key_use WHERE request_id = ?", (request_id,))
        return wei, held["held_tokens"] if held else 0

    def recover(self) -> int:
        """Settle the rows that the previous daemon left open, after `Jobs.recover`; return their number."""
        with self._store.transaction() as transaction:
            rows = transaction.execute("SELECT request_id FROM key_use WHERE spent_wei IS NULL").fetchall()
            for row in rows:
                wei, tokens = self.used(row["request_id"])
                self.settle(row["request_id"], spent_wei=wei, tokens=tokens)
        return len(rows)
