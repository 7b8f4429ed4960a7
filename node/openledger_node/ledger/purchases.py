"""Purchases that are under way: what a receipt that comes after a crash is checked against, and no text."""

import json
from typing import Any

from openledger_protocol.primitives import RequestId

from .store import Store

KEPT_NS = 30 * 86_400 * 10**9
"""Far longer than any node takes to show the receipt of a stream that broke off."""


class Purchases:
    """Rows of purchases whose receipt has not come, by request."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, request_id: RequestId, agreed: object, *, now_ns: int) -> None:
        """Store what was agreed; a second time changes nothing."""
        with self._store.transaction() as transaction:
            transaction.execute("DELETE FROM purchase WHERE opened_ns < ?", (now_ns - KEPT_NS,))
            transaction.execute(
                "INSERT OR IGNORE INTO purchase VALUES (?, ?, ?)", (request_id, json.dumps(agreed), now_ns)
            )

    def find(self, request_id: RequestId) -> dict[str, Any] | None:
        """What was agreed on a request; None if no receipt of it is expected."""
        row = self._store.row("SELECT agreed FROM purchase WHERE request_id = ?", (request_id,))
        return json.loads(row["agreed"]) if row else None

    def remove(self, request_id: RequestId) -> None:
        """Expect no receipt of a request any more."""
        with self._store.transaction() as transaction:
            transaction.execute("DELETE FROM purchase WHERE request_id = ?", (request_id,))
