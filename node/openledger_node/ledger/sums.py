"""Sums over the ledger's rows, folded in SQL: for /metrics and for the reports of earnings."""

from collections.abc import Mapping
from dataclasses import dataclass

from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import Address, Digest, Wei

from .store import Store

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneySums:
    """Totals of receipts, claims and transactions."""

    num_receipts: Mapping[str, int]  # "unsigned", "unclaimed", "claimed": each receipt counts once
    unclaimed_wei: Wei
    num_claims: Mapping[str, int]  # by state
    num_transactions: Mapping[str, int]  # by state
    num_replacements: int  # times that a transaction's fees were raised
    fees_wei: Wei  # of the chain's own coin, paid so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclaimed:
    """Totals of a node's receipts that are in no claim yet."""

    num_receipts: int
    num_unsigned: int  # of these
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """A credit to an account or a withdrawal from it, read from a chain event."""

    amount_wei: Wei
    seq: int | None  # of the credited claim; None: a withdrawal
    block_number: int
    transaction_hash: Digest
    mined_s: int | None  # chain time, if our own transaction did it; None: another account's did


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargedAnswer:
    """One answer that this node has paid for."""

    receipt: Digest
    request_id: str
    node: Address  # that was paid
    issued_at_s: int
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentDay:
    """The answers that this node has paid for on one day of UTC."""

    day: int  # since 1970
    num_answers: int
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidFee:
    """The fee of one transaction that was mined."""

    at_s: float  # of the chain; 0 if it is not known
    fee_wei: Wei  # of the chain's own coin
    transaction: Digest | None
    kind: str


class Sums:
    """Totals over many rows; amounts are exact to the wei."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def money(self, node: Address) -> MoneySums:
        """All totals of /metrics; they count the receipts that `node` has issued."""
        unclaimed = self.unclaimed(node)
        return MoneySums(
            num_receipts={
                "unsigned": unclaimed.num_unsigned,
                "unclaimed": unclaimed.num_receipts - unclaimed.num_unsigned,
                "claimed": self._count(
                    "SELECT COUNT(*) AS count FROM receipt JOIN channel USING (channel_id)"
                    " WHERE node = ? AND claim_id IS NOT NULL",
                    node,
                ),
            },
            unclaimed_wei=unclaimed.amount_wei,
            num_claims=self._by_state("claim"),
            num_transactions=self._by_state("outbox"),
            num_replacements=self._count(
                "SELECT COUNT(*) - COUNT(DISTINCT transaction_id) AS count FROM outbox_variant"
            ),
            fees_wei=self._store.sum_wei("fee_wei", "FROM outbox WHERE mined_s IS NOT NULL"),
        )

    def unclaimed(self, node: Address) -> Unclaimed:
        """Totals of the receipts that `node` has issued and not claimed."""
        (row,) = self._store.rows(
            "SELECT COUNT(*) AS num_receipts, COUNT(*) - COUNT(signature) AS num_unsigned, sum_wei(amount_wei) AS wei"
            " FROM receipt JOIN channel USING (channel_id) WHERE node = ? AND claim_id IS NULL",
            (node,),
        )
        return Unclaimed(
            num_receipts=row["num_receipts"],
            num_unsigned=row["num_unsigned"],
            amount_wei=Wei(int(row["wei"] or 0)),
        )

    def credits(self, node: Address) -> list[Movement]:
        """Credits for the node's own share of its claims, in the chain's order."""
        role = str(int(CreditRole.NODE))
        return self._movements("Credited", {"account": node, "node": node, "role": role})

    def withdrawals(self, account: Address, rewards: Address) -> list[Movement]:
        """Withdrawals of `account` from the contract `rewards`, in the chain's order."""
        return self._movements("Withdrawn", {"account": account}, contract=rewards)

    def gas_wei(self, sender: Address, *, since_s: float = 0) -> Wei:
        """Fees of a sender's transactions mined since then, in wei of the chain's own coin."""
        rows = "FROM outbox WHERE sender = ? AND COALESCE(mined_s, 0) >= ?"
        return self._store.sum_wei("fee_wei", rows, (sender, since_s))

    def fees(self, sender: Address, *, since_s: float = 0) -> list[PaidFee]:
        """The fees of `gas_wei` one by one, oldest first."""
        rows = self._store.rows(
            "SELECT COALESCE(mined_s, 0) AS at_s, fee_wei, mined_hash, kind FROM outbox"
            " WHERE sender = ? AND COALESCE(mined_s, 0) >= ? AND fee_wei IS NOT NULL ORDER BY mined_s",
            (sender, since_s),
        )
        return [
            PaidFee(
                at_s=float(row["at_s"]),
                fee_wei=Wei(int(row["fee_wei"])),
                transaction=row["mined_hash"],
                kind=row["kind"],
            )
            for row in rows
        ]

    def mined_s(self) -> dict[Digest, int]:
        """The chain time of each own transaction that was mined, by its hash."""
        rows = self._store.rows("SELECT mined_hash, mined_s FROM outbox WHERE mined_s IS NOT NULL")
        return {Digest(row["mined_hash"]): row["mined_s"] for row in rows}

    def bought(self, payer: Address, *, since_s: float = 0) -> list[ChargedAnswer]:
        """The answers that `payer` was charged for since then, oldest first, by the receipts of their sellers."""
        rows = self._store.rows(
            "SELECT digest, request_id, receipt.issued_at_s AS issued_at_s, amount_wei, node FROM receipt"
            " JOIN channel USING (channel_id) WHERE payer = ? AND receipt.issued_at_s >= ? ORDER BY receipt_id",
            (payer, since_s),
        )
        return [
            ChargedAnswer(
                receipt=Digest(row["digest"]),
                request_id=row["request_id"],
                node=Address(row["node"]),
                issued_at_s=row["issued_at_s"],
                amount_wei=Wei(int(row["amount_wei"])),
            )
            for row in rows
        ]

    def spent_by_day(self, payer: Address, *, since_s: float = 0) -> list[SpentDay]:
        """The answers of `bought` summed by day, oldest first."""
        rows = self._store.rows(
            f"SELECT issued_at_s / {DAY_S} AS day, COUNT(*) AS number, sum_wei(amount_wei) AS wei FROM receipt"
            " WHERE channel_id IN (SELECT channel_id FROM channel WHERE payer = ?) AND issued_at_s >= ?"
            " GROUP BY day ORDER BY day",
            (payer, since_s),
        )
        return [SpentDay(day=row["day"], num_answers=row["number"], amount_wei=Wei(int(row["wei"]))) for row in rows]

    def _movements(
        self, name: str, arguments: Mapping[str, str], *, contract: Address | None = None
    ) -> list[Movement]:
        matches = " AND event.event_id IN (SELECT event_id FROM event_argument WHERE name = ? AND value = ?)"
        rows = self._store.rows(
            "SELECT block_number, transaction_hash, amount.value AS amount_wei, seq.value AS seq, mined_s"
            " FROM event JOIN event_argument AS amount USING (event_id)"
            " LEFT JOIN event_argument AS seq ON seq.event_id = event.event_id AND seq.name = 'seq'"
            # Grouped by hash so that no event can count twice.
            " LEFT JOIN (SELECT mined_hash, MIN(mined_s) AS mined_s FROM outbox GROUP BY mined_hash)"
            " ON mined_hash = transaction_hash"
            f" WHERE event.name = ? AND amount.name = 'amount'{matches * len(arguments)}"
            " AND COALESCE(?, event.contract) = event.contract ORDER BY block_number, log_index",
            (name, *(part for argument in arguments.items() for part in argument), contract),
        )
        return [
            Movement(
                amount_wei=Wei(int(row["amount_wei"])),
                seq=None if row["seq"] is None else int(row["seq"]),
                block_number=row["block_number"],
                transaction_hash=Digest(row["transaction_hash"]),
                mined_s=row["mined_s"],
            )
            for row in rows
        ]

    def _by_state(self, table: str) -> dict[str, int]:
        rows = self._store.rows(f"SELECT state, COUNT(*) AS count FROM {table} GROUP BY state ORDER BY state")
        return {row["state"]: row["count"] for row in rows}

    def _count(self, query: str, *values: object) -> int:
        (row,) = self._store.rows(query, values)
        count: int = row["count"]
        return count
