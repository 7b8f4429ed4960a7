"""Peers: the highest accepted sequence of each, the outcomes of its answers, and payments to all of them."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from openledger_protocol.auction import reliability_ppm
from openledger_protocol.primitives import Address, Wei

from .store import Store

PEERS_MAX = 4_096
"""Peers that are kept; beyond that, peers that never answered and were seen longest ago are deleted first."""

ANSWERS_MAX = 200
"""At this many answers of a peer each count is halved, so that old answers weigh less."""

Outcome = Literal["successes", "failures", "aborted", "late"]
"""The outcome of an answer, as `auction.reliability_ppm` counts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """This node's experience with a peer."""

    seq_last: int | None = None  # of its advertisements
    successes: int = 0
    failures: int = 0
    aborted: int = 0
    late: int = 0

    @property
    def reliability_ppm(self) -> int:
        """The reliability that the peer's bids are divided by."""
        return reliability_ppm(successes=self.successes, failures=self.failures, aborted=self.aborted, late=self.late)


class Peers:
    """Rows of peers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def seqs(self) -> dict[str, int]:
        """The highest accepted sequence of every peer's advertisements."""
        rows = self._store.rows("SELECT peer_id, seq_last FROM peer WHERE seq_last IS NOT NULL")
        return {row["peer_id"]: int(row["seq_last"]) for row in rows}

    def keep_seqs(self, seqs: Mapping[str, int], *, now_ns: int) -> None:
        """Store accepted sequences; one that is not higher changes nothing."""
        with self._store.transaction() as transaction:
            for peer_id, seq in seqs.items():
                known = self._ensure(transaction, peer_id, now_ns).seq_last
                if known is None or seq > known:
                    transaction.execute("UPDATE peer SET seq_last = ? WHERE peer_id = ?", (str(seq), peer_id))
            _forget(transaction)

    def note(self, peer_id: str, outcome: Outcome, *, now_ns: int) -> PeerRecord:
        """Count the outcome of an answer."""
        with self._store.transaction() as transaction:
            record = self._ensure(transaction, peer_id, now_ns)
            counts = {name: getattr(record, name) for name in ("successes", "failures", "aborted", "late")}
            counts[outcome] += 1
            if sum(counts.values()) >= ANSWERS_MAX:
                counts = {name: count // 2 for name, count in counts.items()}
            transaction.execute(
                "UPDATE peer SET successes = :successes, failures = :failures, aborted = :aborted, late = :late"
                " WHERE peer_id = :peer_id",
                {**counts, "peer_id": peer_id},
            )
            _forget(transaction)
        return PeerRecord(seq_last=record.seq_last, **counts)

    def find(self, peer_id: str) -> PeerRecord:
        """Return a peer's record; an unknown peer has an empty one."""
        row = self._store.row("SELECT * FROM peer WHERE peer_id = ?", (peer_id,))
        return _record(row) if row else PeerRecord()

    def of(self, peer_ids: Sequence[str]) -> dict[str, PeerRecord]:
        """Return the records of several peers."""
        return {peer_id: self.find(peer_id) for peer_id in peer_ids}

    def paid_wei(self, payer: Address, *, since_ns: int) -> Wei:
        """The sum that receipts since then charged this payer, over all nodes that it paid."""
        query = "SELECT body FROM receipt JOIN channel USING (channel_id) WHERE seq >= ? AND payer = ?"
        rows = self._store.rows(query, (since_ns, payer))
        return Wei(sum(int(json.loads(row["body"])["amount_wei"]) for row in rows))

    def _ensure(self, transaction: sqlite3.Connection, peer_id: str, now_ns: int) -> PeerRecord:
        transaction.execute(
            "INSERT INTO peer (peer_id, seen_ns) VALUES (?, ?) ON CONFLICT DO UPDATE SET seen_ns = excluded.seen_ns",
            (peer_id, now_ns),
        )
        return self.find(peer_id)


def _forget(transaction: sqlite3.Connection) -> None:
    transaction.execute(
        "DELETE FROM peer WHERE peer_id IN (SELECT peer_id FROM peer"
        " ORDER BY successes + failures + aborted + late > 0 DESC, seen_ns DESC LIMIT -1 OFFSET ?)",
        (PEERS_MAX,),
    )


def _record(row: sqlite3.Row) -> PeerRecord:
    seq_last = None if row["seq_last"] is None else int(row["seq_last"])
    counts = {name: row[name] for name in ("successes", "failures", "aborted", "late")}
    return PeerRecord(seq_last=seq_last, **counts)
