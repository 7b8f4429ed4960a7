"""Uses of named API keys: one row for each of their requests, so that no restart forgets or counts one twice."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openledger_protocol.primitives import RequestId, Wei

from .key_days import KeyDays
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

    def __init__(self, store: Store, days: KeyDays) -> None:
        self._store = store
        self._days = days

    def hold(
        self, request_id: RequestId, key: str, *, day: int, now_s: int, choose: Choose, is_bought: bool = False
    ) -> tuple[Wei, int]:
        """Write what a request holds, in one transaction with the look at what is left."""
        with self._store.transaction() as transaction:
            wei, tokens = choose(self.day(key, day))
            transaction.execute(
                "INSERT INTO key_use (request_id, key, day, began_s, held_wei, held_tokens, is_bought)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (request_id, key, day, now_s, str(wei), tokens, is_bought),
            )
        return wei, tokens

    def settle(self, request_id: RequestId, *, spent_wei: Wei, tokens: int) -> None:
        """Write what a request has used, in one transaction with the day's sums; only the first call counts."""
        with self._store.transaction() as transaction:
            rows = transaction.execute(
                "UPDATE key_use SET spent_wei = ?, tokens = ? WHERE request_id = ? AND spent_wei IS NULL"
                " RETURNING key, day, began_s",
                (str(spent_wei), tokens, request_id),
            ).fetchall()
            for row in rows:
                self._days.add_use(row["key"], row["day"], began_s=row["began_s"], spent_wei=spent_wei, tokens=tokens)

    def day(self, key: str, day: int) -> DayUse:
        """The use of a key on a day, in days since 1970: the sums of its settled requests, and its running ones."""
        settled = self._days.use(key, day)
        (held,) = self._store.rows(
            "SELECT COUNT(*) AS num_requests, sum_wei(held_wei) AS wei, TOTAL(held_tokens) AS tokens,"
            " MAX(began_s) AS last_s FROM key_use WHERE key = ? AND day = ? AND spent_wei IS NULL",
            (key, day),
        )
        return DayUse(
            num_requests=settled.num_requests + held["num_requests"],
            spent_wei=settled.spent_wei,
            held_wei=Wei(int(held["wei"] or 0)),
            tokens=settled.tokens,
            held_tokens=int(held["tokens"]),
            last_s=max(filter(None, (settled.last_s, held["last_s"])), default=None),
        )

    def last_s(self, key: str) -> int | None:
        """The time at which the newest request of a key began."""
        row = self._store.row(
            "SELECT MAX(last_s) AS last_s FROM (SELECT last_s FROM key_day WHERE key = :key UNION ALL"
            " SELECT began_s FROM key_use WHERE key = :key AND spent_wei IS NULL)",
            {"key": key},
        )
        return row["last_s"] if row else None

    def keys_of(self, request_ids: Sequence[str]) -> dict[str, str]:
        """The names of the keys that requests came with; those of the owner's key and the page are left out."""
        places = ", ".join("?" * len(request_ids))
        query = f"SELECT request_id, key FROM key_use WHERE request_id IN ({places})"
        return {row["request_id"]: row["key"] for row in self._store.rows(query, request_ids)}

    def used(self, request_id: RequestId) -> tuple[Wei, int]:
        """The wei and tokens that a request has used, by what the ledger has of it.

        The wei are what its receipts charge, and the most that receipts may charge that have not come. The tokens are
        the job's, which has those of the last note if a crash cut the answer off. If its row has none because the
        answer broke off, they are those of its receipts.
        """
        bodies = [
            json.loads(row["body"])
            for row in self._store.rows("SELECT body FROM receipt WHERE request_id = ?", (request_id,))
        ]
        purchases = self._store.rows("SELECT most_wei, agreed FROM purchase WHERE request_id = ?", (request_id,))
        wei = Wei(sum(int(body["amount_wei"]) for body in bodies) + sum(int(row["most_wei"]) for row in purchases))
        job = self._store.row("SELECT state, tokens_in, tokens_out FROM job WHERE request_id = ?", (request_id,))
        if job is None:
            return wei, 0  # it was refused before any work
        if job["tokens_out"] is not None:
            return wei, job["tokens_in"] + job["tokens_out"]
        received = sum(body["work"]["tokens_in"] + body["work"]["tokens_out"] for body in bodies)
        if job["state"] == "failed":
            return wei, received
        agreed = [json.loads(row["agreed"]) for row in purchases]
        bought = received + sum(map(_tokens_max, agreed))
        return wei, self._interrupted(request_id, bought, tokens_in=job["tokens_in"])

    def _interrupted(self, request_id: RequestId, bought: int, *, tokens_in: int) -> int:
        """The tokens of a request that a crash cut off before its length was noted.

        Of a bought answer they are those of its receipts, and the most that was agreed on where a receipt is missing,
        which is `bought`. Of an answer of this machine the prompt counts, which is `tokens_in`: it is all that is
        known. What the request held may be a whole context, and a crash is not the caller's doing.
        """
        held = self._store.row("SELECT held_tokens, is_bought FROM key_use WHERE request_id = ?", (request_id,))
        if held is None:
            return 0
        most = int(held["held_tokens"])
        return min(bought if held["is_bought"] else tokens_in, most)

    def recover(self) -> int:
        """Settle the rows that the previous daemon left open, after `Jobs.recover`; return their number."""
        with self._store.transaction() as transaction:
            rows = transaction.execute("SELECT request_id FROM key_use WHERE spent_wei IS NULL").fetchall()
            for row in rows:
                wei, tokens = self.used(row["request_id"])
                self.settle(row["request_id"], spent_wei=wei, tokens=tokens)
        return len(rows)


def _tokens_max(agreed: Mapping[str, Any]) -> int:
    """The most tokens of a purchase, or 0 if its agreement has no numbers of them."""
    return int(agreed.get("tokens_in", 0)) + int(agreed.get("tokens_max", 0))
