"""A claim's receipts, and which of them the contract counted."""

from collections.abc import Sequence
from itertools import groupby

from openledger_protocol.payouts import AttributedReceipt
from openledger_protocol.primitives import ChannelId
from openledger_protocol.settlement import ClaimRecord

from ..ledger.receipts import ReceiptRow
from .batcher import Earned


def attributed_receipts(record: ClaimRecord, rows: Sequence[ReceiptRow]) -> list[AttributedReceipt]:
    """A claim's receipts as its list needs them, those of skipped channels left out."""
    skipped = skipped_channels(record, rows)
    return [
        AttributedReceipt(
            index=index,
            adapter_id=row.receipt.adapter_id,
            amount_wei=row.receipt.amount_wei,
            shares=row.shares,
        )
        for index, row in enumerate(rows)
        if row.receipt.channel_id not in skipped
    ]


def skipped_channels(record: ClaimRecord, rows: Sequence[ReceiptRow]) -> list[ChannelId]:
    """Channels whose items the contract did not count; items and receipts stand in the same order of channels."""
    channels = [key for key, _ in groupby(rows, lambda row: row.receipt.channel_id)]
    return [channel for index, channel in enumerate(channels) if record.skipped >> index & 1]


def earned_of(row: ReceiptRow) -> Earned:
    """A receipt as a claim takes it."""
    return Earned(digest=row.digest, receipt=row.receipt, shares=row.shares, nonce=row.nonce)
