"""What this node's rows say about its work: how long it answered, for which adapters, and for whom."""

from dataclasses import dataclass

from openledger_protocol.primitives import AdapterId, Address, Wei

from .store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """The receipts that a node issued for one adapter; amounts are gross."""

    adapter_id: AdapterId  # zero: the base alone
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
