"""Sealed texts of bought answers: until when each is kept, and since when and why it is gone."""

import sqlite3
from dataclasses import dataclass
from typing import Literal

from openledger_protocol.primitives import Digest

from .store import Store

GONE_MAX = 100_000
"""Texts whose end is remembered, the latest ones; with their index they take about 20 MB. Receipts stay."""

WhyGone = Literal["time", "setting", "room"]
"""Its time was over; the owner has shortened the time; or newer texts needed the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEnd:
    """The end of a text: the time until which it is kept, or since which it is gone."""

    end_ns: int
    is_held: bool = False  # for an audit, longer than the owner keeps it
    why_gone: WhyGone | None = None  # None: it is still here


class SealedTexts:
    """Rows of sealed texts, by receipt, each until its time is over."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_folded = False  # the last run may have ended between a deletion and its fold

    def add(self, digest: Digest, sealed: bytes, *, now_ns: int, until_ns: int) -> None:
        """Store a text. One that is already here, because an audit holds it, is kept at least until then."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT INTO text (digest, sealed, size_bytes, kept_ns, until_ns) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (digest) DO UPDATE SET until_ns = max(until_ns, excluded.until_ns)",
                (digest, sealed, len(sealed), now_ns, until_ns),
            )

    def hold(self, digest: Digest, sealed: bytes, *, now_ns: int, until_ns: int) -> None:
        """Store a text for an audit, or hold the stored one longer."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT INTO text (digest, sealed, size_bytes, kept_ns, until_ns, held_until_ns)"
                " VALUES (?, ?, ?, ?, 0, ?)"
                " ON CONFLICT (digest) DO UPDATE SET held_until_ns = max(held_until_ns, excluded.held_until_ns)",
                (digest, sealed, len(sealed), now_ns, until_ns),
            )

    def release(self, digest: Digest, *, keep_ns: int) -> None:
        """Hold a text no longer, and keep it for so long after it came."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE text SET held_until_ns = 0, until_ns = kept_ns + ? WHERE digest = ?", (keep_ns, digest)
            )

    def find(self, digest: Digest, *, now_ns: int) -> bytes | None:
        """The sealed text of a receipt, if its time is not over."""
        row = self._store.row(
            "SELECT sealed FROM text WHERE digest = ? AND max(until_ns, held_until_ns) > ?", (digest, now_ns)
        )
        return row["sealed"] if row else None

    def find_end(self, digest: Digest, *, now_ns: int) -> TextEnd | None:
        """The end of a text; None if there never was one."""
        row = self._store.row("SELECT until_ns, held_until_ns FROM text WHERE digest = ?", (digest,))
        if row is not None:
            end_ns = max(row["until_ns"], row["held_until_ns"])
            is_held = row["held_until_ns"] > row["until_ns"]
            return TextEnd(end_ns=end_ns, is_held=is_held, why_gone="time" if end_ns <= now_ns else None)
        row = self._store.row("SELECT gone_ns, why FROM text_gone WHERE digest = ?", (digest,))
        return TextEnd(end_ns=row["gone_ns"], why_gone=row["why"]) if row else None

    def delete_until(self, now_ns: int) -> None:
        """Delete the texts whose time is over, and fold the log in if anything was deleted since it was folded."""
        over = "FROM text WHERE max(until_ns, held_until_ns) <= ?"
        if self._store.row(f"SELECT 1 {over} LIMIT 1", (now_ns,)) is not None:
            self._is_folded = False
            with self._store.transaction() as transaction:
                transaction.execute(
                    f"INSERT OR REPLACE INTO text_gone SELECT digest, max(until_ns, held_until_ns), 'time' {over}",
                    (now_ns,),
                )
                transaction.execute(f"DELETE {over}", (now_ns,))
                _forget_oldest(transaction)
        if not self._is_folded:
            self._is_folded = self._store.fold_log()

    def shorten(self, *, now_ns: int, keep_ns: int) -> None:
        """Keep no text for longer than so long after it came, whatever the setting was then."""
        kept = "kept_ns > 0 AND until_ns > kept_ns + ?"
        over = f"FROM text WHERE {kept} AND max(kept_ns + ?, held_until_ns) <= ?"
        self._is_folded = False
        with self._store.transaction() as transaction:
            transaction.execute(
                f"INSERT OR REPLACE INTO text_gone SELECT digest, ?, 'setting' {over}",
                (now_ns, keep_ns, keep_ns, now_ns),
            )
            transaction.execute(f"DELETE {over}", (keep_ns, keep_ns, now_ns))
            transaction.execute(f"UPDATE text SET until_ns = kept_ns + ? WHERE {kept}", (keep_ns, keep_ns))
            _forget_oldest(transaction)

    def mend_times(self, now_ns: int) -> None:
        """Move texts that came in the future to now, after the clock was set back, so that none stays for years.

        The time of an audit stays: the clock was right when the answer was bought, because other nodes
        refuse one that is wrong. A clock that is wrong for a minute must not delete evidence.
        """
        if self._store.row("SELECT 1 FROM text WHERE kept_ns > ? LIMIT 1", (now_ns,)) is None:
            return
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE text SET kept_ns = :now_ns, until_ns = max(0, until_ns - (kept_ns - :now_ns))"
                " WHERE kept_ns > :now_ns",
                {"now_ns": now_ns},
            )

    def make_room(self, bytes_max: int, *, now_ns: int) -> None:
        """Delete the oldest texts until the rest fits; an audit's are never deleted for room."""
        row = self._store.row("SELECT sum(size_bytes) AS size FROM text")
        excess = (row["size"] or 0) - bytes_max if row else 0
        if excess <= 0:
            return
        self._is_folded = False
        with self._store.transaction() as transaction:
            free = "SELECT digest, size_bytes FROM text WHERE held_until_ns <= ? ORDER BY kept_ns, digest"
            for digest, size in transaction.execute(free, (now_ns,)).fetchall():
                transaction.execute("INSERT OR REPLACE INTO text_gone VALUES (?, ?, 'room')", (digest, now_ns))
                transaction.execute("DELETE FROM text WHERE digest = ?", (digest,))
                excess -= size
                if excess <= 0:
                    break
            _forget_oldest(transaction)

    def next_end_ns(self) -> int | None:
        """The time at which the next text is to be deleted; None if there is no text."""
        row = self._store.row("SELECT min(max(until_ns, held_until_ns)) AS end_ns FROM text")
        return row["end_ns"] if row else None

    @property
    def is_folded(self) -> bool:
        """True if what was deleted is in no file any more."""
        return self._is_folded


def _forget_oldest(transaction: sqlite3.Connection) -> None:
    transaction.execute(
        "DELETE FROM text_gone WHERE gone_ns <"
        " (SELECT gone_ns FROM text_gone ORDER BY gone_ns DESC LIMIT 1 OFFSET ?)",
        (GONE_MAX - 1,),
    )
