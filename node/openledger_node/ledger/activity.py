"""The work of this node by its rows: the time of answering, the answers that it sold, and their payers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Wei

from .store import Store

DAY_NS = 86_400 * 10**9
"""No request lasts longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """The receipts that a node issued for one model; amounts are gross, with the parts of others."""

    base: str | None  # None: the request's row is of an older ledger
    adapter_id: AdapterId  # zero: the base alone
    adapter_name: str | None
    num_receipts: int
    tokens_out: int
    amount_wei: Wei


class Activity:
    """Sums over jobs and receipts; amounts are exact to the wei."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def answers_by_payer(self, node: Address) -> dict[Address, int]:
        """The number of receipts that `node` has issued to each payer."""
        rows = self._store.rows(
            "SELECT payer, COUNT(*) AS count FROM receipt JOIN channel USING (channel_id)"
            " WHERE node = ? GROUP BY payer",
            (node,),
        )
        return {Address(row["payer"]): row["count"] for row in rows}

    def first_job_ns(self) -> int | None:
        """The moment of the first request; None before it."""
        (row,) = self._store.rows("SELECT MIN(received_ns) AS first_ns FROM job")
        first_ns: int | None = row["first_ns"]
        return first_ns

    def busy_ns(self, *, since_ns: int, until_ns: int) -> int:
        """The time between two moments in which at least one request ran; parallel ones count once.

        A request that still runs counts up to `until_ns`.
        """
        if since_ns >= until_ns:
            return 0
        rows = self._store.rows(
            "SELECT MAX(received_ns, ?) AS begun_ns, MIN(COALESCE(ended_ns, ?), ?) AS ended_ns FROM job"
            " WHERE received_ns BETWEEN ? AND ? AND (ended_ns IS NOT NULL OR state = 'running') ORDER BY received_ns",
            (since_ns, until_ns, until_ns, since_ns - DAY_NS, until_ns),
        )
        busy_ns, covered_ns = 0, since_ns
        for row in rows:
            busy_ns += max(0, row["ended_ns"] - max(row["begun_ns"], covered_ns))
            covered_ns = max(covered_ns, row["ended_ns"])
        return busy_ns

    def sold(self, node: Address, *, since_s: float = 0) -> list[Sold]:
        """The receipts that `node` has issued since then by base and adapter, those that brought most first."""
        found: dict[tuple[str | None, AdapterId], list[tuple[str | None, int, int]]] = {}
        for base, adapter, name, tokens, wei in self._receipts(node, since_s):
            found.setdefault((base, adapter), []).append((name, tokens, wei))
        sums = [
            Sold(
                base=base,
                adapter_id=adapter,
                adapter_name=next((name for name, _, _ in rows if name), None),
                num_receipts=len(rows),
                tokens_out=sum(tokens for _, tokens, _ in rows),
                amount_wei=Wei(sum(wei for _, _, wei in rows)),
            )
            for (base, adapter), rows in found.items()
        ]
        return sorted(sums, key=lambda each: (-each.amount_wei, each.base or "", each.adapter_id))

    def _receipts(
        self, node: Address, since_s: float
    ) -> Iterator[tuple[str | None, AdapterId, str | None, int, int]]:
        rows = self._store.rows(
            "SELECT base, adapter_name, receipt.adapter_id AS adapter_id, body FROM receipt"
            " JOIN channel USING (channel_id) LEFT JOIN job USING (request_id)"
            " WHERE node = ? AND issued_at_s >= ? ORDER BY receipt_id DESC",
            (node, since_s),
        )
        for row in rows:
            # SQLite's JSON functions would turn an integer of more than 64 bits into a float.
            body = json.loads(row["body"])
            yield (
                row["base"],
                AdapterId(row["adapter_id"] or BASE_ONLY),
                row["adapter_name"],
                int(body["work"]["tokens_out"]),
                int(body["amount_wei"]),
            )
