"""Day sums of named keys: what the settled requests of each key and UTC day add up to.

A settled row never changes, so the row and its sum are written in one transaction and can't differ afterwards.
Without the sums, each request would read all earlier rows of its key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.primitives import Wei

from .store import Store

DAY_S: Final = 86_400

COLUMNS: Final = "key, day, num_requests, last_s, spent_wei, tokens, charged_wei, cost_wei"

FROM_ROWS: Final = f"""
    SELECT key, day, SUM(num_requests) AS num_requests, MAX(last_s) AS last_s, sum_wei(spent_wei) AS spent_wei,
           SUM(tokens) AS tokens, sum_wei(charged_wei) AS charged_wei, sum_wei(cost_wei) AS cost_wei
    FROM (
        SELECT key, day, COUNT(*) AS num_requests, MAX(began_s) AS last_s, sum_wei(spent_wei) AS spent_wei,
               SUM(COALESCE(tokens, 0)) AS tokens, NULL AS charged_wei, NULL AS cost_wei
        FROM key_use WHERE day >= :since_day AND spent_wei IS NOT NULL GROUP BY key, day
        UNION ALL
        SELECT key, began_s / {DAY_S}, 0, NULL, NULL, 0, sum_wei(charged_wei), sum_wei(cost_wei)
        FROM key_charge WHERE began_s >= :since_day * {DAY_S} AND charged_wei IS NOT NULL
        GROUP BY key, began_s / {DAY_S}
    )
    GROUP BY key, day
"""
"""The sums over the settled rows of each key and day since a day. Rows of running requests are not in it."""

NO_SUMS = {"num_requests": 0, "last_s": None, "spent_wei": "0", "tokens": 0, "charged_wei": "0", "cost_wei": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySums:
    """The settled requests of one key, added up."""

    num_requests: int
    tokens: int
    spent_wei: Wei  # that other nodes charged
    charged_wei: Wei  # to the credit of a prepaid key


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledUse:
    """The settled requests of one key and day."""

    num_requests: int
    spent_wei: Wei
    tokens: int
    last_s: int | None  # when the newest of them began


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """Charges to prepaid keys, and what other nodes charged for the same requests."""

    charged_wei: Wei
    cost_wei: Wei


class KeyDays:
    """Rows of day sums; the days are counted from 1970."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add_use(self, key: str, day: int, *, began_s: int, spent_wei: Wei, tokens: int) -> None:
        """Add a settled request, in the transaction that settles it."""
        seen = self._sums(key, day)
        last_s = max(began_s, seen["last_s"] or 0)
        self._put(
            key,
            day,
            num_requests=seen["num_requests"] + 1,
            last_s=last_s,
            spent_wei=str(int(seen["spent_wei"]) + spent_wei),
            tokens=seen["tokens"] + tokens,
        )

    def add_charge(self, key: str, day: int, *, charged_wei: Wei, cost_wei: Wei) -> None:
        """Add a charge, in the transaction that settles it."""
        seen = self._sums(key, day)
        self._put(
            key,
            day,
            charged_wei=str(int(seen["charged_wei"]) + charged_wei),
            cost_wei=str(int(seen["cost_wei"]) + cost_wei),
        )

    def use(self, key: str, day: int) -> SettledUse:
        """The settled requests of a key on a day."""
        seen = self._sums(key, day)
        return SettledUse(
            num_requests=seen["num_requests"],
            spent_wei=Wei(int(seen["spent_wei"])),
            tokens=seen["tokens"],
            last_s=seen["last_s"],
        )

    def charged_wei(self, key: str) -> Wei:
        """The sum of all charges to a key."""
        return self._store.sum_wei("charged_wei", "FROM key_day WHERE key = ?", (key,))

    def of_keys(self) -> dict[str, KeySums]:
        """The sums of each key over all days."""
        rows = self._store.rows(
            "SELECT key, SUM(num_requests) AS num_requests, SUM(tokens) AS tokens, sum_wei(spent_wei) AS spent_wei,"
            " sum_wei(charged_wei) AS charged_wei FROM key_day GROUP BY key"
        )
        return {
            row["key"]: KeySums(
                num_requests=row["num_requests"],
                tokens=row["tokens"],
                spent_wei=Wei(int(row["spent_wei"])),
                charged_wei=Wei(int(row["charged_wei"])),
            )
            for row in rows
        }

    def income(self, *, since_day: int = 0) -> dict[int, Income]:
        """The income of each day since then that has any charge, by day."""
        rows = self._store.rows(
            "SELECT day, sum_wei(charged_wei) AS charged_wei, sum_wei(cost_wei) AS cost_wei FROM key_day"
            " WHERE day >= ? AND (charged_wei <> '0' OR cost_wei <> '0') GROUP BY day",
            (since_day,),
        )
        return {
            row["day"]: Income(charged_wei=Wei(int(row["charged_wei"])), cost_wei=Wei(int(row["cost_wei"])))
            for row in rows
        }

    def recent_day(self, *, rows_max: int) -> int:
        """The first of the newest days that together have at most so many settled requests, by their sums.

        Other days are not read for it. The newest day counts in any case.
        """
        rows = self._store.rows(
            "SELECT day, SUM(num_requests) AS num_requests FROM key_day GROUP BY day ORDER BY day DESC"
        )
        first, num_rows = 0, 0
        for number, row in enumerate(rows):
            num_rows += row["num_requests"]
            if number and num_rows > rows_max:
                return first
            first = int(row["day"])
        return 0  # all days, and rows of days without a sum

    def wrong(self, *, since_day: int = 0) -> list[tuple[str, int]]:
        """The keys and days since then whose sums differ from their rows, of which it reads every one.

        One statement reads both as of one moment, since a daemon may settle requests meanwhile.
        """
        both = (
            f"SELECT 0 AS is_added, {COLUMNS} FROM key_day WHERE day >= :since_day"
            f" UNION ALL SELECT 1, {COLUMNS} FROM ({FROM_ROWS})"
        )
        stored: dict[tuple[str, int], tuple[Any, ...]] = {}
        added: dict[tuple[str, int], tuple[Any, ...]] = {}
        for row in self._store.rows(both, {"since_day": since_day}):
            (added if row["is_added"] else stored)[row["key"], row["day"]] = tuple(row)[1:]
        return sorted(place for place in stored.keys() | added.keys() if stored.get(place) != added.get(place))

    def recount(self) -> None:
        """Add all rows up again."""
        with self._store.transaction() as transaction:
            transaction.execute("DELETE FROM key_day")
            transaction.execute(f"INSERT INTO key_day ({COLUMNS}) {FROM_ROWS}", {"since_day": 0})

    def _sums(self, key: str, day: int) -> Mapping[str, Any]:
        row = self._store.row("SELECT * FROM key_day WHERE key = ? AND day = ?", (key, day))
        return dict(row) if row else NO_SUMS

    def _put(self, key: str, day: int, **changed: int | str) -> None:
        """Write a day's sums; those that are not named stay."""
        sums = {**self._sums(key, day), **changed, "key": key, "day": day}
        with self._store.transaction() as transaction:
            transaction.execute(
                f"INSERT OR REPLACE INTO key_day ({COLUMNS}) VALUES"
                " (:key, :day, :num_requests, :last_s, :spent_wei, :tokens, :charged_wei, :cost_wei)",
                sums,
            )
