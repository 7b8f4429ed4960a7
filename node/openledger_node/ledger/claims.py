"""Claims: the receipts that went to the chain together, and the state of each claim there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from openledger_protocol.primitives import Digest, Wei
from openledger_protocol.settlement import EpochClaim

from .receipts import Receipts
from .store import Store

ClaimState = Literal["sent", "claimed", "proposed", "drawn", "final", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim of this node."""

    claim_id: int
    key: str  # of its intent in the outbox
    seq: int
    epoch: int
    items_hash: Digest
    num_receipts: int
    gross_wei: Wei  # of all its items; the contract may skip some
    state: ClaimState
    created_s: int  # chain time


class Claims:
    """Rows of claims, and the binding of receipts to them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._receipts = Receipts(store)

    def add(self, key: str, claim: EpochClaim, digests: Sequence[Digest], *, gross_wei: Wei, now_s: int) -> Claim:
        """Store a claim and bind its receipts to it; call it in the transaction that adds its intent."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT INTO claim (key, seq, epoch, items_hash, num_receipts, gross_wei, state, created_s)"
                " VALUES (?, ?, ?, ?, ?, ?, 'sent', ?)",
                (key, claim.seq, claim.epoch, claim.items_hash, len(digests), str(gross_wei), now_s),
            )
            found = self._found("WHERE key = ?", key)[0]
            self._receipts.claim(digests, found.claim_id)
        return found

    def move(self, claim_id: int, state: ClaimState) -> None:
        """Store a claim's new state; refusal releases its receipts for the next claim."""
        with self._store.transaction() as transaction:
            transaction.execute("UPDATE claim SET state = ? WHERE claim_id = ?", (state, claim_id))
            if state == "refused":
                self._receipts.release(claim_id)

    def unfinished(self) -> list[Claim]:
        """Claims that are neither final nor refused, or that were refused and mined after all; oldest first."""
        mined = "SELECT 1 FROM outbox WHERE outbox.key = claim.key AND outbox.state IN ('mined', 'final')"
        return self._found(
            f"WHERE state NOT IN ('final', 'refused') OR state = 'refused' AND EXISTS ({mined}) ORDER BY claim_id"
        )

    def newest(self, *, limit: int | None = None) -> list[Claim]:
        """The newest claims, newest first; all of them without a limit."""
        return self._found("ORDER BY claim_id DESC LIMIT ?", _limit(limit))

    def mined_hashes(self, *, limit: int | None = None) -> dict[str, Digest]:
        """Hashes of the transactions that brought the newest claims to the chain, by the claims' keys."""
        query = (
            "SELECT key, mined_hash FROM outbox WHERE mined_hash IS NOT NULL"
            " AND key IN (SELECT key FROM claim ORDER BY claim_id DESC LIMIT ?)"
        )
        return {row["key"]: Digest(row["mined_hash"]) for row in self._store.rows(query, (_limit(limit),))}

    def find(self, claim_id: int) -> Claim | None:
        """Find one claim by its id."""
        return next(iter(self._found("WHERE claim_id = ?", claim_id)), None)

    def _found(self, condition: str, *values: object) -> list[Claim]:
        rows = self._store.rows(f"SELECT * FROM claim {condition}", values)
        return [Claim(**{**dict(row), "gross_wei": Wei(int(row["gross_wei"]))}) for row in rows]


def _limit(limit: int | None) -> int:
    return -1 if limit is None else limit  # SQLite takes a negative limit for none
