"""Audits of receipts that this payer has drawn: their verdicts, and the nodes whose shares were wrong."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from openledger_protocol.primitives import Address, Digest

from .store import Store

Verdict = Literal["right", "wrong", "unknown"]
"""`unknown`: the shares can't be recomputed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The result of an audit."""

    verdict: Verdict
    detail: str  # what differs, or why it can't be recomputed


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A drawn receipt, and whether its shares are right."""

    digest: Digest
    node: Address
    until_s: int  # its node's stake answers for it until then
    verdict: Verdict | None = None  # None: not recomputed yet
    detail: str = ""


class Audits:
    """Rows of audits, by receipt."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, audit: Audit) -> None:
        """Store that a receipt was drawn; it must be stored in the same transaction."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT INTO audit (digest, node, until_s) VALUES (?, ?, ?)",
                (audit.digest, audit.node, audit.until_s),
            )

    def end(self, digest: Digest, ruling: Ruling) -> None:
        """Store a result; a second one changes nothing."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE audit SET verdict = ?, detail = ? WHERE digest = ? AND verdict IS NULL",
                (ruling.verdict, ruling.detail, digest),
            )

    def find(self, digest: Digest) -> Audit | None:
        """Find the audit of a receipt; None if it was not drawn."""
        return next(iter(self._found("WHERE digest = ?", digest)), None)

    def open(self) -> list[Audit]:
        """Audits without a verdict."""
        return self._found("WHERE verdict IS NULL ORDER BY digest")

    def alarms(self, now_s: int) -> list[Audit]:
        """Receipts with wrong shares that the operator has not forgiven, while stake answers for them."""
        return self._found("WHERE verdict = 'wrong' AND is_forgiven = 0 AND until_s > ? ORDER BY digest", now_s)

    def forgive(self, node: Address) -> int:
        """End the alarms about a node, and return their number; the receipts stay without a countersignature."""
        with self._store.transaction() as transaction:
            return transaction.execute(
                "UPDATE audit SET is_forgiven = 1 WHERE node = ? AND verdict = 'wrong' AND is_forgiven = 0", (node,)
            ).rowcount

    def counts(self) -> Mapping[str, int]:
        """The number of audits by verdict."""
        rows = self._store.rows("SELECT verdict, COUNT(*) AS count FROM audit GROUP BY verdict")
        found = {row["verdict"]: row["count"] for row in rows}
        return {verdict: found.get(verdict, 0) for verdict in get_args(Verdict)}

    def _found(self, condition: str, *values: object) -> list[Audit]:
        return [_audit(row) for row in self._store.rows(f"SELECT * FROM audit {condition}", values)]


def _audit(row: sqlite3.Row) -> Audit:
    return Audit(
        digest=Digest(row["digest"]),
        node=Address(row["node"]),
        until_s=row["until_s"],
        verdict=row["verdict"],
        detail=row["detail"],
    )
