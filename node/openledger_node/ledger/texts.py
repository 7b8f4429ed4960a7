"""Sealed texts of answers that this node has bought, each until its time is over."""

from openledger_protocol.primitives import Digest

from .store import Store


class Texts:
    """Rows of sealed texts, by receipt."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, digest: Digest, sealed: bytes, *, until_ns: int) -> None:
        """Store a text; a second one of the same receipt changes nothing."""
        with self._store.transaction() as transaction:
            transaction.execute("INSERT OR IGNORE INTO text VALUES (?, ?, ?)", (digest, sealed, until_ns))

    def find(self, digest: Digest, *, now_ns: int) -> bytes | None:
        """The sealed text of a receipt, if its time is not over."""
        row = self._store.row("SELECT sealed FROM text WHERE digest = ? AND until_ns > ?", (digest, now_ns))
        return row["sealed"] if row else None

    def delete_until(self, now_ns: int) -> None:
        """Delete the texts whose time is over."""
        with self._store.transaction() as transaction:
            transaction.execute("DELETE FROM text WHERE until_ns <= ?", (now_ns,))
