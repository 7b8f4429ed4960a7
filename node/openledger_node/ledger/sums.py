"""Sums over the ledger's rows, for /metrics: how many of each state there are, and what they come to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from openledger_protocol.primitives import Address, Wei

from .store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneySums:
    """What receipts, claims and transactions come to."""

    num_receipts: Mapping[str, int]  # "unsigned", "unclaimed", "claimed": each is in one
    unclaimed_wei: Wei
    num_claims: Mapping[str, int]  # by state
    num_transactions: Mapping[str, int]  # by state
    num_replacements: int  # times that a transaction's fees were raised
    fees_wei: Wei  # of the chain's own coin, paid so far


class Sums:
    """Reads them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def money(self, node: Address) -> MoneySums:
        """All of it, by indices and over what no claim holds yet; receipts are those that `node` has written."""
        whose = "FROM receipt JOIN channel USING (channel_id) WHERE node = ?"
        open_rows = self._store.rows(f"SELECT signature, body {whose} AND claim_id IS NULL", (node,))
        num_unsigned = sum(row["signature"] is None for row in open_rows)
        fees = self._store.rows("SELECT fee_wei FROM outbox WHERE mined_s IS NOT NULL AND fee_wei IS NOT NULL")
        return MoneySums(
            num_receipts={
                "unsigned": num_unsigned,
                "unclaimed": len(open_rows) - num_unsigned,
                "claimed": self._count(f"SELECT COUNT(*) AS count {whose} AND claim_id IS NOT NULL", node),
            },
            unclaimed_wei=Wei(sum(int(json.loads(row["body"])["amount_wei"]) for row in open_rows)),
            num_claims=self._by_state("claim"),
            num_transactions=self._by_state("outbox"),
            num_replacements=self._count(
                "SELECT COUNT(*) - COUNT(DISTINCT transaction_id) AS count FROM outbox_variant"
            ),
            fees_wei=Wei(sum(int(row["fee_wei"]) for row in fees)),
        )

    def _by_state(self, table: str) -> dict[str, int]:
        rows = self._store.rows(f"SELECT state, COUNT(*) AS count FROM {table} GROUP BY state ORDER BY state")
        return {row["state"]: row["count"] for row in rows}

    def _count(self, query: str, *values: object) -> int:
        (row,) = self._store.rows(query, values)
        count: int = row["count"]
        return count
