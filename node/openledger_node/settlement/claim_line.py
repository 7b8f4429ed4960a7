"""A claim's line: its receipts in their order beside what the chain has counted of them."""

from collections.abc import Callable, Collection, Sequence
from itertools import groupby

from openledger_protocol.claims import item_leaves
from openledger_protocol.openings import ClaimLine
from openledger_protocol.payouts import ClaimedReceipt
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Address, ChannelId, Wei
from openledger_protocol.settlement import ClaimRecord, ItemSpan
from openledger_protocol.sum_tree import sum_root

from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow
from .records import record_of

Lane = tuple[AdapterId, ChannelId]


def find_line(ledger: Ledger, node: Address, seq: int, rows: Sequence[ReceiptRow]) -> ClaimLine | None:
    """Find the claim on the chain that has exactly these receipts; None if there is none.

    After a reorganisation another claim may have the same number, so the items decide.
    """
    for claimed in reversed(ledger.events.find("Claimed", {"node": node, "seq": seq})):
        skips = (
            event
            for event in ledger.events.in_blocks(claimed.block.number, claimed.block.number)
            if event.name == "Skipped" and event.transaction_hash == claimed.transaction_hash
        )
        skipped = {
            (AdapterId(str(s.arguments["adapterId"])), ChannelId(str(s.arguments["channelId"]))) for s in skips
        }
        line = line_of(record_of(claimed), rows, skipped, lambda id_: _authorizer(ledger, id_))
        if line.record.items_root == sum_root(item_leaves(line.spans, line.amounts_wei)):
            return line
    return None


def line_of(
    record: ClaimRecord,
    rows: Sequence[ReceiptRow],
    skipped: Collection[Lane],
    authorizer_of: Callable[[ChannelId], Address],
) -> ClaimLine:
    """Lay out a claim's receipts, without those of lanes that the contract skipped."""
    spans, amounts, receipts = [], [], []
    for index, ((adapter_id, channel_id), group) in enumerate(groupby(rows, lane_of)):
        found = list(group)
        first, last = found[0].receipt, found[-1].receipt
        spans.append(
            ItemSpan(
                channel_id=channel_id,
                adapter_id=adapter_id,
                authorizer=authorizer_of(channel_id),
                from_wei=Wei(first.cumulative_wei - first.amount_wei),
                to_wei=last.cumulative_wei,
            )
        )
        counts = (adapter_id, channel_id) not in skipped
        amounts.append(Wei(spans[-1].to_wei - spans[-1].from_wei) if counts else ZERO_WEI)
        receipts += [_claimed(index, row) for row in found if counts]
    return ClaimLine(record=record, spans=tuple(spans), amounts_wei=tuple(amounts), receipts=tuple(receipts))


def skipped_receipts(line: ClaimLine, rows: Sequence[ReceiptRow]) -> list[ReceiptRow]:
    """The receipts of a claim that the contract did not count."""
    counted = {claimed.digest for claimed in line.receipts}
    return [row for row in rows if row.digest not in counted]


def lane_of(row: ReceiptRow) -> Lane:
    """The lane of a receipt, as claims are ordered."""
    return row.receipt.adapter_id, row.receipt.channel_id


def _claimed(item: int, row: ReceiptRow) -> ClaimedReceipt:
    return ClaimedReceipt(
        item=item,
        digest=row.digest,
        receipt=row.receipt,
        shares=row.shares,
        countersignature=row.countersignature,
    )


def _authorizer(ledger: Ledger, channel_id: ChannelId) -> Address:
    channel = ledger.channels.find(channel_id)
    assert channel is not None, "a receipt's channel is in the ledger"
    return channel.config.authorizer
