"""This node's purchases whose receipt has not come."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.primitives import AdapterId, ChannelId, RequestId, Wei

from .store import Store

STILL_DUE: Final = "NOT COALESCE(json_extract(purchase.agreed, '$.is_forgone'), 0)"
"""Condition in SQL for purchases whose sellers have not said that they make no receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPurchase:
    """A purchase whose receipt has not come: what the receipt is checked against after a crash, and no text."""

    request_id: RequestId
    channel_id: ChannelId
    adapter_id: AdapterId
    most_wei: Wei  # that its receipt may charge: what its vouchers have paid for so far
    agreed: Any  # as JSON


class OpenPurchases:
    """Rows of purchases whose receipt has not come, by request and channel: several nodes may answer one request."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, purchase: OpenPurchase) -> None:
        """Store a purchase on a lane that exists, in place of what was stored of it before.

        It has no time limit: a node can show the receipt of a stream that broke off only on the payer's next one.
        """
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT OR REPLACE INTO purchase VALUES (?, ?, ?, ?, ?)",
                (
                    purchase.request_id,
                    purchase.channel_id,
                    purchase.adapter_id,
                    str(purchase.most_wei),
                    json.dumps(purchase.agreed),
                ),
            )

    def update(self, purchase: OpenPurchase) -> None:
        """Store a changed agreement, unless the receipt has come meanwhile."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE purchase SET agreed = ? WHERE request_id = ? AND channel_id = ?",
                (json.dumps(purchase.agreed), purchase.request_id, purchase.channel_id),
            )

    def find(self, request_id: RequestId, channel_id: ChannelId) -> dict[str, Any] | None:
        """The agreement on a request; None if no receipt of it is expected on the channel."""
        row = self._store.row(
            "SELECT agreed FROM purchase WHERE request_id = ? AND channel_id = ?", (request_id, channel_id)
        )
        return json.loads(row["agreed"]) if row else None

    def since(self, opened_s: int) -> list[OpenPurchase]:
        """Purchases that were opened at this time or later and whose receipts have not come, oldest first."""
        query = (
            "SELECT * FROM purchase WHERE json_extract(agreed, '$.opened_s') >= ?"
            " ORDER BY json_extract(agreed, '$.opened_s'), request_id, channel_id"
        )
        return [_purchase(row) for row in self._store.rows(query, (opened_s,))]

    def explaining(self, channel_id: ChannelId, adapter_id: AdapterId) -> Wei:
        """The most that receipts which may still come can charge a lane.

        A seller that has said that it makes no receipt for a purchase may not claim it.
        """
        query = f"SELECT most_wei FROM purchase WHERE channel_id = ? AND adapter_id = ? AND {STILL_DUE}"
        rows = self._store.rows(query, (channel_id, adapter_id))
        return Wei(sum(int(row["most_wei"]) for row in rows))

    def paid(self, channel_id: ChannelId, adapter_id: AdapterId) -> dict[RequestId, Wei]:
        """The requests whose receipts may still charge a lane, with the most that each receipt may charge."""
        rows = self._store.rows(
            "SELECT request_id, most_wei FROM purchase WHERE channel_id = ? AND adapter_id = ?",
            (channel_id, adapter_id),
        )
        return {RequestId(row["request_id"]): Wei(int(row["most_wei"])) for row in rows}

    def cost_of(self, request_id: RequestId) -> Wei:
        """The sum that the receipts of a request charge, and that those may charge which have not come."""
        (row,) = self._store.rows(
            "SELECT sum_wei(wei) AS wei FROM ("
            "SELECT amount_wei AS wei FROM receipt WHERE request_id = :id"
            " UNION ALL SELECT most_wei FROM purchase WHERE request_id = :id)",
            {"id": request_id},
        )
        return Wei(int(row["wei"] or 0))

    def remove(self, request_id: RequestId, channel_id: ChannelId) -> None:
        """Expect no receipt of a request on a channel any more."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "DELETE FROM purchase WHERE request_id = ? AND channel_id = ?", (request_id, channel_id)
            )


def _purchase(row: sqlite3.Row) -> OpenPurchase:
    return OpenPurchase(
        request_id=RequestId(row["request_id"]),
        channel_id=ChannelId(row["channel_id"]),
        adapter_id=AdapterId(row["adapter_id"]),
        most_wei=Wei(int(row["most_wei"])),
        agreed=json.loads(row["agreed"]),
    )
