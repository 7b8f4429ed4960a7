"""Receipts: the node's statements of work done, stored before they are signed, signed before they are sent."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from openledger_protocol.attribution import Share
from openledger_protocol.codec import to_plain
from openledger_protocol.errors import OldChannelError
from openledger_protocol.payments import Receipt, Work
from openledger_protocol.primitives import ZERO_WEI, Address, ChannelId, Digest, Nonce, Wei

from .channels import Channels
from .store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRow:
    """A receipt and its state; `opening` holds its sealed text, only if its payer allows an audit."""

    digest: Digest
    receipt: Receipt
    shares: tuple[Share, ...]
    unsecured_wei: Wei = ZERO_WEI  # the part of its amount that no deposit covered when it was signed
    signature: bytes | None = None  # None: a crash came between commit and signature; the next start signs
    countersignature: bytes | None = None
    nonce: Nonce | None = None  # revealed with the countersignature
    opening: bytes | None = None
    claim_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A receipt without its place in the order, which the transaction that stores it assigns."""

    build: Callable[[int, Wei], Receipt]  # seq and cumulative_wei → receipt
    digest: Callable[[Receipt], Digest]
    channel_id: ChannelId
    amount_wei: Wei
    shares: tuple[Share, ...]
    secured_wei: Wei
    opening: bytes | None = None


class Receipts:
    """Rows of receipts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._channels = Channels(store)

    def commit(self, draft: Draft, *, now_ns: int) -> ReceiptRow:
        """Give a receipt its `seq` and cumulative amount and charge its channel, in one transaction.

        `seq` is the clock in ns; it exceeds the last one even if the clock was set back.

        Raises:
            OldChannelError: the ledger may have forgotten receipts of the channel, whose wei would be signed twice.
        """
        with self._store.transaction():
            channel = self._channels.find(draft.channel_id)
            assert channel is not None
            if channel.is_retired:
                raise OldChannelError(f"channel {draft.channel_id} is of an earlier ledger: nothing more is signed")
            cumulative = Wei(channel.charged_wei + draft.amount_wei)
            receipt = draft.build(max(self.last_seq(channel.config.node) + 1, now_ns), cumulative)
            row = ReceiptRow(
                digest=draft.digest(receipt),
                receipt=receipt,
                shares=draft.shares,
                unsecured_wei=Wei(max(0, min(draft.amount_wei, cumulative - draft.secured_wei))),
                opening=draft.opening,
            )
            self.insert(row)
        return row

    def insert(self, row: ReceiptRow) -> None:
        """Store a receipt, our own or one of a node that we pay, and charge its channel."""
        receipt = row.receipt
        with self._store.transaction() as transaction:
            transaction.execute(
                "INSERT INTO receipt (digest, channel_id, seq, request_id, body, shares, unsecured_wei, signature,"
                " countersignature, nonce, opening) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.digest,
                    receipt.channel_id,
                    receipt.seq,
                    receipt.work.request_id,
                    json.dumps(to_plain(receipt)),
                    json.dumps(to_plain(row.shares)),
                    str(row.unsecured_wei),
                    row.signature,
                    row.countersignature,
                    row.nonce,
                    row.opening,
                ),
            )
            self._channels.charge(receipt.channel_id, receipt.cumulative_wei)

    def sign(self, digest: Digest, signature: bytes) -> None:
        """Store the signature of a committed receipt."""
        with self._store.transaction() as transaction:
            transaction.execute("UPDATE receipt SET signature = ? WHERE digest = ?", (signature, digest))

    def countersign(self, digest: Digest, signature: bytes, nonce: Nonce) -> None:
        """Store the payer's countersignature and nonce; a second one changes nothing."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE receipt SET countersignature = ?, nonce = ? WHERE digest = ? AND countersignature IS NULL",
                (signature, nonce, digest),
            )

    def claim(self, digests: Sequence[Digest], claim_id: int) -> None:
        """Bind receipts to a claim in the order of its tree, each with the nonce known at this moment."""
        rows = [(claim_id, position, digest) for position, digest in enumerate(digests)]
        with self._store.transaction() as transaction:
            transaction.executemany(
                "INSERT INTO claim_receipt SELECT ?, ?, digest, nonce FROM receipt WHERE digest = ?", rows
            )
            transaction.executemany(
                "UPDATE receipt SET claim_id = ? WHERE digest = ?", [(claim_id, digest) for digest in digests]
            )

    def release(self, claim_id: int, channel_id: ChannelId | None = None) -> None:
        """Release a claim's receipts for the next claim: all, or those of a channel that the contract skipped."""
        query = "UPDATE receipt SET claim_id = NULL WHERE claim_id = ?"
        with self._store.transaction() as transaction:
            if channel_id is None:
                transaction.execute(query, (claim_id,))
            else:
                transaction.execute(f"{query} AND channel_id = ?", (claim_id, channel_id))

    def secure(self, claim_id: int) -> None:
        """Store that deposits have paid a claim's receipts, whatever covered them when they were signed."""
        with self._store.transaction() as transaction:
            transaction.execute("UPDATE receipt SET unsecured_wei = '0' WHERE claim_id = ?", (claim_id,))

    def forget_openings(self, claim_id: int) -> None:
        """Delete the sealed texts of a final claim."""
        with self._store.transaction() as transaction:
            transaction.execute("UPDATE receipt SET opening = NULL WHERE claim_id = ?", (claim_id,))

    def last_seq(self, node: Address) -> int:
        """The highest `seq` that a node has ever assigned; 0 before the first."""
        query = "SELECT max(seq) AS seq FROM receipt JOIN channel USING (channel_id) WHERE node = ?"
        row = self._store.row(query, (node,))
        return (row["seq"] or 0) if row else 0

    def find(self, beginning: str) -> list[ReceiptRow]:
        """Find the receipts whose digest or request id begins with this text."""
        query = "SELECT * FROM receipt WHERE substr(digest, 1, ?) = ? OR substr(request_id, 1, ?) = ? ORDER BY seq"
        length = len(beginning)
        return self._found(query, length, beginning, length, beginning)

    def is_known(self, digest: Digest) -> bool:
        """Return True if the ledger has this receipt."""
        return self._store.row("SELECT 1 FROM receipt WHERE digest = ?", (digest,)) is not None

    def of_requests(self, request_ids: Sequence[str]) -> dict[str, tuple[Digest, Wei]]:
        """Each request's receipt and charge; requests that cost nothing are left out."""
        places = ", ".join("?" * len(request_ids))
        query = f"SELECT digest, request_id, body FROM receipt WHERE request_id IN ({places}) ORDER BY seq"
        return {
            row["request_id"]: (Digest(row["digest"]), Wei(json.loads(row["body"])["amount_wei"]))
            for row in self._store.rows(query, request_ids)
        }

    def newest(self, *, limit: int) -> list[ReceiptRow]:
        """The newest receipts, newest first."""
        return self._found("SELECT * FROM receipt ORDER BY seq DESC LIMIT ?", limit)

    def unsigned(self) -> list[ReceiptRow]:
        """Receipts that a crash left unsigned."""
        return self._found("SELECT * FROM receipt WHERE signature IS NULL ORDER BY seq")

    def unclaimed(self) -> list[ReceiptRow]:
        """Receipts in no claim, ordered by channel and `seq`."""
        return self._found("SELECT * FROM receipt WHERE claim_id IS NULL ORDER BY channel_id, seq")

    def of_claim(self, claim_id: int) -> list[ReceiptRow]:
        """A claim's receipts as its tree holds them: in its order, with the nonces known when it was made."""
        query = (
            "SELECT receipt.*, claim_receipt.nonce AS nonce_then FROM claim_receipt JOIN receipt USING (digest)"
            " WHERE claim_receipt.claim_id = ? ORDER BY position"
        )
        rows = self._store.rows(query, (claim_id,))
        return [replace(_receipt_row(row), nonce=row["nonce_then"]) for row in rows]

    def last_of_channel(self, channel_id: ChannelId) -> ReceiptRow | None:
        """The newest receipt on a channel."""
        found = self._found("SELECT * FROM receipt WHERE channel_id = ? ORDER BY seq DESC LIMIT 1", channel_id)
        return found[0] if found else None

    def _found(self, query: str, *values: object) -> list[ReceiptRow]:
        return [_receipt_row(row) for row in self._store.rows(query, values)]


def _receipt_row(row: sqlite3.Row) -> ReceiptRow:
    body = json.loads(row["body"])
    return ReceiptRow(
        digest=Digest(row["digest"]),
        receipt=Receipt(**{**body, "work": Work(**body["work"])}),
        shares=tuple(Share(**share) for share in json.loads(row["shares"])),
        unsecured_wei=Wei(int(row["unsecured_wei"])),
        signature=row["signature"],
        countersignature=row["countersignature"],
        nonce=row["nonce"],
        opening=row["opening"],
        claim_id=row["claim_id"],
    )
