"""The work of this node by its rows: the time of answering, the answers that it sold, and their payers."""

from dataclasses import dataclass, replace

from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Wei

from .store import Store

DAY_NS = 86_400 * 10**9
"""No request lasts longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """The receipts that a node issued for one model on one device; amounts are gross, with the parts of others."""

    base: str | None  # None: the request's row is of an older ledger
    adapter_id: AdapterId  # zero: the base alone
    adapter_name: str | None
    device: str | None  # that answered; None: not known
    num_receipts: int
    tokens_out: int
    amount_wei: Wei


def added(sold: Sold, more: Sold) -> Sold:
    """The sums of both, under the names of the first."""
    return replace(
        sold,
        adapter_name=sold.adapter_name or more.adapter_name,
        num_receipts=sold.num_receipts + more.num_receipts,
        tokens_out=sold.tokens_out + more.tokens_out,
        amount_wei=Wei(sold.amount_wei + more.amount_wei),
    )


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
        (row,) = self._store.rows(
            "WITH span AS (SELECT received_ns, MAX(received_ns, :since) AS begun_ns,"
            " MIN(COALESCE(ended_ns, :until), :until) AS ended_ns"
            " FROM job WHERE received_ns BETWEEN :before AND :until AND (ended_ns IS NOT NULL OR state = 'running')),"
            " uncovered AS (SELECT ended_ns, MAX(begun_ns, COALESCE(MAX(ended_ns) OVER earlier, :since)) AS begun_ns"
            " FROM span WINDOW earlier AS (ORDER BY received_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))"
            " SELECT SUM(MAX(0, ended_ns - begun_ns)) AS busy_ns FROM uncovered",
            {"since": since_ns, "until": until_ns, "before": since_ns - DAY_NS},
        )
        busy_ns: int = row["busy_ns"] or 0
        return busy_ns

    def sold(self, node: Address, *, since_s: float = 0) -> list[Sold]:
        """The receipts of `node` since then by base, adapter and device, those that brought most first."""
        rows = self._store.rows(
            # MAX makes SQLite take `adapter_name` from the newest row that has one.
            "SELECT base, receipt.adapter_id AS adapter_id, device, adapter_name, COUNT(*) AS num_receipts,"
            " SUM(receipt.tokens_out) AS tokens_out, sum_wei(amount_wei) AS wei,"
            " MAX(CASE WHEN adapter_name IS NOT NULL THEN receipt_id END)"
            " FROM receipt LEFT JOIN job USING (request_id)"
            " WHERE channel_id IN (SELECT channel_id FROM channel WHERE node = ?) AND issued_at_s >= ?"
            " GROUP BY base, receipt.adapter_id, device",
            (node, since_s),
        )
        sums = [
            Sold(
                base=row["base"],
                adapter_id=AdapterId(row["adapter_id"] or BASE_ONLY),
                adapter_name=row["adapter_name"],
                device=row["device"],
                num_receipts=row["num_receipts"],
                tokens_out=row["tokens_out"],
                amount_wei=Wei(int(row["wei"])),
            )
            for row in rows
        ]
        return sorted(sums, key=lambda each: (-each.amount_wei, each.base or "", each.adapter_id, each.device or ""))
