"""Claims: which receipts were brought to the chain together, and how far each claim has come there."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from openledger_protocol.primitives import Digest, Wei
from openledger_protocol.settlement import EpochClaim

from .receipts import Receipts
from .store import Store

ClaimState = Literal["sent", "claimed", "proposed", "final", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim of this node."""

    claim_id: int
    key: str  # of its intent in the outbox
    seq: int
    epoch: int
    items_hash: Digest
    receipts_root: Digest
    num_receipts: int
    gross_wei: Wei  # of all its items; the contract may skip some
    state: ClaimState
    created_s: int  # chain time


class Claims:
    """The rows of claims."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._receipts = Receipts(store)

    def add(self, key: str, claim: EpochClaim, digests: Sequence[Digest], *, gross_wei: Wei, now_s: int) -> Claim:
        """Keep a claim and bind its receipts to it, all at once; join its intent's transaction to make it exact."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT INTO claim (key, seq, epoch, items_hash, receipts_root, num_receipts, gross_wei, state,"
                " created_s) VALUES (?, ?, ?, ?, ?, ?, ?, 'sent', ?)",
                (
                    key,
                    claim.seq,
                    claim.epoch,
                    claim.items_hash,
                    claim.receipts_root,
                    claim.count,
                    str(gross_wei),
                    now_s,
                ),
            )
            found = self._found("WHERE key = ?", key)[0]
            self._receipts.claim(digests, found.claim_id)
        return found

    def move(self, claim_id: int, state: ClaimState) -> None:
        """Note how far it has come; a refused one sets its receipts free for the next."""
        with self._store.transaction() as transaction:
            transaction.execute("UPDATE claim SET state = ? WHERE claim_id = ?", (state, claim_id))
            if state == "refused":
                self._receipts.release(claim_id)

    def unfinished(self) -> list[Claim]:
        """Claims of which something may still become, oldest first."""
        return self._found("WHERE state NOT IN ('final', 'refused') ORDER BY claim_id")

    def newest(self, *, limit: int | None = None) -> list[Claim]:
        """The newest claims, newest first; all without a limit."""
        return self._found("ORDER BY claim_id DESC LIMIT ?", _limit(limit))

    def mined_hashes(self, *, limit: int | None = None) -> dict[str, Digest]:
        """The transactions that brought the newest claims to the chain, by the claims' keys."""
        query = (
            "SELECT key, mined_hash FROM outbox WHERE mined_hash IS NOT NULL"
            " AND key IN (SELECT key FROM claim ORDER BY claim_id DESC LIMIT ?)"
        )
        return {row["key"]: Digest(row["mined_hash"]) for row in self._store.rows(query, (_limit(limit),))}

    def find(self, claim_id: int) -> Claim | None:
        """One claim."""
        return next(iter(self._found("WHERE claim_id = ?", claim_id)), None)

    def _found(self, condition: str, *values: object) -> list[Claim]:
        return [_claim(row) for row in self._store.rows(f"SELECT * FROM claim {condition}", values)]


def _limit(limit: int | None) -> int:
    return -1 if limit is None else limit  # SQLite takes a negative limit for none


def _claim(row: sqlite3.Row) -> Claim:
    return Claim(**{**dict(row), "gross_wei": Wei(int(row["gross_wei"]))})
