"""Receipts: the node's statements of work done, stored before they are signed, signed before they are sent."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from openledger_protocol.attribution import Share
from openledger_protocol.codec import to_plain
from openledger_protocol.errors import OldChannelError
from openledger_protocol.payments import Receipt, Work
from openledger_protocol.primitives import AdapterId, Address, ChannelId, DatanetId, Digest, RequestId, Wei

from .channels import Channels
from .store import Store

SUMMED_AT_ONCE = 1_000
"""Receipts that are in memory while a lane's are added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRow:
    """A receipt and its state."""

    digest: Digest
    receipt: Receipt
    shares: tuple[Share, ...]
    signature: bytes | None = None  # None: a crash came between commit and signature; the next start signs
    countersignature: bytes | None = None
    claim_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A receipt without its place in the order, which the transaction that stores it assigns."""

    build: Callable[[int, Wei], Receipt]  # seq and cumulative_wei → receipt
    digest: Callable[[Receipt], Digest]
    channel_id: ChannelId
    adapter_id: AdapterId
    amount_wei: Wei
    shares: tuple[Share, ...]


class Receipts:
    """Rows of receipts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._channels = Channels(store)

    def commit(self, draft: Draft) -> ReceiptRow:
        """Give a receipt its `seq` and cumulative amount and charge its lane, in one transaction.

        Raises:
            OldChannelError: the ledger may have forgotten receipts of the channel, whose wei would be signed twice.
        """
        with self._store.transaction():
            channel = self._channels.find(draft.channel_id)
            assert channel is not None
            if channel.is_retired:
                raise OldChannelError(f"channel {draft.channel_id} is of an earlier ledger: nothing more is signed")
            cumulative = Wei(channel.lane(draft.adapter_id).charged_wei + draft.amount_wei)
            receipt = draft.build(self.last_seq(draft.channel_id) + 1, cumulative)
            row = ReceiptRow(digest=draft.digest(receipt), receipt=receipt, shares=draft.shares)
            self.insert(row)
        return row

    def insert(self, row: ReceiptRow) -> None:
        """Store a receipt, our own or one of a node that we pay, and charge its lane."""
        receipt = row.receipt
        with self._store.transaction() as transaction:
            self._channels.charge(receipt.channel_id, receipt.adapter_id, receipt.cumulative_wei)
            transaction.execute(
                "INSERT INTO receipt (digest, channel_id, adapter_id, seq, issued_at_s, request_id, body, shares,"
                " signature, countersignature, amount_wei) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.digest,
                    receipt.channel_id,
                    receipt.adapter_id,
                    receipt.seq,
                    receipt.issued_at_s,
                    receipt.work.request_id,
                    json.dumps(to_plain(receipt)),
                    json.dumps(to_plain(row.shares)),
                    row.signature,
                    row.countersignature,
                    str(receipt.amount_wei),
                ),
            )

    def sign(self, digest: Digest, signature: bytes) -> None:
        """Store the signature of a committed receipt."""
        with self._store.transaction() as transaction:
            transaction.execute("UPDATE receipt SET signature = ? WHERE digest = ?", (signature, digest))

    def countersign(self, digest: Digest, signature: bytes) -> None:
        """Store the payer's countersignature; a second one changes nothing."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE receipt SET countersignature = ? WHERE digest = ? AND countersignature IS NULL",
                (signature, digest),
            )

    def claim(self, digests: Sequence[Digest], claim_id: int) -> None:
        """Bind receipts to a claim in the order of its line."""
        rows = [(claim_id, position, digest) for position, digest in enumerate(digests)]
        with self._store.transaction() as transaction:
            transaction.executemany("INSERT INTO claim_receipt (claim_id, position, digest) VALUES (?, ?, ?)", rows)
            self.bind(claim_id, digests)

    def bind(self, claim_id: int, digests: Sequence[Digest]) -> None:
        """Store that receipts of a claim's line are in this claim, and in no other that has them as well."""
        with self._store.transaction() as transaction:
            transaction.executemany(
                "UPDATE receipt SET claim_id = ? WHERE digest = ?", [(claim_id, digest) for digest in digests]
            )

    def fix_countersigned(self, claim_id: int, digests: Sequence[Digest]) -> None:
        """Store the receipts that count as countersigned in a claim's payout list, and in each later look at it.

        The list may be made again, and a countersignature may come while it is made. Its openings must be the same.
        """
        with self._store.transaction() as transaction:
            query = "UPDATE claim_receipt SET is_countersigned = {} WHERE claim_id = ?"
            transaction.execute(query.format(0), (claim_id,))
            transaction.executemany(f"{query.format(1)} AND digest = ?", [(claim_id, digest) for digest in digests])

    def release(self, claim_id: int, digests: Sequence[Digest] | None = None) -> None:
        """Release a claim's receipts for the next claim: all, or those whose items the contract skipped."""
        query = "UPDATE receipt SET claim_id = NULL WHERE claim_id = ?"
        with self._store.transaction() as transaction:
            if digests is None:
                transaction.execute(query, (claim_id,))
            else:
                transaction.executemany(f"{query} AND digest = ?", [(claim_id, digest) for digest in digests])

    def has_seq(self, channel_id: ChannelId, seq: int) -> bool:
        """Return True if a receipt of the channel has this number."""
        row = self._store.row("SELECT 1 FROM receipt WHERE channel_id = ? AND seq = ?", (channel_id, seq))
        return row is not None

    def last_seq(self, channel_id: ChannelId) -> int:
        """The highest `seq` on a channel; 0 before the first."""
        row = self._store.row("SELECT max(seq) AS seq FROM receipt WHERE channel_id = ?", (channel_id,))
        return (row["seq"] or 0) if row else 0

    def find(self, beginning: str) -> list[ReceiptRow]:
        """Find the receipts whose digest or request id begins with this text."""
        query = "substr(digest, 1, ?) = ? OR substr(request_id, 1, ?) = ? ORDER BY receipt_id"
        length = len(beginning)
        return self._found(f"WHERE {query}", length, beginning, length, beginning)

    def is_known(self, digest: Digest) -> bool:
        """Return True if the ledger has this receipt."""
        return self._store.row("SELECT 1 FROM receipt WHERE digest = ?", (digest,)) is not None

    def of_requests(self, request_ids: Sequence[str]) -> dict[str, tuple[Digest, Wei]]:
        """Each request's receipt and charge; requests that cost nothing are left out."""
        places = ", ".join("?" * len(request_ids))
        query = f"SELECT digest, request_id, body FROM receipt WHERE request_id IN ({places}) ORDER BY receipt_id"
        return {
            row["request_id"]: (Digest(row["digest"]), Wei(json.loads(row["body"])["amount_wei"]))
            for row in self._store.rows(query, request_ids)
        }

    def payers_of(self, request_ids: Sequence[str]) -> dict[str, Address]:
        """The account that was charged for each request; requests that cost nothing are left out."""
        places = ", ".join("?" * len(request_ids))
        query = (
            f"SELECT request_id, payer FROM receipt JOIN channel USING (channel_id) WHERE request_id IN ({places})"
        )
        return {row["request_id"]: Address(row["payer"]) for row in self._store.rows(query, request_ids)}

    def newest(self, *, limit: int) -> list[ReceiptRow]:
        """The newest receipts, newest first."""
        return self._found("ORDER BY receipt_id DESC LIMIT ?", limit)

    def answers_by_payer(self, node: Address) -> dict[Address, int]:
        """The number of receipts that `node` has issued to each payer."""
        rows = self._store.rows(
            "SELECT payer, COUNT(*) AS count FROM receipt JOIN channel USING (channel_id)"
            " WHERE node = ? GROUP BY payer",
            (node,),
        )
        return {Address(row["payer"]): row["count"] for row in rows}

    def count_taught(self, datanet_id: DatanetId) -> dict[Address, int]:
        """Count, by account, the answers whose shares name it for rows of this Datanet."""
        query = (
            "SELECT json_extract(share.value, '$.account') AS account, COUNT(DISTINCT receipt_id) AS number"
            " FROM receipt, json_each(receipt.shares) AS share"
            " WHERE instr(receipt.shares, ?)"  # most receipts are of others, and reading their JSON takes longest
            " AND json_extract(share.value, '$.datanet_id') = ? AND json_extract(share.value, '$.ppm') > 0"
            " GROUP BY account"
        )
        found = self._store.rows(query, (datanet_id, datanet_id))
        return {Address(row["account"]): row["number"] for row in found}

    def unsigned(self) -> list[ReceiptRow]:
        """Receipts that a crash left unsigned."""
        return self._found("WHERE signature IS NULL ORDER BY receipt_id")

    def open(self, channel_id: ChannelId) -> list[ReceiptRow]:
        """A channel's signed receipts that wait for their countersignature, oldest first."""
        return self._found(
            "WHERE channel_id = ? AND signature IS NOT NULL AND countersignature IS NULL ORDER BY seq", channel_id
        )

    def of_channel(self, channel_id: ChannelId, request_ids: Sequence[RequestId]) -> list[ReceiptRow]:
        """A channel's receipts of these requests, signed or not, oldest first."""
        places = ", ".join("?" * len(request_ids))
        query = f"WHERE channel_id = ? AND request_id IN ({places}) ORDER BY seq"
        return self._found(query, channel_id, *request_ids)

    def unclaimed(self, node: Address | None = None) -> list[ReceiptRow]:
        """Receipts in no claim, of all nodes or of one, ordered by adapter, channel and `seq`, so lane by lane."""
        order = "ORDER BY adapter_id, channel_id, seq"
        if node is None:
            return self._found(f"WHERE claim_id IS NULL {order}")
        channels = "(SELECT channel_id FROM channel WHERE node = ?)"  # each lane of them is found by an index
        return self._found(f"WHERE claim_id IS NULL AND channel_id IN {channels} {order}", node)

    def has_unclaimed(self, node: Address) -> bool:
        """True if a node has signed receipts that are in no claim."""
        query = "SELECT 1 FROM receipt JOIN channel USING (channel_id) WHERE claim_id IS NULL AND node = ? LIMIT 1"
        return self._store.row(query, (node,)) is not None

    def of_claim(self, claim_id: int) -> list[ReceiptRow]:
        """A claim's receipts in the order of its line.

        Once its payout list is fixed, a countersignature that came later is left out.
        """
        query = (
            "SELECT receipt.*, COALESCE(is_countersigned, 1) AS counts FROM claim_receipt"
            " JOIN receipt USING (digest) WHERE claim_receipt.claim_id = ? ORDER BY position"
        )
        rows = [(_receipt_row(row), row["counts"]) for row in self._store.rows(query, (claim_id,))]
        return [row if counts else replace(row, countersignature=None) for row, counts in rows]

    def last_of_channel(self, channel_id: ChannelId) -> ReceiptRow | None:
        """The newest receipt of a channel."""
        found = self._found("WHERE channel_id = ? ORDER BY seq DESC LIMIT 1", channel_id)
        return found[0] if found else None

    def last_of_lane(self, channel_id: ChannelId, adapter_id: AdapterId) -> ReceiptRow | None:
        """The newest receipt of a lane."""
        found = self._found(
            "WHERE channel_id = ? AND adapter_id = ? ORDER BY seq DESC LIMIT 1", channel_id, adapter_id
        )
        return found[0] if found else None

    def sum_of_lane(self, channel_id: ChannelId, adapter_id: AdapterId) -> Wei:
        """The sum of a lane's receipts; it is below the newest one's cumulative charge while one is missing.

        A lane may have a year of them, so they are read in parts, between which the ledger is free for others.
        """
        query = (
            "SELECT seq, body FROM receipt WHERE channel_id = ? AND adapter_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        )
        total, seq = 0, -1
        while rows := self._store.rows(query, (channel_id, adapter_id, seq, SUMMED_AT_ONCE)):
            total += sum(int(json.loads(row["body"])["amount_wei"]) for row in rows)
            seq = rows[-1]["seq"]
        return Wei(total)

    def _found(self, condition: str, *values: object) -> list[ReceiptRow]:
        return [_receipt_row(row) for row in self._store.rows(f"SELECT * FROM receipt {condition}", values)]


def _receipt_row(row: sqlite3.Row) -> ReceiptRow:
    body = json.loads(row["body"])
    return ReceiptRow(
        digest=Digest(row["digest"]),
        receipt=Receipt(**{**body, "work": Work(**body["work"])}),
        shares=tuple(Share(**share) for share in json.loads(row["shares"])),
        signature=row["signature"],
        countersignature=row["countersignature"],
        claim_id=row["claim_id"],
    )
