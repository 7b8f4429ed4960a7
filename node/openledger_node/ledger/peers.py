"""Peers: the highest accepted sequence of each one's advertisements, and payments to all of them."""

import json
import sqlite3
from collections.abc import Mapping

from openledger_protocol.primitives import Address, Wei

from .store import Store

PEERS_MAX = 4_096
"""Peers that are kept; beyond that, those seen longest ago are deleted first."""


class Peers:
    """Rows of peers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def seqs(self) -> dict[str, int]:
        """The highest accepted sequence of every peer's advertisements."""
        return {
            row["peer_id"]: int(row["seq_last"]) for row in self._store.rows("SELECT peer_id, seq_last FROM peer")
        }

    def seq_last(self, peer_id: str) -> int | None:
        """The highest accepted sequence of a peer's advertisements."""
        row = self._store.row("SELECT seq_last FROM peer WHERE peer_id = ?", (peer_id,))
        return int(row["seq_last"]) if row else None

    def keep_seqs(self, seqs: Mapping[str, int], *, now_ns: int) -> None:
        """Store accepted sequences; one that is not higher changes nothing."""
        with self._store.transaction() as transaction:
            for peer_id, seq in seqs.items():
                highest = max(seq, self.seq_last(peer_id) or 0)
                transaction.execute(
                    "INSERT OR REPLACE INTO peer (peer_id, seen_ns, seq_last) VALUES (?, ?, ?)",
                    (peer_id, now_ns, str(highest)),
                )
            _forget(transaction)

    def paid_wei(self, payer: Address, *, since_s: int) -> Wei:
        """The sum that receipts since then charged this payer, over all nodes that it paid.

        Receipts have the time of the nodes' clocks, which a payer accepts within minutes of its own.
        """
        query = "SELECT body FROM receipt JOIN channel USING (channel_id) WHERE issued_at_s >= ? AND payer = ?"
        rows = self._store.rows(query, (since_s, payer))
        return Wei(sum(int(json.loads(row["body"])["amount_wei"]) for row in rows))


def _forget(transaction: sqlite3.Connection) -> None:
    transaction.execute(
        "DELETE FROM peer WHERE peer_id IN (SELECT peer_id FROM peer ORDER BY seen_ns DESC LIMIT -1 OFFSET ?)",
        (PEERS_MAX,),
    )
